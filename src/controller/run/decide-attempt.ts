import { podState, type PodState } from '../../runtime/local/pod-state.ts';
import type { AttemptStatus } from '../../crds/world-run-status.ts';
import type { OutcomeReason, RetryableReason } from '../../crds/vocabulary.ts';
import { attemptTimes, clocksAt, type AttemptTimes, type Clocks } from './clocks.ts';
import type { Decision, Ending } from './decision.ts';
import { clipBytes } from './public-text.ts';
import type { Situation } from './situation.ts';
import { statusSays } from './status.ts';
import type { JobView } from './view.ts';
import { UNCOUNTED, type World } from './world.ts';

/** A run whose Job is there: wait, stop, collect, close or record. */

type Seen = { pod: World['pods'][number]; state: PodState };

interface Attempt {
  world: World;
  job: JobView;
  number: number;
  seen: Seen[];
  times: AttemptTimes;
  clocks: Clocks;
  collects: boolean;
}

export function decideAttempt(world: World, job: JobView, number: number): Decision {
  const seen = world.pods
    .filter((pod) => pod.jobUid === job.uid && isOfThisStart(pod, world))
    .map((pod) => ({ pod, state: podState(pod) }))
    .toSorted((a, b) => a.pod.rank - b.pod.rank);
  const times = attemptTimes(world.run.spec.nodes, seen);
  const profile = world.pinned?.spec ?? world.profile?.spec;
  const attempt: Attempt = {
    world,
    job,
    number,
    seen,
    times,
    clocks: clocksAt(world.run, times, world.now),
    collects: profile?.local?.collect !== 'Disabled',
  };
  const requeued = requeuedByQueue(attempt);
  if (requeued !== undefined) return requeued;
  const end = endOf(attempt);
  if (end !== undefined) return settle(attempt, end);
  const stop = stopOf(attempt);
  if (stop !== undefined) return halt(attempt, stop);
  return watch(attempt);
}

/** After a queue's eviction the same Job starts new pods: those of the start before do not count. */
function isOfThisStart(pod: World['pods'][number], world: World): boolean {
  const last = world.run.status.attempts?.findLast((a) => a.finishedAt !== undefined && a.reason === UNCOUNTED.requeued);
  return last?.finishedAt === undefined || Date.parse(pod.createdAt) >= Date.parse(last.finishedAt) - 1000;
}

/** Kueue took the place away: the Job is suspended again and its start time cleared. */
function requeuedByQueue({ world, job, number, clocks, times }: Attempt): Decision | undefined {
  const open = world.run.status.attempts?.find((a) => a.number === number && a.finishedAt === undefined);
  if (!job.suspended || open?.podSetStartedAt === undefined || job.startedAt === open.podSetStartedAt) return undefined;
  return {
    do: 'closeAttempt',
    attempt: { ...open, finishedAt: iso(times.finishedAt ?? world.now), reason: UNCOUNTED.requeued, message: 'The queue took the place back.', counted: false },
    clocks,
    situation: { is: 'waiting', reason: 'Queued', message: 'The queue took the place back; the run waits for it again.', admitted: true },
  };
}

interface End {
  reason: OutcomeReason;
  message: string;
  exitCode: number | undefined;
}

/** How the pods, or the Job, ended by themselves; undefined while they have not. */
function endOf(attempt: Attempt): End | undefined {
  const { job, seen, collects, world } = attempt;
  if (world.memory.nodeLost !== undefined) return { reason: 'NodeLost', message: world.memory.nodeLost.message, exitCode: undefined };
  const failures = seen.filter(({ state }) => state.at === 'ended' && !state.ok).map(({ state }) => state as PodState & { at: 'ended' });
  if (failures.length > 0) {
    // With several nodes the first to fail is the cause; the others were stopped because of it.
    const first = failures.toSorted((a, b) => Date.parse(a.finishedAt || '9999-01-01') - Date.parse(b.finishedAt || '9999-01-01'))[0]!;
    return { reason: first.reason, message: first.message, exitCode: first.exitCode };
  }
  const allOk = seen.length >= world.run.spec.nodes && seen.every(({ state }) => state.at === 'ended');
  // Without a collector there is nothing to wait for but the Job itself.
  if (allOk && collects) return { reason: 'Completed', message: 'The command exited with 0.', exitCode: 0 };
  if (job.end?.status === 'Complete') return { reason: 'Completed', message: 'The command exited with 0.', exitCode: 0 };
  if (job.end?.status !== 'Failed') return undefined;
  // The pod cache may be a moment behind the Job that already counts its pod as failed.
  if (seen.some(({ pod }) => !pod.gone) && world.now - Date.parse(job.end.at) < POD_LAG_MS) return undefined;
  if (seen.some(({ state }) => state.at === 'running')) return { reason: 'ChildDeleted', message: 'The pod of the run was deleted while it ran.', exitCode: undefined };
  return { reason: 'PodFailed', message: [job.end.reason, job.end.message].filter(Boolean).join(': '), exitCode: undefined };
}

