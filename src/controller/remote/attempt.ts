import type { AttemptStatus } from '../../crds/world-run-status.ts';
import type { Handle, WorkState } from '../../runtime/contract.ts';
import { clocksAt, type AttemptTimes, type Clocks } from '../run/clocks.ts';
import { iso } from '../run/attempt.ts';
import type { LiveRun } from '../run/view.ts';
import { openAttempt, type World } from '../run/world.ts';
import type { Intent } from './claims.ts';
import type { VendorMemory, VendorWorld } from './world.ts';

/** One attempt at a vendor as it stands: its intent, its work, its times. Pure. */

export interface VendorAttempt {
  world: World;
  vendor: VendorWorld;
  memory: VendorMemory;
  open: AttemptStatus & { intent: NonNullable<AttemptStatus['intent']> };
  externalId: string | undefined;
  times: AttemptTimes;
  clocks: Clocks;
  /** Milliseconds since the epoch; the vendor has ended the work by then. */
  deadlineAt: number;
}

/** The open attempt, once its intent is recorded. */
export function vendorAttemptOf(world: World, vendor: VendorWorld): VendorAttempt | undefined {
  const open = openAttempt(world.run);
  if (open?.intent === undefined) return undefined;
  const memory = world.memory.vendor;
  const times = timesOf(open, vendor.work);
  return {
    world,
    vendor,
    memory,
    open: { ...open, intent: open.intent },
    externalId: open.externalId ?? memory.submitted,
    times,
    clocks: clocksAt(world.run, times, world.now),
    deadlineAt: Date.parse(open.intent.deadlineAt),
  };
}

/** Sending it ends the wait for a place; the vendor's own queue counts as starting. */
function timesOf(open: AttemptStatus, work: WorkState | undefined): AttemptTimes {
  const scheduledAt = Date.parse(open.intent!.recordedAt);
  const known = Date.parse(open.startedAt ?? '');
  const startedAt =
    work?.at === 'running' || work?.at === 'ended' ? work.startedAt : Number.isNaN(known) ? undefined : known;
  return { scheduledAt, startedAt, finishedAt: work?.at === 'ended' ? work.finishedAt : undefined };
}

/** The attempt as the status shall show it from now on. */
export function shownVendorAttempt({ open, externalId, times }: VendorAttempt): AttemptStatus {
  const startedAt = open.startedAt ?? (times.startedAt === undefined ? undefined : iso(times.startedAt));
  return {
    ...open,
    ...(externalId !== undefined && { externalId }),
    ...(startedAt !== undefined && { startedAt }),
  };
}

/** The handle of work that an attempt of the run has; undefined where it has none, or none that is known. */
export function handleOf(
  { spec }: Pick<LiveRun, 'spec'>,
  { number, externalId, intent }: AttemptStatus,
): Handle | undefined {
  if (externalId === undefined || intent === undefined) return undefined;
  const { capability } = spec.request ?? {};
  const createdAt = Date.parse(intent.recordedAt);
  return { externalId, attempt: number, createdAt, ...(capability !== undefined && { capability }) };
}

/** Two clocks are never the same: a vendor's may be this much off. */
const CLOCK_SKEW_MS = 30_000;

/**
 * The time in which the work of an intent can have been created. Milliseconds. It goes back to the first request that was
 * not found: a vendor whose list is slower than anybody thought may show its work after another one was sent.
 */
export function windowOf(
  intent: NonNullable<AttemptStatus['intent']>,
  requestTimeoutMs: number,
): { from: number; until: number } {
  return {
    from: Date.parse(intent.since ?? intent.recordedAt) - CLOCK_SKEW_MS,
    until: Date.parse(intent.notAfter) + requestTimeoutMs + CLOCK_SKEW_MS,
  };
}

/** When looking for the work can tell: nothing is on its way any more, and the vendor's list has caught up. */
export function resolvableAt(
  intent: NonNullable<AttemptStatus['intent']>,
  vendor: Pick<VendorWorld, 'requestTimeoutMs' | 'traits'>,
): number {
  return Date.parse(intent.notAfter) + vendor.requestTimeoutMs + vendor.traits.listLagMs;
}

/** A live run's intent while nobody knows the vendor's answer. */
export function unansweredIntent(run: LiveRun, requestTimeoutMs: number): Intent | undefined {
  const open = openAttempt(run);
  if (open?.intent === undefined || open.externalId !== undefined) return undefined;
  return {
    run: run.uid,
    requestDigest: open.intent.requestDigest,
    ...windowOf(open.intent, requestTimeoutMs),
  };
}
