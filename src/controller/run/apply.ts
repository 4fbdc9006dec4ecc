import type { RuntimeProfileSpec } from '../../crds/runtime-profile.ts';
import { stopJob } from '../../runtime/local/cluster.ts';
import { buildJob } from '../../runtime/local/job.ts';
import type { WorldRunStatus } from '../../crds/world-run-status.ts';
import { digestOf } from '../../crds/manifest.ts';
import { isKubeError } from '../../kube/errors.ts';
import { ceilingUSD } from '../cost.ts';
import { formatUSD } from '../money.ts';
import { recordKey } from '../../results/keys.ts';
import { ANNOTATIONS, purchaseId } from '../identity.ts';
import type { Decision } from './decision.ts';
import { recordFor, recordOf, terminalStatus } from './ending.ts';
import { buildStatus, type StatusFacts } from './status.ts';
import { phaseOf, type ResultsVerdict, type Situation } from './situation.ts';
import type { LiveRun } from './view.ts';
import { currentAttempt, type World } from './world.ts';
import type { Apply } from './context.ts';
import { ignoreGone } from '../../kube/gone.ts';
import { createJob, createService, idsOf, pinProfile, planOf } from './children.ts';
import { clocksAt, NO_TIMES } from './clocks.ts';
import { applyVendor, isVendorStep } from '../remote/apply.ts';

/** The run forwards secrets: its log is stored only once their fingerprints are known. */
export const hasSecrets = (run: LiveRun): boolean => (run.spec.forwardProviderEnv ?? []).length > 0;

/** Does one decision: one call to the outside, its answer put where the next look finds it. */
export async function apply(decision: Decision, world: World, ctx: Apply): Promise<void> {
  const { run, memory } = world;
  const { cluster, results } = ctx;
  if (isVendorStep(decision)) return applyVendor(decision, world, ctx);
  const ids = idsOf(run, ctx.installation);
  switch (decision.do) {
    case 'nothing':
      return;
    case 'reserve':
      return ctx.ledger.request(run, decision);
    case 'release':
      return ctx.ledger.release(run);
    case 'lookUpRecord':
      memory.record =
        (await (run.spec.runKey === undefined
          ? results.getPurchase(purchaseId(ctx.installation.id, run))
          : results.getRecord(ids.clientRunId))) ?? null;
      return;
    case 'adoptRecord':
      return write(ctx, world, adopted(world, ctx));
    case 'pinProfile':
      return pinProfile(ctx, decision.digest, decision.spec, world);
    case 'createService':
      return createService(ctx, world);
    case 'createJob':
      return createJob(ctx, world, decision);
    case 'confirmJobGone':
      return readJob(ctx, world, decision);
    case 'askWhyNoPods':
      memory.jobTrouble = {
        jobUid: decision.job.uid,
        message: await cluster.jobTrouble({ namespace: run.namespace, ...decision.job }),
        at: ctx.now(),
      };
      return;
    case 'readJob':
      await readJob(ctx, world, decision.job);
      memory.jobRead = decision.job.uid;
      return;
    case 'readPods':
      return readPods(ctx, world, decision.job.uid);
    case 'askWhyPodWaits':
      memory.podTrouble = {
        podUid: decision.pod.uid,
        message: await cluster.podTrouble({ namespace: run.namespace, ...decision.pod }),
        at: ctx.now(),
      };
      return;
    case 'requestCollect':
      memory.collectSince = ctx.now();
      // What is asked for now was not there when the store was last looked into.
      memory.loaded.clear();
      return;
    case 'loadResults':
      await results.load({ clientRunId: ids.clientRunId, runUid: run.uid, attempt: decision.attempt }, run.spec.nodes);
      memory.loaded.add(decision.attempt);
      return;
    case 'finishLog': {
      const { attempt, pod } = decision;
      memory.logTries.set(pod.rank, (memory.logTries.get(pod.rank) ?? 0) + 1);
      return results.finishLog({ clientRunId: ids.clientRunId, runUid: run.uid, attempt }, pod, hasSecrets(run));
    }
    case 'forceDeletePod':
      await cluster.forceDeletePod(decision.pod).catch(ignoreGone);
      memory.removed.add(decision.pod.uid);
      return;
    case 'hastenPod':
      return cluster.hastenPod(decision.pod).catch(ignoreGone);
    case 'deleteJob':
      await stopJob(
        cluster,
        decision.job,
        world.pods.filter((pod) => !pod.gone),
      );
      ctx.seen.jobGone(decision.job.namespace, decision.job.name);
      return;
    case 'writeStatus':
      return write(
        ctx,
        world,
        buildStatus(run, decision.situation, { ...factsOf(world, ctx, decision.situation), attempt: decision.attempt }),
      );
    case 'closeAttempt': {
      const facts = {
        ...factsOf(world, ctx, decision.situation),
        attempt: decision.attempt,
        clocks: decision.clocks,
        queuedSince: decision.attempt.finishedAt,
      };
      await write(ctx, world, buildStatus(run, decision.situation, facts));
      forgetAttempt(world);
      return;
    }
    case 'recordIntent':
      return recordIntent(ctx, world, decision);
    case 'record':
      return record(ctx, world, decision);
    case 'recordPlan': {
      const cost = ceilingUSD(run.spec, decision.profile.spec);
      const situation: Situation = {
        is: 'finished',
        status: 'succeeded',
        reason: 'DryRun',
        message: 'The plan is in status.plan; nothing was created.',
        results: undefined,
      };
      const status = buildStatus(run, situation, {
        ...factsOf(world, ctx, situation),
        profile: profileStatus(decision.profile),
      });
      return write(ctx, world, {
        ...status,
        plan: {
          ...plannedBy(world, ctx, decision.profile),
          ...(cost !== undefined && { estimatedCostUSD: formatUSD(cost) }),
        },
      });
    }
    case 'deleteRun':
      return cluster.deleteRun(run).catch(ignoreGone);
  }
}