const POD_LAG_MS = 3000;

interface Stop {
  reason: OutcomeReason | typeof UNCOUNTED.suspended;
  message: string;
}

/** Why the operator itself must end the attempt now. */
function stopOf(attempt: Attempt): Stop | undefined {
  const { world, clocks, times, seen, job } = attempt;
  const { spec } = world.run;
  const { timeouts } = spec;
  if (spec.cancel) return { reason: 'Cancelled', message: 'spec.cancel was set.' };
  if (spec.suspend) return { reason: UNCOUNTED.suspended, message: 'spec.suspend was set.' };
  const hopeless = seen.map(({ state }) => (state.at === 'waiting' ? state.hopeless : undefined)).find((h) => h !== undefined);
  if (hopeless !== undefined) return hopeless;
  if (times.startedAt !== undefined) {
    return clocks.runSeconds >= timeouts.runSeconds ? { reason: 'RunDeadlineExceeded', message: `The run took longer than timeouts.runSeconds (${timeouts.runSeconds} s).` } : undefined;
  }
  const waiting = worstWait(seen);
  const words = waiting === undefined ? '' : ` Last seen: ${waiting.message}`;
  if (times.scheduledAt !== undefined) {
    if (clocks.startupSeconds < timeouts.startupSeconds) return undefined;
    const reason = waiting?.reason === 'ImagePullBackOff' ? 'ImagePullFailed' : 'StartupDeadlineExceeded';
    return { reason, message: `The container was not running within timeouts.startupSeconds (${timeouts.startupSeconds} s).${words}` };
  }
  if (clocks.queueSeconds < timeouts.queueSeconds) return undefined;
  const what = job.suspended ? 'its queue did not admit it' : 'no node took it';
  return { reason: 'QueueDeadlineExceeded', message: `The run waited longer than timeouts.queueSeconds (${timeouts.queueSeconds} s): ${what}.${words}` };
}

/** Ends the attempt for `stop`: first its results, within a bound; then the words; the Job is deleted after that. */
function halt(attempt: Attempt, stop: Stop): Decision {
  const { world, seen, collects } = attempt;
  const { memory, now } = world;
  const running = seen.filter(({ state, pod }) => state.at === 'running' && !pod.gone);
  if (collects && running.length > 0) {
    if (memory.collectSince === undefined) return { do: 'requestCollect', reason: stop.message };
    const left = memory.collectSince + world.run.spec.timeouts.uploadSeconds * 1000 - now;
    if (left > 0 && missingRanks(attempt).length > 0) return say(attempt, { is: 'stopping', message: `${stop.message} Results so far are being collected.` }, left);
  }
  const log = unreadLog(attempt);
  if (log !== undefined) return log;
  return close(attempt, { ...stop, exitCode: undefined });
}

/** The attempt is over by itself: results, log, then the last word. */
function settle(attempt: Attempt, end: End): Decision {
  const { world, seen, times, number } = attempt;
  if (attempt.collects && seen.some(({ state }) => hasStarted(state))) {
    const missing = missingRanks(attempt);
    if (missing.length > 0) {
      const since = times.finishedAt ?? world.now;
      // The collector's own deadline is the pod's grace period; half a minute for the kubelet to say that it is over.
      const left = since + (world.run.spec.timeouts.uploadSeconds + 30) * 1000 - world.now;
      const atWork = seen.some(({ pod }) => missing.includes(pod.rank) && collectorLives(pod));
      if (atWork && left > 0) return unlessSoon(attempt, since, { is: 'collecting', message: 'The container has ended; its results are being uploaded.' }, left);
      if (!world.memory.loaded.has(number)) return { do: 'loadResults', attempt: number };
    }
    const log = unreadLog(attempt);
    if (log !== undefined) return log;
  }
  return close(attempt, end);
}

/** What is nearly always over in a moment is worth a write only if it lasts. */
function unlessSoon(attempt: Attempt, since: number, situation: Situation, againMs: number): Decision {
  const age = attempt.world.now - since;
  return age < SOON_MS ? { do: 'nothing', againMs: SOON_MS - age } : say(attempt, situation, againMs);
}
const SOON_MS = 5000;

