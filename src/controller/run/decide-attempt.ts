import type { PodState } from '../../runtime/local/pod-state.ts';
import {
  anyStarted,
  attemptOf,
  hasStarted,
  iso,
  mayBeStored,
  missingRanks,
  shownAttempt,
  type Attempt,
  type JobOfAttempt,
  type Seen,
  type SeenPod,
} from './attempt.ts';
import { queueWords } from '../../runtime/local/job-view.ts';
import { endOf, type End } from './attempt-end.ts';
import { closeAs, type Stop } from './closing.ts';
import type { Decision } from './decision.ts';
import { lostPods, nextNodeLoss } from './node-loss.ts';
import type { Situation } from './situation.ts';
import { writeOrWait } from './status.ts';
import { UNCOUNTED, type World } from './world.ts';

/** A run whose Job is there: wait, stop, collect, close or record. */

export function decideAttempt(world: World, job: JobOfAttempt, number: number): Decision {
  const attempt = attemptOf(world, job, number);
  const requeued = requeuedByQueue(attempt);
  if (requeued !== undefined) return requeued;
  const lost = lostNode(attempt);
  if (lost !== undefined) return lost;
  const end = endOf(attempt);
  if (end === 'unclear') return lookCloser(attempt);
  if (end !== undefined) return confirmJob(attempt) ?? settle(attempt, end);
  const stop = stopOf(attempt);
  if (stop !== undefined) return halt(attempt, stop);
  return watch(attempt);
}

/** The Job is gone for certain: what its pods left is still collected. */
export function decideWithoutJob(world: World, uid: string, number: number): Decision {
  const { namespace } = world.run;
  const none = { queue: undefined, startedAt: undefined, end: undefined };
  const job = { uid, namespace, name: '', suspended: false, createdAt: iso(world.now), ...none };
  const message =
    'The Job of the run was deleted; it is not created again. To run it once more, create a run with a new name.';
  const cancelled = { reason: 'Cancelled', message: 'Cancelled while its Job was gone.', exitCode: undefined } as const;
  return settle(
    attemptOf(world, job, number),
    world.run.spec.cancel ? cancelled : { reason: 'ChildDeleted', message, exitCode: undefined },
  );
}

/**
 * Kueue took the place away: the Job is suspended again, or has another start already. Only what cannot come of a
 * cache that lags counts: a Job that may not start yet looks the same while its first pods are seen before its start.
 */
function requeuedByQueue(attempt: Attempt): Decision | undefined {
  const { job, open, seen, world, clocks } = attempt;
  const hadStart = open?.podSetStartedAt !== undefined;
  const leaving = seen.filter(({ pod }) => pod.deleting || pod.gone);
  const startMs = job.suspended ? NaN : Date.parse(job.startedAt ?? '');
  const restarted =
    !job.suspended &&
    job.startedAt !== undefined &&
    (hadStart
      ? job.startedAt !== open.podSetStartedAt
      : leaving.some(({ pod }) => Date.parse(pod.createdAt) < startMs - 1000));
  const suspended = job.suspended && (hadStart || leaving.length > 0);
  if (!restarted && !suspended) return undefined;
  // Once the Job has started others, the pods of this start are gone.
  const rest = restarted ? undefined : (stopping(attempt) ?? gather(attempt, TAKEN_BACK));
  if (rest !== undefined) return rest;
  const finishedMs = restarted ? Math.min(world.now, startMs) : world.now;
  const { reason: _, ...shown } = shownAttempt(attempt);
  return {
    do: 'closeAttempt',
    attempt: {
      ...shown,
      finishedAt: iso(finishedMs),
      reason: UNCOUNTED.requeued,
      message: TAKEN_BACK,
      counted: false,
    },
    clocks,
    situation: {
      is: 'waiting',
      reason: 'Queued',
      message: 'The queue took the place back; the run waits for it again.',
      admitted: true,
    },
  };
}
const TAKEN_BACK = 'The queue took the place back.';