/** What a run would create, without creating it. */
function plannedBy(
  world: World,
  ctx: Apply,
  profile: { name: string; digest: string; spec: RuntimeProfileSpec },
): { digest: string; creates: string[] } {
  const { run, vendor } = world;
  if (vendor !== undefined) {
    if (vendor.plan?.ok !== true) throw new Error(`run ${run.namespace}/${run.name} has no plan`);
    return { digest: vendor.plan.requestDigest, creates: vendor.plan.creates.slice(0, 16) };
  }
  const plan = planOf(world, ctx, 1, profile);
  const service = run.spec.nodes > 1 ? [`Service ${plan.namespace}/${plan.serviceName}`] : [];
  const job = `Job ${plan.namespace}/${plan.name} (${run.spec.nodes} pod(s))`;
  return { digest: digestOf(buildJob(plan)), creates: [...service, job] };
}

async function write(ctx: Apply, world: World, status: WorldRunStatus): Promise<void> {
  world.memory.wroteAt = ctx.now();
  ctx.seen.run(await ctx.cluster.applyRunStatus(world.run, status));
}

/** An attempt is over: what this process remembered of it would mislead the next. */
function forgetAttempt({ memory }: World): void {
  memory.seenJob = undefined;
  memory.collectSince = undefined;
  memory.jobTrouble = undefined;
  memory.podTrouble = undefined;
  memory.jobRead = undefined;
  memory.podsRead.clear();
  memory.logTries.clear();
}

function factsOf(world: World, ctx: Apply, situation: Situation): StatusFacts {
  const { run, now } = world;
  const { job } = currentAttempt(world);
  const profile =
    job === undefined
      ? undefined
      : {
          name: job.profileName ?? run.status.profile?.name ?? '',
          digest: job.profileDigest ?? run.status.profile?.digest ?? '',
          runtime: 'local',
        };
  const suspends = phaseOf(situation) === 'Suspended';
  const turns = suspends !== (run.status.phase === 'Suspended');
  return {
    epoch: ctx.epoch(),
    ...idsOf(run, ctx.installation),
    now,
    profile,
    attempt: undefined,
    // A suspension ends a wait; what it took so far is kept, and the next one begins with the resume.
    clocks: turns && suspends ? clocksAt(run, NO_TIMES, now) : undefined,
    queuedSince: turns ? new Date(now).toISOString() : undefined,
    progress: world.results.progress,
  };
}

const profileStatus = ({
  name,
  digest,
  spec,
}: {
  name: string;
  digest: string;
  spec: RuntimeProfileSpec;
}): NonNullable<WorldRunStatus['profile']> => ({ name, digest, runtime: spec.runtime });

/** The Job's pods as they are now; those that a cache still shows are remembered as gone. */
async function readPods(ctx: Apply, { run, pods, memory }: World, uid: string): Promise<void> {
  const found = await ctx.cluster.readPods({ namespace: run.namespace, uid });
  const alive = new Set(found.map((pod) => pod.metadata?.uid));
  for (const pod of pods) if (pod.jobUid === uid && !alive.has(pod.uid)) memory.removed.add(pod.uid);
  ctx.seen.pods(found);
  memory.podsRead.add(uid);
}

