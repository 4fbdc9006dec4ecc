import { NotLeaderError } from '../../kube/lease.ts';
import { isRuntimeError, RuntimeError } from '../../runtime/errors.ts';
import type { ProfileRef } from '../../runtime/contract.ts';
import type { Apply } from '../run/context.ts';
import type { Decision, VendorDecision } from '../run/decision.ts';
import { ignoreGone } from '../../kube/gone.ts';
import { openAttempt, type World } from '../run/world.ts';
import { handleOf } from './attempt.ts';
import { readFiles } from './files.ts';
import { CannotReach } from './vendors.ts';

/** Does one step of a vendor run: one call to the outside, its answer remembered where the next look finds it. */
export async function applyVendor(decision: VendorStep, world: World, ctx: Apply): Promise<void> {
  const { run } = world;
  const memory = world.memory.vendor;
  switch (decision.do) {
    case 'readFiles': {
      const files = await readFiles(ctx.cluster, run.namespace, run.spec);
      memory.files = 'problem' in files ? { problem: String(files.problem), at: ctx.now() } : files;
      return;
    }
    case 'addFinalizer':
      ctx.seen.run(await ctx.cluster.setFinalizer(run, true));
      return;
    case 'removeFinalizer':
      await ctx.cluster.setFinalizer(run, false).catch(ignoreGone);
      // What it holds counts until here: the object itself may be gone before its watch says so.
      return ctx.ledger.release(run);
    case 'prepareWork':
      return prepare(world, ctx);
    case 'submit':
      return submit(decision, world, ctx);
    case 'resolve': {
      const answer = await ctx.vendors.resolve(run, profileOf(world, ctx));
      if ('found' in answer) memory.submitted = answer.found;
      else memory.resolution = tried(answer, memory.resolution);
      return;
    }
    case 'believe':
      if (ctx.vendors.claimOffered(decision.externalId, run.uid, decision.attempt.number))
        memory.submitted = decision.externalId;
      else memory.resolution = undefined;
      return;
    case 'stopWork':
      return stopWork(decision, world, ctx);
    case 'collect':
      return collect(decision, world, ctx);
    case 'abandonWork':
      memory.abandoned = true;
      ctx.vendors.report(profileOf(world, ctx), decision.externalId ?? 'unknown', 'Reported');
      return;
  }
}

/** All but the intent, which is a write of the run's status. */
type VendorStep = Exclude<VendorDecision, { do: 'recordIntent' }>;

export function isVendorStep(decision: Decision): decision is VendorStep {
  return VENDOR_STEPS.has(decision.do);
}
const VENDOR_STEPS: ReadonlySet<string> = new Set<VendorStep['do']>([
  'readFiles',
  'addFinalizer',
  'removeFinalizer',
  'prepareWork',
  'submit',
  'resolve',
  'believe',
  'stopWork',
  'collect',
  'abandonWork',
]);

function profileOf(world: World, ctx: Apply): ProfileRef {
  const profile = ctx.vendors.profileOf(world.run) ?? world.pinned ?? world.profile;
  if (profile === undefined) throw new Error(`run ${world.run.namespace}/${world.run.name} has no profile`);
  return { name: profile.name, digest: profile.digest, spec: profile.spec };
}

function tried<R extends { is: string }>(answer: R, before: { is: string } | undefined): R {
  if (answer.is !== 'unasked' || before?.is !== 'unasked') return answer;
  return { ...answer, tries: (before as unknown as { tries: number }).tries + 1 };
}

async function prepare(world: World, ctx: Apply): Promise<void> {
  const memory = world.memory.vendor;
  const plan = world.vendor?.plan;
  if (plan?.ok !== true) return;
  try {
    const { runtime, io } = ctx.vendors.reach(profileOf(world, ctx));
    await runtime.prepare?.(plan, io);
    memory.prepared = plan.requestDigest;
  } catch (error) {
    rememberPause(world, ctx, error);
  }
}

/**
 * The request that buys. Its permission is asked for once more right before it is written to the socket; whatever it
 * answers is remembered here before anything else happens.
 */