/** Pods that a queue stops have their grace period: to come to an end, and to bring what they have. */
function stopping(attempt: Attempt): Decision | undefined {
  const { world, seen, collects } = attempt;
  const alive = seen.filter(({ pod, state }) => state.at === 'running' && !pod.gone);
  if (!collects || alive.length === 0) return undefined;
  const graceMs = world.run.spec.timeouts.uploadSeconds * 1000;
  const goneBy = Math.max(...alive.map(({ pod }) => pod.goneBy ?? world.now + graceMs));
  const left = goneBy + KUBELET_MS - world.now;
  if (left <= 0) return undefined;
  const situation: Situation = { is: 'stopping', message: `${TAKEN_BACK} Results so far are being collected.` };
  return unlessSoon(attempt, goneBy - graceMs, situation, left);
}
/** What the kubelet may take to say that a pod is over. */
const KUBELET_MS = 30_000;

/** Pods that went: was it the queue? It suspends the Job first, but that may still be under way to the cache. */
function confirmJob({ world, job, seen }: Attempt): Decision | undefined {
  if (job.queue === undefined || world.memory.jobRead === job.uid || !seen.some(({ pod }) => pod.deleting || pod.gone))
    return undefined;
  return { do: 'readJob', job };
}

/**
 * Before an attempt is closed while pods of it are thought to live, or were never seen: one live read, so that what has
 * run is collected and not taken for what never started.
 */
function confirmPods({ world, job, collects, seen }: Attempt): Decision | undefined {
  const known = seen.length >= world.run.spec.nodes && seen.every(({ pod, state }) => pod.gone || state.at === 'ended');
  return !collects || known || world.memory.podsRead.has(job.uid) ? undefined : { do: 'readPods', job };
}

/** The streams of Jobs and pods may be a moment apart; what lasts longer is asked for. */
function lookCloser({ world, job }: Attempt): Decision {
  const age = world.now - Date.parse(job.end!.at);
  return age < POD_LAG_MS ? { do: 'nothing', againMs: POD_LAG_MS - age } : { do: 'readPods', job };
}
const POD_LAG_MS = 1000;

/** Why the operator itself must end the attempt now. */
function stopOf(attempt: Attempt): Stop | undefined {
  const { world, clocks, times, seen, job } = attempt;
  const { spec } = world.run;
  const { timeouts } = spec;
  if (spec.cancel) return { reason: 'Cancelled', message: 'spec.cancel was set.' };
  if (spec.suspend) return { reason: UNCOUNTED.suspended, message: 'spec.suspend was set.' };
  const hopeless = seen
    .map(({ state }) => (state.at === 'waiting' ? state.hopeless : undefined))
    .find((h) => h !== undefined);
  if (hopeless !== undefined) return hopeless;
  if (times.startedAt !== undefined) {
    return clocks.runSeconds >= timeouts.runSeconds
      ? {
          reason: 'RunDeadlineExceeded',
          message: `The run took longer than timeouts.runSeconds (${timeouts.runSeconds} s).`,
        }
      : undefined;
  }
  const waiting = worstWait(seen);
  const words = waiting === undefined ? '' : ` Last seen: ${waiting.message}`;
  if (times.scheduledAt !== undefined) {
    if (clocks.startupSeconds < timeouts.startupSeconds) return undefined;
    const reason = waiting?.reason === 'ImagePullBackOff' ? 'ImagePullFailed' : 'StartupDeadlineExceeded';
    return {
      reason,
      message: `The container was not running within timeouts.startupSeconds (${timeouts.startupSeconds} s).${words}`,
    };
  }
  if (clocks.queueSeconds < timeouts.queueSeconds) return undefined;
  const what = job.suspended ? 'its queue did not admit it' : 'no node took it';
  return {
    reason: 'QueueDeadlineExceeded',
    message: `The run waited longer than timeouts.queueSeconds (${timeouts.queueSeconds} s): ${what}.${words}`,
  };
}

/** Ends the attempt for `stop`: first its results, within a bound; then the words; the Job is deleted after that. */
function halt(attempt: Attempt, stop: Stop): Decision {
  const { world, seen, collects, number } = attempt;
  const { memory, now } = world;
  const look = confirmPods(attempt);
  if (look !== undefined) return look;
  const running = seen.filter(({ state, pod }) => state.at === 'running' && !pod.gone);
  if (collects && running.length > 0) {
    const load = { do: 'loadResults', attempt: number } as const;
    if (missingRanks(attempt).length > 0) {
      // A process before this one may have asked and been answered: a collector answers once.
      if (memory.collectSince === undefined)
        return memory.loaded.has(number) ? { do: 'requestCollect', reason: stop.message } : load;
      const left = memory.collectSince + world.run.spec.timeouts.uploadSeconds * 1000 - now;
      if (left > 0)
        return say(attempt, { is: 'stopping', message: `${stop.message} Results so far are being collected.` }, left);
    }
    if (mayBeStored(attempt)) return load;
  }
  const log = unreadLog(attempt);
  if (log !== undefined) return log;
  return close(attempt, { ...stop, exitCode: undefined });
}

