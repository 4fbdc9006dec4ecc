import type { RuntimeProfileSpec } from '../../crds/runtime-profile.ts';
import { isKubeError, type KubeError } from '../../kube/errors.ts';
import { jobPlan } from '../../runtime/local/attempt-job.ts';
import { createOrAdopt } from '../../runtime/local/cluster.ts';
import { buildJob, buildService, type JobPlan } from '../../runtime/local/job.ts';
import { ANNOTATIONS, clientRunId, LABELS, MANAGER, pinName, runId } from '../identity.ts';
import type { Apply, Installation } from './context.ts';
import type { Decision } from './decision.ts';
import type { LiveRun } from './view.ts';
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

export function planOf({ run }: World, { installation }: Apply, attempt: number, profile: Profile): JobPlan {
  const { namespace, name, uid, spec } = run;
  return jobPlan(
    { installationId: installation.id, ...idsOf(run, installation), namespace, name, uid, attempt, spec, profile },
    {
      image: installation.image,
      gatewayUrl: installation.gatewayUrl,
      caPem: installation.caPem,
      storeCaPem: installation.storeCaPem,
    },
  );
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
  try {
    const created = await createOrAdopt(ctx.cluster, buildJob(planOf(world, ctx, number, profile)));
    if (created.is === 'taken') {
      world.memory.nameTaken = { message: created.message, at: ctx.now() };
      return;
    }
    world.memory.seenJob = { uid: created.job.metadata?.uid ?? '', number };
    ctx.seen.job(created.job);
  } catch (error) {
    if (!isRefusal(world, error, ctx.now())) throw error;
  }
}

/** True when the API server refused a child for good reasons of its own; the run says which, and tries again. */
function isRefusal({ run, memory }: World, error: unknown, now: number): boolean {
  // A namespace on its way out refuses everything in it; the run goes with it.
  if (isKubeError(error, 'notFound'))
    memory.refusedBy = { message: `namespace ${run.namespace} does not take new objects`, at: now };
  else if (isKubeError(error, 'invalid', 'forbidden') || isWebhookAway(error))
    memory.refusedBy = { message: error.message.replace(`${error.request}: `, '').slice(0, 900), at: now };
  else return false;
  return true;
}

/** Nothing was created: admission comes before anything is stored. */
function isWebhookAway(error: unknown): error is KubeError {
  return isKubeError(error, 'serverError') && error.message.includes('failed calling webhook');
}
