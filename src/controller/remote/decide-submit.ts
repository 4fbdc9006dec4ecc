import type { WaitingReason } from '../../crds/vocabulary.ts';
import type { RuntimeErrorKind } from '../../runtime/errors.ts';
import { closeAs } from '../run/closing.ts';
import type { Decision } from '../run/decision.ts';
import { iso } from '../run/attempt.ts';
import { writeOrWait } from '../run/status.ts';
import { UNCOUNTED, type World } from '../run/world.ts';
import { resolvableAt, shownVendorAttempt, type VendorAttempt } from './attempt.ts';
import type { VendorWorld } from './world.ts';

/**
 * From the recorded intent to the vendor's answer. Nothing is sent without an intent in the status; an intent whose
 * outcome this process does not know for certain is resolved by looking, and nothing is sent before that.
 */

/** How long an intent may be acted on; milliseconds. */
const SEND_WINDOW_MS = 30_000;
/** After the vendor-side deadline, for clocks and for its list. */
export const DEADLINE_MARGIN_MS = 60_000;

/**
 * A run that has its place, and a plan that the vendor can do: the intent, at most {@link SEND_WINDOW_MS} valid. `since`:
 * when the same was first sent, if nobody got its answer.
 */
export function recordIntent(world: World, vendor: VendorWorld, number: number, since?: string): Decision {
  if (vendor.plan?.ok !== true) throw new Error(`run ${world.run.namespace}/${world.run.name} has no plan`);
  const { requestDigest, deadlineSeconds } = vendor.plan;
  const notAfter = world.now + Math.min(SEND_WINDOW_MS, vendor.requestTimeoutMs);
  return {
    do: 'recordIntent',
    attempt: {
      number,
      ...(world.profile !== undefined && world.run.spec.fallbackProfileRefs !== undefined
        ? { profile: world.profile.name }
        : {}),
      intent: {
        requestDigest,
        recordedAt: iso(world.now),
        ...(since !== undefined && { since }),
        notAfter: iso(notAfter),
        deadlineAt: iso(notAfter + deadlineSeconds * 1000),
      },
    },
  };
}

/** The intent stands, and no answer to it is known. */
export function decideSubmit(attempt: VendorAttempt): Decision {
  const { vendor, memory, open } = attempt;
  const own = memory.intent?.recordedAt === open.intent.recordedAt ? memory.intent : undefined;
  // Where a second create finds the first one's work there is nothing to be unsure of.
  if (vendor.traits.idempotentCreate) {
    if (vendor.plan === undefined) return { do: 'readFiles' };
    return own?.state === 'nothingCreated' ? again(attempt) : { do: 'submit', attempt: open };
  }
  switch (own?.state) {
    case 'recorded':
      return fresh(attempt);
    case 'nothingCreated':
      return again(attempt);
    // `sending` cannot be seen from here: one worker at a time has the run. After an error of our own it is in doubt.
    case 'sending':
    case 'unknown':
    case undefined:
      return resolve(attempt);
  }
}

/** Recorded by this process, and not sent. */
function fresh(attempt: VendorAttempt): Decision {
  const { world, vendor, open } = attempt;
  const stopped = stopBeforeSending(attempt);
  if (stopped !== undefined) return stopped;
  // Too late to act on it, and certainly not sent: a new one takes its place.
  if (world.now >= Date.parse(open.intent.notAfter))
    return recordIntent(world, vendor, open.number, firstSent(attempt));
  return { do: 'submit', attempt: open };
}

/** The vendor certainly has nothing: why, and when to send again. */
function again(attempt: VendorAttempt): Decision {
  const { world, vendor, memory, open } = attempt;
  const stopped = stopBeforeSending(attempt);
  if (stopped !== undefined) return stopped;
  const { pause } = memory;
  if (pause !== undefined) {
    const { kind, message, until } = pause;
    if (kind === 'user' || kind === 'terminal' || kind === 'refused') return close(attempt, 'VendorRejected', message);
    if (kind === 'budget') return close(attempt, 'BudgetExceeded', message);
    if (until > world.now) return hold(attempt, waitingReason(kind), message, until);
  }
  if (!vendor.access.ready) return hold(attempt, 'CredentialsMissing', vendor.access.message, world.now + 30_000);
  if (vendor.plan === undefined) return { do: 'readFiles' };
  if (!vendor.plan.ok) return close(attempt, 'VendorRejected', vendor.plan.message);
  return recordIntent(world, vendor, open.number, firstSent(attempt));
}

