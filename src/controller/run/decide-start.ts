import { costReached, refusalOf } from '../admission/rules.ts';
import type { Limits } from '../admission/ledger.ts';
import { lastTried, skipEntry, untold, type Route } from '../admission/routing.ts';
import type { RuntimeProfileSpec } from '../../crds/runtime-profile.ts';
import type { WaitingReason } from '../../crds/vocabulary.ts';
import { awaitsApproval } from './approval.ts';
import { clocksAt, NO_TIMES } from './clocks.ts';
import type { Decision, Ending } from './decision.ts';
import { waitsForRetry } from './closing.ts';
import { endedByOperator, lingeringPod } from './endings.ts';
import { lostPods, nextNodeLoss } from './node-loss.ts';
import { writeOrWait } from './status.ts';
import { uncounted, type World } from './world.ts';
import { parseQuantity } from '../../kube/quantity.ts';
import { ceilingUSD } from '../cost.ts';
import { parseUSD } from '../money.ts';
import { lacksFiles, planVendor, startVendor } from '../remote/decide-start.ts';

/** A run that has no Job: what keeps it from one, or the next step towards it. */
export function decideStart(world: World, number: number): Decision {
  const { run, now, memory } = world;
  const { spec } = run;
  const clocks = clocksAt(run, NO_TIMES, now);
  const last = lastTried(run.status.attempts);
  // Profiles that were passed over have numbers too; with the first attempt that is tried, the status names its profile.
  const isFirst = number === 1 || run.status.profile === undefined;
  const end = (ending: Pick<Ending, 'status' | 'reason' | 'message'>): Decision => {
    // What the attempts before have left is what the run has.
    if (last?.startedAt !== undefined && !memory.loaded.has(last.number))
      return { do: 'loadResults', attempt: last.number };
    const none = { exitCode: undefined, attempt: undefined, imageDigest: undefined, sourceCommit: undefined };
    return { do: 'record', ending: { ...ending, ...none, resultsOf: last?.number ?? number, clocks } };
  };

  // A Job that the operator itself ended must go before anything else starts; one that failed comes to its end alone.
  const leftover = world.jobs.find((job) => job.end === undefined && !job.deleting);
  if (leftover !== undefined && (spec.cancel || endedByOperator(last?.reason)))
    return { do: 'deleteJob', job: leftover };

  if (spec.cancel) return end({ status: 'cancelled', reason: 'Cancelled', message: 'Cancelled before it started.' });
  if (spec.suspend)
    return wait(world, {
      reason: 'Suspended',
      message: 'spec.suspend is true; set it to false to go on.',
      holds: false,
    });

  if (world.twin !== undefined && !spec.dryRun) {
    return wait(world, {
      reason: 'RunKeyInUse',
      message: `Run ${world.twin} has the same runKey and has not ended yet.`,
      holds: false,
      againMs: 60_000,
    });
  }
  // Paid work is found again by its name and spec too: a run that is applied again must not buy again.
  if ((spec.runKey !== undefined || world.vendor?.traits.paid === true) && isFirst && !spec.dryRun) {
    if (memory.record === undefined) return { do: 'lookUpRecord' };
    const { record } = memory;
    const adoptable = record?.state === 'Finished' && record.uid !== run.uid && run.rerun !== record.status?.runId;
    // A namespace that was deleted and made again under its name is another tenant's.
    if (adoptable && record.namespaceUid === world.namespace?.uid) return { do: 'adoptRecord' };
  }

  const queueLeft = spec.timeouts.queueSeconds - clocks.queueSeconds;
  if (queueLeft <= 0) {
    return end({
      status: 'failed',
      reason: 'QueueDeadlineExceeded',
      message: `The run waited longer than timeouts.queueSeconds (${spec.timeouts.queueSeconds} s).`,
    });
  }
  const hold = (reason: WaitingReason, message: string, againMs?: number) =>
    wait(world, { reason, message, holds: true, againMs: Math.min(againMs ?? Infinity, queueLeft * 1000) });

  if (world.route !== undefined && world.route.take === undefined) return hindered(world, world.route, hold);
  const profile = profileOf(world);
  if (profile === undefined) {
    const named = spec.runtimeProfileRef?.name;
    if (run.status.profile !== undefined)
      return hold(
        'ProfileNotFound',
        `The pinned copy of profile ${run.status.profile.name} is gone; it cannot be restored.`,
      );
    return hold(
      'ProfileNotFound',
      named === undefined
        ? 'spec.runtimeProfileRef: name a profile; no RuntimeProfile carries the annotation worldflux.ai/is-default-profile: "true"'
        : `spec.runtimeProfileRef.name: there is no RuntimeProfile ${named}`,
    );
  }
  if (world.namespace === undefined) return { do: 'nothing', againMs: 1000 };

  if (isFirst) {
    const refusal = refusalOf({
      run: spec,
      profile: profile.spec,
      profileName: profile.name,
      namespace: world.namespace,
      traits: world.vendor?.traits,
    });
    const planned = world.vendor === undefined ? undefined : planVendor(world, world.vendor);
    if (planned !== undefined && 'do' in planned && refusal === undefined) return planned;
    const refused = refusal ?? (planned !== undefined && 'ok' in planned ? planned : undefined);
    if (refused !== undefined) {
      const situation = { is: 'refused', reason: refused.reason, message: refused.message } as const;
      // A place that it was given, or waits for, is somebody else's now.
      return world.reservation === undefined ? writeOrWait(world, situation, Infinity) : { do: 'release' };
    }
    if (spec.dryRun) return lacksFiles(world, hold) ?? { do: 'recordPlan', profile };
  }
  if (world.profile?.name === profile.name && !world.profileReady.ready) {
    return hold('ProfileNotReady', `Profile ${profile.name} is not ready: ${world.profileReady.message}`);
  }

  const unapproved = awaitsApproval(run, profile.spec);
  if (unapproved !== undefined) return wait(world, { reason: 'AwaitingApproval', message: unapproved, holds: false });

  const pause = retryPause(world);
  if (pause > 0) return hold('WaitingForRetry', waitsForRetry(last).message, pause);
  const before = lastIsThere(world);
  if (before !== undefined)
    return before === 'wait'
      ? hold('WaitingForRetry', waitsForRetry(last).message, nextNodeLoss(world, world.pods))
      : before;

  const quota = profile.spec.limits.maxStoredBytesPerNamespace;
  if (quota !== undefined && world.storedBytes >= parseQuantity(quota)) {
    return hold(
      'StoreQuotaExceeded',
      `Namespace ${run.namespace} holds ${world.storedBytes} bytes in the run store, profile ${profile.name} allows ${quota}: delete old runs or their results.`,
      60_000,
    );
  }

  const { reservation, elsewhere } = world;
  const isElsewhere = reservation?.profile !== undefined && reservation.profile !== profile.name;
  if (isElsewhere && reservation.granted) return { do: 'release' };
  if (reservation === undefined || isElsewhere || (reservation.granted && reservation.pending === true)) {
    const { status } = run;
    const reached = isFirst ? undefined : costReached({ run: spec, status, elsewhere, ...profile });
    if (reached !== undefined) return end({ status: 'failed', reason: 'CostLimitReached', message: reached });
    const ceiling = ceilingUSD(spec, profile.spec, status, elsewhere);
    return { do: 'reserve', profile: profile.name, limits: limitsNow(world, profile), ceiling };
  }
  if (!reservation.granted) {
    const { reason, message, until } = reservation;
    return hold(reason, message, until === undefined ? undefined : until - now);
  }

  const skipped = untold(world.route?.skipped ?? [], run.status.attempts);
  if (skipped !== undefined) {
    const message = `Profile ${profile.name} takes the run; ${skipped.name} was passed over: ${skipped.message}`;
    const situation = { is: 'waiting', reason: 'Pending', message, admitted: true } as const;
    return { do: 'writeStatus', situation, attempt: skipEntry(skipped, number, new Date(now).toISOString()) };
  }

  // Somebody else's Job, or the API server's refusal, may go away by itself.
  for (const [reason, trouble] of [
    ['JobNameTaken', memory.nameTaken],
    ['JobRefused', memory.refusedBy],
  ] as const) {
    const left = trouble === undefined ? 0 : trouble.at + 15_000 - now;
    if (left > 0) return hold(reason, trouble!.message, left);
  }

  if (!world.pins.has(profile.digest)) return { do: 'pinProfile', digest: profile.digest, spec: profile.spec };
  if (world.vendor !== undefined) return startVendor(world, world.vendor, number, hold);
  if (spec.nodes > 1 && !memory.serviceMade) return { do: 'createService' };
  return { do: 'createJob', number, profile };
}