function collectorLives(pod: World['pods'][number]): boolean {
  if (pod.gone || pod.phase === 'Failed' || pod.phase === 'Succeeded') return false;
  return pod.collector?.is === 'running' || pod.collector?.is === 'waiting';
}

function hasStarted(state: PodState): boolean {
  return state.at === 'running' || (state.at === 'ended' && state.startedAt !== undefined);
}

/** Ranks whose result is wanted and has not arrived, by the gateway or by the termination message. */
function missingRanks({ world, seen }: Attempt): number[] {
  const wanted = world.run.spec.outputs.ranks === 'All' ? seen.map(({ pod }) => pod.rank) : [0];
  return wanted.filter((rank) => !world.results.results.has(rank) && seen.some(({ pod, state }) => pod.rank === rank && hasStarted(state)));
}

const LOG_TRIES = 3;

function unreadLog({ world, seen, number, collects }: Attempt): Decision | undefined {
  if (!collects) return undefined;
  const next = seen.find(
    ({ pod, state }) => hasStarted(state) && !world.results.logs.has(pod.rank) && (world.memory.logTries.get(pod.rank) ?? 0) < LOG_TRIES,
  );
  return next === undefined ? undefined : { do: 'finishLog', attempt: number, rank: next.pod.rank };
}

/** The last word on an attempt: close it and go on, or record the run. */
function close(attempt: Attempt, end: End | Stop): Decision {
  const { world, job, number, seen, times, clocks } = attempt;
  const { spec, status } = world.run;
  const head = seen[0];
  const open = status.attempts?.find((a) => a.number === number);
  const exitCode = 'exitCode' in end ? end.exitCode : undefined;
  const startedAt = open?.startedAt ?? isoMaybe(times.startedAt);
  const podSetStartedAt = open?.podSetStartedAt ?? job.startedAt;
  const node = open?.node ?? head?.pod.node;
  const closed: AttemptStatus = {
    number,
    jobUID: job.uid,
    ...(podSetStartedAt !== undefined && { podSetStartedAt }),
    ...(node !== undefined && { node }),
    ...(startedAt !== undefined && { startedAt }),
    finishedAt: iso(times.finishedAt ?? world.now),
    ...(exitCode !== undefined && { exitCode }),
    reason: end.reason,
    // The conditions have the whole; sixteen attempts stand in one status.
    message: clipBytes(end.message, 300),
  };
  if (end.reason === UNCOUNTED.suspended) {
    return {
      do: 'closeAttempt',
      attempt: { ...closed, counted: false },
      clocks,
      situation: { is: 'waiting', reason: 'Suspended', message: 'spec.suspend is true; set it to false to go on.', admitted: false },
    };
  }
  const counted = (status.attempts ?? []).filter((a) => a.counted === false).length;
  const used = number - counted;
  if (end.reason !== 'Completed' && end.reason !== 'Cancelled' && spec.retry.onReasons.includes(end.reason as RetryableReason) && used < spec.retry.maxAttempts && !spec.cancel) {
    return {
      do: 'closeAttempt',
      attempt: closed,
      clocks,
      situation: { is: 'waiting', reason: 'WaitingForRetry', message: `Attempt ${number} ended with ${end.reason}: ${end.message}`, admitted: true },
    };
  }
  const ending: Ending = {
    status: end.reason === 'Completed' ? 'succeeded' : end.reason === 'Cancelled' ? 'cancelled' : 'failed',
    reason: end.reason as OutcomeReason,
    message: end.message,
    exitCode,
    attempt: closed,
    clocks,
    imageDigest: head?.pod.imageDigest,
    sourceCommit: commitOf(head?.pod),
  };
  return { do: 'record', ending };
}

/** The source container ends with the commit as its termination message. */
function commitOf(pod: World['pods'][number] | undefined): string | undefined {
  const source = pod?.source;
  return source?.is === 'terminated' && source.exitCode === 0 && /^[0-9a-f]{40,64}$/.test(source.message) ? source.message : undefined;
}

/** Unschedulable is said within seconds; what a normal start goes through anyway only if it lasts. */
const SETTLE_MS = { Unschedulable: 2000, PodPreparing: 8000 } as const;

/** How often the Job's events are looked at while it has no pods. */
const ASK_AGAIN_MS = 30_000;