/** When the first request for the same was recorded whose answer nobody got, if there was one in this attempt. */
function firstSent({ vendor, memory, open: { intent } }: VendorAttempt): string | undefined {
  if (vendor.plan?.ok !== true || vendor.plan.requestDigest !== intent.requestDigest) return undefined;
  return intent.since ?? (memory.resolution === undefined ? undefined : intent.recordedAt);
}

function waitingReason(kind: RuntimeErrorKind): WaitingReason {
  if (kind === 'throttled') return 'VendorThrottled';
  if (kind === 'credentials') return 'CredentialsMissing';
  return 'VendorUnavailable';
}

/** It may have been sent, by this process or by one before it. */
function resolve(attempt: VendorAttempt): Decision {
  const { world, vendor, memory, open, deadlineAt } = attempt;
  const { now } = world;
  const at = resolvableAt(open.intent, vendor);
  if (now < at)
    return hold(
      attempt,
      'ResolvingSubmit',
      'It is not known whether the vendor received the request; it is looked for there.',
      at,
    );
  const { resolution } = memory;
  switch (resolution?.is) {
    case undefined:
      return { do: 'resolve', attempt: open };
    case 'nothing': {
      const own = stopBeforeSending(attempt);
      return own ?? again(attempt);
    }
    case 'unasked': {
      const next = resolution.at + Math.min(300_000, 5000 * 2 ** resolution.tries);
      if (now >= next) return { do: 'resolve', attempt: open };
      return hold(attempt, 'ResolvingSubmit', resolution.message, next);
    }
    case 'ambiguous': {
      const said = world.run.submitOutcome;
      if (said !== undefined && said.attempt === open.number) {
        if (said.externalId === undefined) return stopBeforeSending(attempt) ?? again(attempt);
        // Whoever may change the run could name somebody else's work and be given its results.
        if (resolution.candidates.includes(said.externalId))
          return { do: 'believe', attempt: open, externalId: said.externalId };
      }
      const waitsForPerson = world.waitsForPerson && !world.run.spec.cancel;
      const over = deadlineAt + DEADLINE_MARGIN_MS;
      if (!waitsForPerson && now >= over)
        return close(
          attempt,
          'SubmitUnresolved',
          `${resolution.message} The vendor-side deadline has passed: whatever was bought has ended there.`,
        );
      const how = `To decide, annotate the run with worldflux.ai/submit-outcome: ${open.number}=<the vendor’s id>, or ${open.number}=none.`;
      return hold(
        attempt,
        'SubmitOutcomeUnknown',
        `${resolution.message} ${how}`,
        waitsForPerson ? undefined : Math.min(over, now + 300_000),
      );
    }
  }
}

/** Nothing is there to be stopped: the attempt is simply over. */
function stopBeforeSending(attempt: VendorAttempt): Decision | undefined {
  const { spec } = attempt.world.run;
  if (spec.cancel) return close(attempt, 'Cancelled', 'Cancelled before it was sent.');
  if (spec.suspend) return close(attempt, UNCOUNTED.suspended, 'spec.suspend was set.');
  const { clocks } = attempt;
  // Waiting for the vendor to take it is waiting for a place.
  if (clocks.startupSeconds >= spec.timeouts.queueSeconds)
    return close(
      attempt,
      'QueueDeadlineExceeded',
      `The vendor did not take the run within timeouts.queueSeconds (${spec.timeouts.queueSeconds} s).`,
    );
  return undefined;
}

function close(attempt: VendorAttempt, reason: Parameters<typeof closeAs>[1]['reason'], message: string): Decision {
  const { world, open, clocks } = attempt;
  const shown = shownVendorAttempt(attempt);
  return closeAs({ world, number: open.number, shown, finishedAt: iso(world.now), clocks }, { reason, message });
}

function hold(attempt: VendorAttempt, reason: WaitingReason, message: string, until: number | undefined): Decision {
  const { world } = attempt;
  const left = until === undefined ? Infinity : Math.max(0, until - world.now);
  return writeOrWait(world, { is: 'waiting', reason, message, admitted: true }, left);
}
