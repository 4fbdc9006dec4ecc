import type { AttemptStatus } from '../../crds/world-run-status.ts';
import { podState, type PodState } from '../../runtime/local/pod-state.ts';
import { attemptTimes, clocksAt, type AttemptTimes, type Clocks } from './clocks.ts';
import type { JobView } from './view.ts';
import { UNCOUNTED, type World } from './world.ts';

/** One attempt as it stands: its Job, its pods, its times. Pure. */

export type SeenPod = World['pods'][number];
export type Seen = { pod: SeenPod; state: PodState };
export type JobOfAttempt = Pick<
  JobView,
  'uid' | 'namespace' | 'name' | 'suspended' | 'queue' | 'startedAt' | 'createdAt' | 'end'
>;

export interface Attempt {
  world: World;
  job: JobOfAttempt;
  number: number;
  /** What the status says of it; undefined until it was seen to run. */
  open: AttemptStatus | undefined;
  /** Pods of this start, by rank; also the last sight of pods that are gone. */
  seen: Seen[];
  times: AttemptTimes;
  clocks: Clocks;
  collects: boolean;
}

export function attemptOf(world: World, job: JobOfAttempt, number: number): Attempt {
  const { run } = world;
  const open = run.status.attempts?.find((a) => a.number === number && a.finishedAt === undefined);
  const seen = podsOf(world, job).map((pod) => ({ pod, state: podState(pod) }));
  const times = withStatus(attemptTimes(run.spec.nodes, seen), open);
  const profile = world.pinned?.spec ?? world.profile?.spec;
  return {
    world,
    job,
    number,
    open,
    seen,
    times,
    clocks: clocksAt(run, times, world.now),
    collects: profile?.local?.collect !== 'Disabled',
  };
}

/** After a restart, pods that went meanwhile were never seen: the status still knows when they started. */
function withStatus(times: AttemptTimes, open: AttemptStatus | undefined): AttemptTimes {
  const startedAt = Date.parse(open?.startedAt ?? '');
  if (times.startedAt !== undefined || Number.isNaN(startedAt)) return times;
  return { ...times, startedAt, scheduledAt: times.scheduledAt ?? startedAt };
}

/** Pods that the Job started for this attempt, by rank. After a queue's eviction the same Job starts new ones. */
export function podsOf({ run, pods }: Pick<World, 'run' | 'pods'>, job: Pick<JobView, 'uid'>): SeenPod[] {
  const evicted = run.status.attempts?.findLast((a) => a.reason === UNCOUNTED.requeued && a.jobUID === job.uid);
  const cut = Date.parse(evicted?.finishedAt ?? '') || 0;
  return pods.filter((pod) => pod.jobUid === job.uid && isAfter(pod, cut)).toSorted((a, b) => a.rank - b.rank);
}

/** Kubernetes cuts times to seconds: a new pod may seem up to a second older than the eviction before it. */
function isAfter(pod: SeenPod, cut: number): boolean {
  const created = Date.parse(pod.createdAt);
  return created >= cut || (created >= cut - 1000 && !pod.deleting && !pod.gone);
}

/** The attempt as the status shall show it from now on. */
export function shownAttempt({ world, job, number, open, seen, times }: Attempt): AttemptStatus {
  // A suspended Job may still carry the start that a queue has just ended.
  const podSetStartedAt = open?.podSetStartedAt ?? (job.suspended ? undefined : job.startedAt);
  const node = open?.node ?? seen[0]?.pod.node;
  const startedAt = open?.startedAt ?? (times.startedAt === undefined ? undefined : iso(times.startedAt));
  return {
    ...open,
    number,
    jobUID: job.uid,
    ...(world.run.spec.fallbackProfileRefs !== undefined &&
      world.pinned !== undefined && { profile: world.pinned.name }),
    ...(podSetStartedAt !== undefined && { podSetStartedAt }),
    ...(node !== undefined && { node }),
    ...(startedAt !== undefined && { startedAt }),
  };
}

export function hasStarted(state: PodState): boolean {
  return state.at === 'running' || (state.at === 'ended' && state.startedAt !== undefined);
}

/** Anything of the attempt has run, whether its pods are still known or not. */
export function anyStarted({ seen, open }: Attempt): boolean {
  return open?.startedAt !== undefined || seen.some(({ state }) => hasStarted(state));
}

/** Ranks whose result is wanted and has not arrived, by the gateway or by the termination message. */
export function missingRanks({ world, seen }: Attempt): number[] {
  // Of a pod that is gone nobody knows what came after the last sight of it.
  const neverRan = (rank: number) =>
    seen.some(({ pod, state }) => pod.rank === rank && !pod.gone && !hasStarted(state));
  return wantedRanks(world).filter((rank) => !world.results.results.has(rank) && !neverRan(rank));
}

/**
 * A result came otherwise than through the gateway, or not at all, and the store was not asked. A termination message
 * is left in any case: the whole result may have been taken by a process before this one, or by another replica.
 */
export function mayBeStored({ world, number }: Attempt): boolean {
  const { results } = world.results;
  return !world.memory.loaded.has(number) && wantedRanks(world).some((rank) => results.get(rank)?.via !== 'Gateway');
}

function wantedRanks({ run }: World): number[] {
  const { outputs, nodes } = run.spec;
  return outputs.ranks === 'All' ? Array.from({ length: nodes }, (_, rank) => rank) : [0];
}

export const iso = (ms: number): string => new Date(ms).toISOString();