/** Nothing has ended: say where it stands, and when to look again. */
function watch(attempt: Attempt): Decision {
  const { world, job, seen, times, clocks, number } = attempt;
  const { timeouts } = world.run.spec;
  const age = world.now - Date.parse(job.createdAt);
  if (times.finishedAt !== undefined && seen.every(({ state }) => state.at === 'ended')) {
    return unlessSoon(attempt, times.finishedAt, { is: 'collecting', message: 'The container has ended; the Job is about to.' }, ASK_AGAIN_MS);
  }
  if (times.startedAt !== undefined) {
    const lost = lostNode(attempt);
    if (lost !== undefined) return lost;
    return say(attempt, { is: 'running', message: number > 1 ? `Attempt ${number} runs.` : 'The container runs.' }, (timeouts.runSeconds - clocks.runSeconds) * 1000);
  }
  const left = (times.scheduledAt === undefined ? timeouts.queueSeconds - clocks.queueSeconds : timeouts.startupSeconds - clocks.startupSeconds) * 1000;
  if (job.suspended) return say(attempt, { is: 'waiting', reason: 'Queued', message: 'The Job waits for its queue to admit it.', admitted: true }, left);
  const lost = lostNode(attempt);
  if (lost !== undefined) return lost;
  const waiting = worstWait(seen);
  if (waiting === undefined) {
    // The Job controller says only in an event why it cannot make pods: a quota, an admission policy.
    if (age < 5000) return { do: 'nothing', againMs: 5000 - age };
    const { jobTrouble } = world.memory;
    if (jobTrouble?.jobUid !== job.uid || world.now - jobTrouble.at >= ASK_AGAIN_MS) return { do: 'askWhyNoPods', job };
    const trouble = jobTrouble.message;
    if (trouble !== '') return say(attempt, { is: 'waiting', reason: 'JobRefused', message: trouble, admitted: true }, Math.min(left, ASK_AGAIN_MS));
    return say(attempt, { is: 'waiting', reason: 'PodPreparing', message: 'The Job has no pods yet.', admitted: true }, Math.min(left, ASK_AGAIN_MS));
  }
  const settleMs = SETTLE_MS[waiting.reason as keyof typeof SETTLE_MS] ?? 0;
  if (age < settleMs) return { do: 'nothing', againMs: settleMs - age };
  return say(attempt, { is: 'waiting', reason: waiting.reason, message: waiting.message, admitted: true }, left);
}

/** The wait that says most: a pull that fails counts more than a pod that prepares. */
function worstWait(seen: readonly Seen[]): (PodState & { at: 'waiting' }) | undefined {
  const waits = seen.map(({ state }) => state).filter((state) => state.at === 'waiting');
  return waits.find((w) => w.reason !== 'PodPreparing') ?? waits[0];
}

/** A node that stopped answering cannot end its pods: after the profile's patience they are removed by force. */
function lostNode({ world, seen }: Attempt): Decision | undefined {
  const profile = world.pinned?.spec ?? world.profile?.spec;
  if (profile?.onNodeLost !== 'Fail') return undefined;
  for (const { pod } of seen) {
    if (pod.gone || pod.node === undefined) continue;
    const node = world.nodes(pod.node);
    if (node === undefined || node.ready) continue;
    const left = node.readyChangedAt + profile.nodeLostSeconds * 1000 - world.now;
    if (left > 0) continue;
    return { do: 'forceDeletePod', pod, message: `Node ${pod.node} has not answered for ${profile.nodeLostSeconds} s.` };
  }
  return undefined;
}

function say({ world }: Attempt, situation: Situation, againMs: number): Decision {
  const lost = soonestNodeLoss(world);
  const bounded = Math.max(50, Math.min(againMs, lost, 0x7fffffff));
  return statusSays(world, situation) ? { do: 'nothing', againMs: bounded } : { do: 'writeStatus', situation, againMs: bounded };
}

function soonestNodeLoss(world: World): number {
  const profile = world.pinned?.spec ?? world.profile?.spec;
  if (profile?.onNodeLost !== 'Fail') return Infinity;
  let soonest = Infinity;
  for (const pod of world.pods) {
    const node = pod.node === undefined || pod.gone ? undefined : world.nodes(pod.node);
    if (node !== undefined && !node.ready) soonest = Math.min(soonest, Math.max(100, node.readyChangedAt + profile.nodeLostSeconds * 1000 - world.now));
  }
  return soonest;
}

const iso = (ms: number): string => new Date(ms).toISOString();
const isoMaybe = (ms: number | undefined): string | undefined => (ms === undefined ? undefined : iso(ms));
