import type { NamespaceView, JobView, LiveRun, NodeView, ProfileView } from './view.ts';
import type { AttemptStatus } from '../../crds/world-run-status.ts';
import type { RuntimeProfileSpec } from '../../crds/runtime-profile.ts';
import type { AttemptResults } from '../../results/contract.ts';
import type { PodView } from '../../runtime/local/pod-state.ts';
import type { Reservation } from '../admission/ledger.ts';
import { lastTried, type Route } from '../admission/routing.ts';
import type { Elsewhere } from '../cost.ts';
import type { RunRecord } from '../../results/records.ts';
import { emptyVendorMemory, type VendorMemory, type VendorWorld } from '../remote/world.ts';

/** Everything that deciding may look at, gathered from the caches without I/O. */
export interface World {
  /** Milliseconds since the epoch. */
  now: number;
  run: LiveRun;
  /** Undefined until the namespace's cache has it. */
  namespace: NamespaceView | undefined;
  /** The profile that the run names, or the default one, or the fallback that takes it; as it is now. */
  profile: ProfileView | undefined;
  /** Which of its profiles takes the next attempt, where the run names fallbacks and none is under way. */
  route: Route | undefined;
  /** What attempts under other profiles have cost. */
  elsewhere: Elsewhere;
  /** What `doctor` last said of that profile. */
  profileReady: { ready: boolean; message: string };
  /** The profile as the run's first attempt started with it. */
  pinned: { name: string; digest: string; spec: RuntimeProfileSpec } | undefined;
  /** Digests of all pinned profiles. */
  pins: { has(digest: string): boolean };
  /** Jobs that the run owns. */
  jobs: readonly JobView[];
  /** Pods of those Jobs, also the last sight of pods that are gone. */
  pods: readonly (PodView & { gone: boolean })[];
  nodes: (name: string) => NodeView | undefined;
  /** Of the present attempt. */
  results: AttemptResults;
  resultsOf: (attempt: number) => AttemptResults;
  /** Result of the last request in this process; undefined before the first. */
  reservation: Reservation | undefined;
  /** Name of an older live run with the same `runKey`. */
  twin: string | undefined;
  /** Bytes that the namespace has in the run store. */
  storedBytes: number;
  memory: RunMemory;
  /** Present where a vendor does the work. */
  vendor: VendorWorld | undefined;
  /** The profile says that a submission in doubt waits for a person. */
  waitsForPerson: boolean;
}

/**
 * What this process knows of a live run beyond the caches. All of it may be lost: after a restart each entry is found
 * again, at the price of a call.
 */
export interface RunMemory {
  /** A Job of this attempt was seen or made: if it is gone now, somebody deleted it. */
  seenJob: { uid: string; number: number } | undefined;
  /** Uids of Jobs that a live read, not a cache, showed to be gone. */
  gone: Set<string>;
  /** A Job of somebody else has the name; from the last attempt to create. */
  nameTaken: { message: string; at: number } | undefined;
  /** The API server refused to create the Job. */
  refusedBy: { message: string; at: number } | undefined;
  /** Why a Job has no pods, in the Job controller's words. */
  jobTrouble: { jobUid: string; message: string; at: number } | undefined;
  /** Why a pod is still being prepared, in the kubelet's words. */
  podTrouble: { podUid: string; message: string; at: number } | undefined;
  /** When this process last wrote the run's status; milliseconds since the epoch. */
  wroteAt: number;
  /** Results were asked for; milliseconds since the epoch. */
  collectSince: number | undefined;
  /** Uids of Jobs whose pods were read live, after the Job had ended. */
  podsRead: Set<string>;
  /** Uid of the Job that was read live after pods of this attempt went. */
  jobRead: string | undefined;
  /** Uids of pods that were removed by force; the caches may still show them. */
  removed: Set<string>;
  serviceMade: boolean;
  /** `runKey` look-up: undefined before, null for "nothing there". */
  record: RunRecord | null | undefined;
  /** The ledger's last refusal; undefined before it was asked, and when its answer may have changed. */
  denied: Extract<Reservation, { granted: false }> | undefined;
  /** First failure to write the record; milliseconds since the epoch. */
  recordFailedAt: number | undefined;
  /** Attempts whose results were read back from the store. */
  loaded: Set<number>;
  /** Logs that could not be read to the end: they are given up after a few tries. */
  logTries: Map<number, number>;
  vendor: VendorMemory;
}

export function emptyMemory(): RunMemory {
  return {
    seenJob: undefined,
    gone: new Set(),
    nameTaken: undefined,
    refusedBy: undefined,
    jobTrouble: undefined,
    podTrouble: undefined,
    wroteAt: 0,
    collectSince: undefined,
    podsRead: new Set(),
    jobRead: undefined,
    removed: new Set(),
    serviceMade: false,
    record: undefined,
    denied: undefined,
    recordFailedAt: undefined,
    loaded: new Set(),
    logTries: new Map(),
    vendor: emptyVendorMemory(),
  };
}

/** The attempt that the status shows as not over. */
export function openAttempt(run: LiveRun): AttemptStatus | undefined {
  const last = run.status.attempts?.at(-1);
  return last !== undefined && last.finishedAt === undefined ? last : undefined;
}

/** Attempt reasons that no outcome has: they do not count against `retry.maxAttempts`. */
export const UNCOUNTED = { suspended: 'Suspended', requeued: 'Requeued' } as const;

/** How many of the attempts do not count against `retry.maxAttempts`; the list alone knows only the newest. */
export function uncounted({
  attempts,
  uncountedAttempts = 0,
}: Pick<LiveRun['status'], 'attempts' | 'uncountedAttempts'>): number {
  return Math.max(uncountedAttempts, (attempts ?? []).filter((a) => a.counted === false).length);
}

/** Which attempt is the present one, and its Job if there is one. */
export function currentAttempt(world: Pick<World, 'run' | 'jobs' | 'memory'>): {
  number: number;
  job: JobView | undefined;
  open: AttemptStatus | undefined;
} {
  const { run, jobs } = world;
  const open = openAttempt(run);
  if (open !== undefined) return { number: open.number, open, job: jobs.find((j) => j.uid === open.jobUID) };
  const last = lastTried(run.status.attempts);
  const closed = Math.max(0, ...(run.status.attempts ?? []).map((a) => a.number));
  // A Job of an attempt that the status does not list (its list was edited by hand) is still the present one: nothing
  // may start beside it. A queue that evicts a run keeps its Job: the next attempt runs on the same one.
  const job =
    jobs.filter((j) => j.attempt > closed).toSorted((a, b) => b.attempt - a.attempt)[0] ??
    (last?.reason === UNCOUNTED.requeued ? jobs.find((j) => j.uid === last.jobUID) : undefined);
  const next = Math.max(closed, run.status.attemptCount ?? 0) + 1;
  const number = job === undefined || job.attempt <= closed ? next : job.attempt;
  return { number, open, job };
}

/** Uid of the present attempt's Job, also of one that is gone. */
export function jobUidOf(world: Pick<World, 'run' | 'jobs' | 'memory'>): string | undefined {
  const { job, open, number } = currentAttempt(world);
  const { seenJob } = world.memory;
  return job?.uid ?? open?.jobUID ?? (seenJob?.number === number ? seenJob.uid : undefined);
}