/** The attempt is over by itself: results, log, then the last word. */
function settle(attempt: Attempt, end: End): Decision {
  return gather(attempt, end.message) ?? close(attempt, end);
}

/** What an attempt that is over has left, as far as it is not here yet. */
function gather(attempt: Attempt, why: string): Decision | undefined {
  const { world, seen, times, number } = attempt;
  const look = confirmPods(attempt);
  if (look !== undefined) return look;
  if (attempt.collects && anyStarted(attempt)) {
    const missing = missingRanks(attempt);
    if (missing.length > 0) {
      const atWork = seen.some(({ pod }) => missing.includes(pod.rank) && collectorLives(pod));
      // A pod that runs on although its attempt is over: its Job or another node is gone.
      const since = times.finishedAt ?? world.memory.collectSince;
      if (atWork && since === undefined) return { do: 'requestCollect', reason: why };
      // The collector's own deadline is the pod's grace period; half a minute for the kubelet to say that it is over.
      const left = (since ?? 0) + (world.run.spec.timeouts.uploadSeconds + 30) * 1000 - world.now;
      if (atWork && left > 0)
        return unlessSoon(
          attempt,
          since!,
          { is: 'collecting', message: 'The container has ended; its results are being uploaded.' },
          left,
        );
    }
    if (mayBeStored(attempt)) return { do: 'loadResults', attempt: number };
    return unreadLog(attempt);
  }
  return undefined;
}

/** What is nearly always over in a moment is worth a write only if it lasts. */
function unlessSoon(attempt: Attempt, since: number, situation: Situation, againMs: number): Decision {
  const age = attempt.world.now - since;
  return age < SOON_MS ? { do: 'nothing', againMs: SOON_MS - age } : say(attempt, situation, againMs);
}
const SOON_MS = 5000;

function collectorLives(pod: SeenPod): boolean {
  if (pod.gone || pod.phase === 'Failed' || pod.phase === 'Succeeded') return false;
  return pod.collector?.is === 'running' || pod.collector?.is === 'waiting';
}

const LOG_TRIES = 3;

function unreadLog({ world, seen, number, collects }: Attempt): Decision | undefined {
  if (!collects) return undefined;
  const next = seen.find(
    ({ pod, state }) =>
      hasStarted(state) && !world.results.logs.has(pod.rank) && (world.memory.logTries.get(pod.rank) ?? 0) < LOG_TRIES,
  );
  return next === undefined ? undefined : { do: 'finishLog', attempt: number, pod: next.pod };
}

function close(attempt: Attempt, end: End | Stop): Decision {
  const { world, number, seen, times, clocks } = attempt;
  const head = seen[0]?.pod;
  const finishedAt = iso(times.finishedAt ?? world.now);
  const shown = shownAttempt(attempt);
  const decision = closeAs(
    { world, number, shown, finishedAt, clocks, imageDigest: head?.imageDigest, sourceCommit: commitOf(head) },
    end,
  );
  if (decision.do !== 'record' || anyStarted(attempt)) return decision;
  // What the attempts before have left is what the run has.
  const before = world.run.status.attempts?.findLast((a) => a.number < number && a.startedAt !== undefined);
  if (before === undefined) return decision;
  if (!world.memory.loaded.has(before.number)) return { do: 'loadResults', attempt: before.number };
  return { ...decision, ending: { ...decision.ending, resultsOf: before.number } };
}