function wait(world: World, w: { reason: WaitingReason; message: string; holds: boolean; againMs?: number }): Decision {
  // A suspended run gives its place back before it says so.
  if (!w.holds && world.reservation !== undefined) return { do: 'release' };
  // Between attempts a run keeps its place; after a restart the ledger just does not know it yet.
  const admitted = w.reason === 'WaitingForRetry' || world.reservation?.granted === true;
  return writeOrWait(world, { is: 'waiting', reason: w.reason, message: w.message, admitted }, w.againMs ?? Infinity);
}

/** None of the run's profiles takes it now. */
function hindered(
  world: World,
  route: Extract<Route, { take: undefined }>,
  hold: (reason: WaitingReason, message: string) => Decision,
): Decision {
  if ('waitsFor' in route) return hold(route.waitsFor.reason, route.waitsFor.message);
  // What was tried already is not refused any more: a profile may change its mind again.
  if (world.run.status.profile !== undefined) return hold('ProfileNotReady', route.refusal.message);
  const situation = { is: 'refused', ...route.refusal } as const;
  return world.reservation === undefined ? writeOrWait(world, situation, Infinity) : { do: 'release' };
}

/**
 * The profile to start with: the pinned one, once an attempt has started; a copy that was lost is made again only from
 * the very same spec.
 */
