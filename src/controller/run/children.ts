import { digestOf } from '../../crds/manifest.ts';
import type { RuntimeProfileSpec } from '../../crds/runtime-profile.ts';
import { isKubeError } from '../../kube/errors.ts';
import { buildJob, buildService, type JobPlan } from '../../runtime/local/job.ts';
import { ANNOTATIONS, childName, clientRunId, inputDigest, LABELS, MANAGER, pinName, runId } from '../identity.ts';
import type { Apply, Installation } from './context.ts';
import type { Decision } from './decision.ts';
import { projectJob, type LiveRun } from './view.ts';
import { currentAttempt, type World } from './world.ts';

/** What a run makes: its pinned profile, its Service, its Jobs. Each by a name that follows from the run alone. */

type Profile = { name: string; digest: string; spec: RuntimeProfileSpec };

export const idsOf = (run: LiveRun, installation: Installation) => ({
  runId: runId(run.createdAt, run.uid),
  clientRunId: clientRunId(installation.id, { namespace: run.namespace, uid: run.uid, runKey: run.spec.runKey }),
});

function profileOf(world: World): Profile {
  const profile =
    world.pinned ??
    (world.profile && { name: world.profile.name, digest: world.profile.digest, spec: world.profile.spec });
  if (profile === undefined) throw new Error(`run ${world.run.namespace}/${world.run.name} has no profile`);
  return profile;
}

export async function pinProfile(ctx: Apply, digest: string, spec: RuntimeProfileSpec, world: World): Promise<void> {
  const name = pinName(digest);
  const pin = await ctx.cluster
    .createPin({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        name,
        namespace: ctx.installation.namespace,
        labels: { [LABELS.managedBy]: MANAGER, [LABELS.pinnedProfile]: 'true' },
        annotations: { [ANNOTATIONS.profileDigest]: digest, [ANNOTATIONS.profileName]: profileOf(world).name },
      },
      immutable: true,
      data: { 'spec.json': JSON.stringify(spec) },
    })
    .catch((error: unknown) => {
      if (!isKubeError(error, 'alreadyExists')) throw error;
      return undefined;
    });
  // Somebody made it a moment ago: the watch is about to bring it.
  ctx.seen.pin(
    pin ?? {
      metadata: {
        name,
        namespace: ctx.installation.namespace,
        annotations: { [ANNOTATIONS.profileDigest]: digest, [ANNOTATIONS.profileName]: profileOf(world).name },
      },
      data: { 'spec.json': JSON.stringify(spec) },
    },
  );
}

export function planOf(world: World, ctx: Apply, number: number, profile: Profile): JobPlan {
  const { run } = world;
  const { installation } = ctx;
  const ids = idsOf(run, installation);
  const readable = run.name.length <= 63 ? { [LABELS.runName]: run.name } : {};
  const podLabels = {
    [LABELS.managedBy]: MANAGER,
    [LABELS.runUid]: run.uid,
    [LABELS.attempt]: String(number),
    ...readable,
  };
  return {
    name: childName(run, number),
    namespace: run.namespace,
    labels: podLabels,
    podLabels,
    annotations: {
      [ANNOTATIONS.templateDigest]: digestOf({ input: inputDigest(run.spec), profile: profile.digest, number }),
      [ANNOTATIONS.profileDigest]: profile.digest,
      [ANNOTATIONS.profileName]: profile.name,
    },
    owner: { apiVersion: 'worldflux.ai/v1alpha1', kind: 'WorldRun', name: run.name, uid: run.uid },
    attempt: number,
    ...ids,
    run: run.spec,
    profile: profile.spec,
    collector:
      profile.spec.local?.collect === 'Disabled'
        ? undefined
        : {
            image: installation.image,
            gatewayUrl: installation.gatewayUrl,
            caPem: installation.caPem,
            audience: `worldflux-results/${installation.id}/${ids.clientRunId}`,
          },
    toolImage: installation.image,
    serviceName: childName(run),
  };
}

export async function createService(ctx: Apply, world: World): Promise<void> {
  const plan = planOf(world, ctx, currentAttempt(world).number, profileOf(world));
  try {
    await ctx.cluster.createService(buildService(plan, { [LABELS.runUid]: world.run.uid }));
  } catch (error) {
    if (isRefusal(world, error, ctx.now())) return;
    if (!isKubeError(error, 'alreadyExists')) throw error;
  }
  world.memory.serviceMade = true;
}

export async function createJob(
  ctx: Apply,
  world: World,
  { number, profile }: Decision & { do: 'createJob' },
): Promise<void> {
  const job = buildJob(planOf(world, ctx, number, profile));
  try {
    const made = await ctx.cluster.createJob(job);
    world.memory.seenJob = { uid: made.metadata?.uid ?? '', number };
    ctx.seen.job(made);
  } catch (error) {
    if (isKubeError(error, 'alreadyExists')) return adoptJob(ctx, world, number, job);
    if (!isRefusal(world, error, ctx.now())) throw error;
  }
}

/** True when the API server refused a child for good reasons of its own; the run says which, and tries again. */
function isRefusal({ run, memory }: World, error: unknown, now: number): boolean {
  // A namespace on its way out refuses everything in it; the run goes with it.
  if (isKubeError(error, 'notFound'))
    memory.refusedBy = { message: `namespace ${run.namespace} does not take new objects`, at: now };
  else if (isKubeError(error, 'invalid', 'forbidden'))
    memory.refusedBy = { message: error.message.slice(0, 900), at: now };
  else return false;
  return true;
}

/** A Job of our name is there: ours from before a crash, or somebody else's. */
async function adoptJob(ctx: Apply, world: World, number: number, wanted: ReturnType<typeof buildJob>): Promise<void> {
  const { run, memory } = world;
  const name = wanted.metadata!.name!;
  const found = await ctx.cluster.readJob({ namespace: run.namespace, name });
  const view = projectJob(found);
  if (view.runUid === run.uid && view.templateDigest === wanted.metadata!.annotations![ANNOTATIONS.templateDigest]) {
    memory.seenJob = { uid: view.uid, number };
    ctx.seen.job(found);
    return;
  }
  const whose = view.runUid === undefined ? 'was not made by this operator' : 'belongs to another run or another spec';
  memory.nameTaken = {
    message: `Job ${run.namespace}/${name} ${whose}: delete or rename it, and the run goes on.`,
    at: ctx.now(),
  };
}