/** The source container ends with the commit as its termination message. */
function commitOf(pod: SeenPod | undefined): string | undefined {
  const source = pod?.source;
  return source?.is === 'terminated' && source.exitCode === 0 && /^[0-9a-f]{40,64}$/.test(source.message)
    ? source.message
    : undefined;
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
    return unlessSoon(
      attempt,
      times.finishedAt,
      { is: 'collecting', message: 'The container has ended; the Job is about to.' },
      ASK_AGAIN_MS,
    );
  }
  if (times.startedAt !== undefined) {
    return say(
      attempt,
      { is: 'running', message: number > 1 ? `Attempt ${number} runs.` : 'The container runs.' },
      (timeouts.runSeconds - clocks.runSeconds) * 1000,
    );
  }
  const left =
    (times.scheduledAt === undefined
      ? timeouts.queueSeconds - clocks.queueSeconds
      : timeouts.startupSeconds - clocks.startupSeconds) * 1000;
  if (job.suspended)
    return say(attempt, { is: 'waiting', reason: 'Queued', message: queueWords(job), admitted: true }, left);
  const waiting = worstWait(seen);
  if (waiting === undefined) return watchWithoutPods(attempt, age, left);
  const settleMs = SETTLE_MS[waiting.reason as keyof typeof SETTLE_MS] ?? 0;
  if (age < settleMs) return { do: 'nothing', againMs: settleMs - age };
  if (waiting.reason === 'PodPreparing') return watchPreparing(attempt, waiting.message, left);
  return say(attempt, { is: 'waiting', reason: waiting.reason, message: waiting.message, admitted: true }, left);
}

/** A volume that cannot be mounted, and beside a sidecar a missing Secret too, stand only in the kubelet's events. */
function watchPreparing(attempt: Attempt, message: string, left: number): Decision {
  const { world, seen } = attempt;
  const pod = seen.find(({ state }) => state.at === 'waiting')!.pod;
  const { podTrouble } = world.memory;
  if (podTrouble?.podUid !== pod.uid || world.now - podTrouble.at >= ASK_AGAIN_MS) return { do: 'askWhyPodWaits', pod };
  const words = podTrouble.message;
  const reason = /(secret|configmap).*not found|couldn't find key/i.test(words) ? 'SecretMissing' : 'PodPreparing';
  return say(
    attempt,
    { is: 'waiting', reason, message: words === '' ? message : words, admitted: true },
    Math.min(left, ASK_AGAIN_MS),
  );
}

/** The Job controller says only in an event why it cannot make pods: a quota, an admission policy. */
function watchWithoutPods(attempt: Attempt, age: number, left: number): Decision {
  const { world, job } = attempt;
  if (age < 5000) return { do: 'nothing', againMs: 5000 - age };
  const { jobTrouble } = world.memory;
  if (jobTrouble?.jobUid !== job.uid || world.now - jobTrouble.at >= ASK_AGAIN_MS) return { do: 'askWhyNoPods', job };
  const trouble = jobTrouble.message;
  if (trouble !== '')
    return say(
      attempt,
      { is: 'waiting', reason: 'JobRefused', message: trouble, admitted: true },
      Math.min(left, ASK_AGAIN_MS),
    );
  return say(
    attempt,
    { is: 'waiting', reason: 'PodPreparing', message: 'The Job has no pods yet.', admitted: true },
    Math.min(left, ASK_AGAIN_MS),
  );
}

/** The wait that says most: a pull that fails counts more than a pod that prepares. */
function worstWait(seen: readonly Seen[]): (PodState & { at: 'waiting' }) | undefined {
  const waits = seen.map(({ state }) => state).filter((state) => state.at === 'waiting');
  return waits.find((w) => w.reason !== 'PodPreparing') ?? waits[0];
}

/**
 * A node that stopped answering cannot end its pods: after the profile's patience they are removed by force. The status
 * says so first: a process that dies in between would take the removed pods for deleted by hand.
 */
function lostNode(attempt: Attempt): Decision | undefined {
  const { world, open, seen } = attempt;
  const [lost] = lostPods(
    world,
    seen.map(({ pod }) => pod),
  );
  const isMarked = open?.reason === 'NodeLost';
  if (lost === undefined)
    return isMarked
      ? settle(attempt, { reason: 'NodeLost', message: open.message ?? '', exitCode: undefined })
      : undefined;
  if (isMarked) return { do: 'forceDeletePod', pod: lost.pod };
  return {
    do: 'writeStatus',
    situation: { is: 'stopping', message: lost.message },
    attempt: { ...shownAttempt(attempt), reason: 'NodeLost', message: lost.message },
  };
}

function say(attempt: Attempt, situation: Situation, againMs: number): Decision {
  const { world, seen } = attempt;
  const sooner = Math.min(
    againMs,
    nextNodeLoss(
      world,
      seen.map(({ pod }) => pod),
    ),
  );
  // An attempt stands in the status from when it was seen to run.
  return writeOrWait(world, situation, sooner, situation.is === 'waiting' ? undefined : shownAttempt(attempt));
}
