import type { Decision } from '../run/decision.ts';
import type { World } from '../run/world.ts';
import { resolvableAt, shownVendorAttempt, vendorAttemptOf, type VendorAttempt } from './attempt.ts';
import type { VendorWorld } from './world.ts';

/**
 * A deleted run whose finalizer is still there: what it bought is stopped first. It never blocks for ever: an hour
 * after the vendor itself has ended the work, whatever is left is reported and let go.
 */

const PATIENCE_MS = 3_600_000;
const STOP_AGAIN_MS = 30_000;

export function decideDeleted(world: World, vendor: VendorWorld): Decision {
  const attempt = vendorAttemptOf(world, vendor);
  if (attempt === undefined) return { do: 'removeFinalizer' };
  if (world.now > attempt.deadlineAt + PATIENCE_MS) return abandon(attempt);
  return attempt.externalId === undefined ? unanswered(attempt) : known(attempt, attempt.externalId);
}

function known(attempt: VendorAttempt, externalId: string): Decision {
  const { world, vendor, memory, open } = attempt;
  // Only what stands in the status is looked at, by this process or the next one.
  if (open.externalId === undefined) {
    const situation = { is: 'stopping', message: 'The run was deleted; the vendor is asked to stop.' } as const;
    return { do: 'writeStatus', situation, attempt: shownVendorAttempt(attempt) };
  }
  if (vendor.work?.at === 'ended' || vendor.work?.at === 'gone') return { do: 'removeFinalizer' };
  const asked = memory.tornDownAt;
  const next = (asked ?? 0) + STOP_AGAIN_MS;
  if (asked === undefined || world.now >= next) return { do: 'stopWork', externalId };
  return { do: 'nothing', againMs: next - world.now };
}

function unanswered(attempt: VendorAttempt): Decision {
  const { world, vendor, memory, open } = attempt;
  const own = memory.intent?.recordedAt === open.intent.recordedAt ? memory.intent : undefined;
  if (own?.state === 'recorded' || own?.state === 'nothingCreated') return { do: 'removeFinalizer' };
  const at = resolvableAt(open.intent, vendor);
  if (world.now < at) return { do: 'nothing', againMs: at - world.now };
  const { resolution } = memory;
  switch (resolution?.is) {
    case undefined:
      return { do: 'resolve', attempt: open };
    case 'nothing':
      return { do: 'removeFinalizer' };
    case 'unasked':
    case 'ambiguous': {
      // It may still become clear, for example when the vendor answers again; the hour bounds it.
      const next = resolution.at + 60_000;
      return world.now >= next ? { do: 'resolve', attempt: open } : { do: 'nothing', againMs: next - world.now };
    }
  }
}

function abandon(attempt: VendorAttempt): Decision {
  return attempt.memory.abandoned
    ? { do: 'removeFinalizer' }
    : { do: 'abandonWork', externalId: attempt.externalId, requestDigest: attempt.open.intent.requestDigest };
}