function profileOf({ run, pinned, profile }: World): World['pinned'] {
  if (pinned !== undefined || profile === undefined) return pinned;
  const { name, digest, spec } = profile;
  const begun = run.status.profile;
  // A fallback that takes over begins with its profile as it is.
  return begun === undefined || begun.name !== name || begun.digest === digest ? { name, digest, spec } : undefined;
}

/** Limits are the platform team's present word, also for a run that started under an older profile. */
function limitsNow({ profile }: World, pinned: { name: string; spec: RuntimeProfileSpec }): Limits {
  const { limits } = (profile?.name === pinned.name ? profile : pinned).spec;
  const { maxConcurrentRuns, maxConcurrentRunsPerNamespace, maxCostUSDPerNamespacePerDay: cap } = limits;
  return {
    maxConcurrentRuns,
    maxConcurrentRunsPerNamespace,
    maxCostUSDPerNamespacePerDay: cap === undefined ? undefined : parseUSD(cap),
  };
}

/** Two attempts never work at once: the one before must have let go of its volumes. */
function lastIsThere(world: World): 'wait' | Decision | undefined {
  const stopping = world.pods.filter((pod) => !pod.gone && pod.phase !== 'Failed' && pod.phase !== 'Succeeded');
  const [lost] = lostPods(world, stopping);
  if (lost !== undefined) return { do: 'forceDeletePod', pod: lost.pod };
  const lingering = endedByOperator(lastTried(world.run.status.attempts)?.reason)
    ? lingeringPod(stopping, world.now)
    : undefined;
  if (lingering !== undefined) return { do: 'hastenPod', pod: lingering };
  return stopping.length > 0 || world.jobs.some((job) => job.end === undefined) ? 'wait' : undefined;
}

/** 10 s, doubled with each attempt that counted, five minutes at most; milliseconds. A resumed run does not pause. */
export function retryPause({ run, now }: Pick<World, 'run' | 'now'>): number {
  const last = lastTried(run.status.attempts);
  if (last?.finishedAt === undefined || last.counted === false) return 0;
  const failures = Math.max(1, (run.status.attemptCount ?? 1) - uncounted(run.status));
  const pause = Math.min(300_000, 10_000 * 2 ** (failures - 1));
  return Date.parse(last.finishedAt) + pause - now;
}