/** The Job as it is now; one that is gone, or another of its name, is remembered as gone. */
async function readJob(
  ctx: Apply,
  { run, memory }: World,
  { name, uid }: { name: string; uid: string },
): Promise<void> {
  try {
    const found = await ctx.cluster.readJob({ namespace: run.namespace, name });
    if (found.metadata?.uid === uid) {
      ctx.seen.job(found);
      return;
    }
  } catch (error) {
    if (!isKubeError(error, 'notFound')) throw error;
  }
  memory.gone.add(uid);
}

function adopted(world: World, ctx: Apply): WorldRunStatus {
  const { run, memory } = world;
  const { status: earlier = {}, manifest, clientRunId: id } = memory.record!;
  const succeeded = earlier.conditions?.find((c) => c.type === 'Succeeded');
  const well = succeeded?.status === 'True';
  const situation: Situation = {
    is: 'finished',
    status: well ? 'succeeded' : 'failed',
    reason: 'AlreadyRecorded',
    message: `Run ${earlier.runId} ${run.spec.runKey === undefined ? 'of this name and spec' : 'with this runKey'} ended ${well ? 'well' : `with ${succeeded?.reason}`} at ${memory.record!.finishedAt}; its record was adopted. To execute it again, annotate the run with ${ANNOTATIONS.rerun}: ${earlier.runId}`,
    results: { stored: true, reason: 'Stored', message: 'Recorded by the earlier run.' },
  };
  const status = buildStatus(run, situation, factsOf(world, ctx, situation));
  return terminalStatus(status, {
    manifest: manifest!,
    artifacts: earlier.artifacts ?? [],
    log: earlier.result?.log,
    manifestPath: recordKey(id),
  });
}

/** From now on somebody may have sent the request; that it was this process, and what came of it, only its memory knows. */
async function recordIntent(ctx: Apply, world: World, { attempt }: Decision & { do: 'recordIntent' }): Promise<void> {
  const situation: Situation = {
    is: 'waiting',
    reason: 'Submitting',
    message: 'The request is being sent to the vendor.',
    admitted: true,
  };
  const works = world.pinned ?? world.profile;
  const profile = works === undefined ? { name: '', digest: '' } : profileStatus(works);
  const facts = { ...factsOf(world, ctx, situation), attempt, profile };
  await write(ctx, world, buildStatus(world.run, situation, facts));
  const { vendor } = world.memory;
  vendor.intent = { recordedAt: attempt.intent.recordedAt, state: 'recorded' };
  vendor.resolution = undefined;
}

/** The last word: the record in the store first, then the one status write that makes the run terminal. */
async function record(ctx: Apply, world: World, { ending }: Decision & { do: 'record' }): Promise<void> {
  const { run, memory, now } = world;
  const ids = idsOf(run, ctx.installation);
  const { verdict, keeps, words } = recordOf(world, ending, ids);
  const finish = (results: ResultsVerdict): WorldRunStatus => {
    const situation: Situation = {
      is: 'finished',
      status: ending.status,
      reason: ending.reason,
      message: ending.message,
      results,
    };
    return terminalStatus(
      buildStatus(run, situation, {
        ...factsOf(world, ctx, situation),
        attempt: ending.attempt,
        clocks: ending.clocks,
      }),
      words,
    );
  };
  if (!keeps) return write(ctx, world, finish(verdict));
  // A store that cannot be written delays the end by the time to upload, not for ever.
  const patience = run.spec.timeouts.uploadSeconds * 1000;
  if (memory.recordFailedAt !== undefined && now - memory.recordFailedAt >= patience) {
    delete words.manifestPath;
    return write(
      ctx,
      world,
      finish({
        stored: false,
        reason: 'StoreUnavailable',
        message: 'The run store could not be written in time; the manifest here is the only record.',
      }),
    );
  }
  const status = finish(verdict);
  try {
    const record = recordFor(world, ids.clientRunId, status, words);
    // A run that ended before anything was bought is no reason not to buy.
    const bought = world.vendor?.traits.paid === true && ending.attempt?.externalId !== undefined;
    const purchase = bought && run.spec.runKey === undefined ? purchaseId(ctx.installation.id, run) : undefined;
    await ctx.results.putRecord(record, purchase);
  } catch (error) {
    memory.recordFailedAt ??= now;
    throw error;
  }
  await write(ctx, world, status);
}