async function submit({ attempt }: VendorDecision & { do: 'submit' }, world: World, ctx: Apply): Promise<void> {
  const { run, vendor } = world;
  const memory = world.memory.vendor;
  const own = { recordedAt: attempt.intent.recordedAt };
  const plan = vendor?.plan;
  const notAfter = Date.parse(attempt.intent.notAfter);
  if (plan?.ok !== true || (plan.requestDigest !== attempt.intent.requestDigest && !vendor!.traits.idempotentCreate)) {
    // What it asks for has changed under it (a file of its ConfigMap): this intent is never acted on.
    memory.intent = { ...own, state: 'nothingCreated' };
    return;
  }
  try {
    const { runtime, io } = ctx.vendors.reach(profileOf(world, ctx));
    const left = AbortSignal.timeout(Math.max(0, notAfter - ctx.now()) + vendor!.requestTimeoutMs);
    memory.intent = { ...own, state: 'sending' };
    const handle = await runtime.create(plan, {
      ...io,
      signal: AbortSignal.any([io.signal, left]),
      once: {
        notAfter,
        maySend: () => {
          ctx.epoch();
          if (ctx.now() >= notAfter && !vendor!.traits.idempotentCreate)
            throw new RuntimeError({ kind: 'aborted' }, 'the intent is too old to act on');
        },
      },
    });
    ctx.vendors.claim(handle.externalId, run.uid, attempt.number);
    memory.submitted = handle.externalId;
    memory.pause = undefined;
  } catch (error) {
    const certain = error instanceof CannotReach || (isRuntimeError(error) && error.kind !== 'unknownOutcome');
    memory.intent = { ...own, state: certain ? 'nothingCreated' : 'unknown' };
    if (certain) rememberPause(world, ctx, error);
    else ctx.vendors.say('it is not known whether a request was received', error);
  }
}

/** Nothing was created: why, and when to try again. Anything but an answer of the runtime is thrown on. */
function rememberPause(world: World, ctx: Apply, error: unknown): void {
  const memory = world.memory.vendor;
  if (error instanceof NotLeaderError) throw error;
  if (!isRuntimeError(error) && !(error instanceof CannotReach)) throw error;
  const kind = isRuntimeError(error) ? error.kind : 'credentials';
  const tries = (memory.pause?.tries ?? 0) + 1;
  const backoffMs = Math.min(300_000, 2000 * 2 ** Math.min(10, tries));
  const waitMs =
    isRuntimeError(error) && error.fault.kind === 'throttled'
      ? Math.max(1000, error.fault.retryAfterMs)
      : kind === 'credentials'
        ? 30_000
        : backoffMs;
  memory.pause = { kind, message: error.message, until: ctx.now() + waitMs, tries };
}

async function stopWork({ externalId }: VendorDecision & { do: 'stopWork' }, world: World, ctx: Apply): Promise<void> {
  const memory = world.memory.vendor;
  memory.tornDownAt = ctx.now();
  const open = openAttempt(world.run);
  const handle = open && handleOf(world.run, { ...open, externalId });
  if (handle === undefined) return;
  try {
    const { runtime, io } = ctx.vendors.reach(profileOf(world, ctx));
    await runtime.teardown(handle, io);
    ctx.vendors.poller.hint();
  } catch (error) {
    if (!isRuntimeError(error) && !(error instanceof CannotReach)) throw error;
    ctx.vendors.say('work could not be stopped; it is tried again', error);
  }
}

function collect({ externalId }: VendorDecision & { do: 'collect' }, world: World, ctx: Apply): void {
  const { run } = world;
  const memory = world.memory.vendor;
  const before = memory.collect;
  const state = {
    since: before?.since ?? ctx.now(),
    underWay: true,
    tries: before?.tries ?? 0,
    failedAt: 0,
    problem: '',
  };
  memory.collect = state;
  void ctx.vendors
    .collect(run, profileOf(world, ctx), externalId)
    .catch((error: unknown) => {
      state.tries += 1;
      state.failedAt = ctx.now();
      state.problem =
        isRuntimeError(error) || error instanceof CannotReach ? error.message : 'the run store could not be written';
      ctx.vendors.say(`the results of ${run.namespace}/${run.name} could not be copied`, error);
    })
    .finally(() => {
      state.underWay = false;
      ctx.vendors.wake(run.uid);
    });
}
