import type { RefusedReason, WaitingReason } from '../../crds/vocabulary.ts';
import type { AttemptStatus } from '../../crds/world-run-status.ts';
import type { WorldRunSpec } from '../../crds/world-run.ts';
import type { Refusal } from './refusal.ts';

/**
 * Which of a run's profiles takes its next attempt: the first, in the run's own order, that is ready. Pure. Asked between
 * attempts only: what has begun is never moved.
 */

/** WorldForge's words for what negotiation finds. */
export type Readiness = 'ready' | 'missing-config' | 'missing-dependency' | 'unsupported' | 'not-registered';

/** Only another run would be right for this profile. */
interface Unsupported {
  name: string;
  readiness: 'unsupported';
  reason: RefusedReason;
  message: string;
}
/** It may take the run later. */
interface Away {
  name: string;
  readiness: 'missing-config' | 'missing-dependency' | 'not-registered';
  reason: WaitingReason;
  message: string;
}
export type Skipped = Unsupported | Away;
export type Candidate = { name: string; readiness: 'ready' } | Skipped;

/** What is known of a profile that a run names. */
export interface ProfileFacts {
  name: string;
  /** There is such a profile. */
  found: boolean;
  /** Why the run can never be done there; also what the runtime's own plan says. */
  refusal: Refusal | undefined;
  /** The doctor's verdict. `configured` false: an error lies in the spec, or in what it references. */
  ready: { ready: boolean; configured: boolean; message: string };
  /** The vendor's Secret, for profiles that need one. */
  credentials: { ready: true } | { ready: false; message: string };
  /** Calls to its vendor have failed often of late, in words. */
  degraded: string | undefined;
}

/** A profile that is not there. */
export const UNKNOWN_PROFILE: Omit<ProfileFacts, 'name'> = {
  found: false,
  refusal: undefined,
  ready: { ready: false, configured: false, message: '' },
  credentials: { ready: true },
  degraded: undefined,
};

export function assess({ name, found, refusal, ready, credentials, degraded }: ProfileFacts): Candidate {
  if (!found) {
    const message = `there is no RuntimeProfile ${name}`;
    return { name, readiness: 'not-registered', reason: 'ProfileNotFound', message };
  }
  if (refusal !== undefined)
    return { name, readiness: 'unsupported', reason: refusal.reason, message: refusal.message };
  if (!credentials.ready)
    return { name, readiness: 'missing-config', reason: 'CredentialsMissing', message: credentials.message };
  if (!ready.ready) {
    const readiness = ready.configured ? 'missing-dependency' : 'missing-config';
    return { name, readiness, reason: 'ProfileNotReady', message: `Profile ${name} is not ready: ${ready.message}` };
  }
  if (degraded !== undefined)
    return { name, readiness: 'missing-dependency', reason: 'ProfileDegraded', message: degraded };
  return { name, readiness: 'ready' };
}

export type Route =
  /** `skipped`: those before it, and why. */
  | { take: string; skipped: readonly Skipped[] }
  /** No profile can take it now: the first that may later says what the run waits for. */
  | { take: undefined; skipped: readonly Skipped[]; waitsFor: Away }
  /** None ever will. */
  | { take: undefined; skipped: readonly Skipped[]; refusal: Refusal };

/** `candidates` in the run's order, at least one; without fallbacks exactly one. */
export function route(candidates: readonly Candidate[]): Route {
  const skipped: Skipped[] = [];
  for (const candidate of candidates) {
    if (candidate.readiness === 'ready') return { take: candidate.name, skipped };
    skipped.push(candidate);
  }
  const waitsFor = skipped.find((each) => each.readiness !== 'unsupported');
  if (waitsFor !== undefined) return { take: undefined, skipped, waitsFor };
  const first = skipped[0] as Unsupported;
  const others = skipped.slice(1).map(({ name, reason }) => `${name}: ${reason}`);
  const message = others.length === 0 ? first.message : `${first.message} (fallbacks: ${others.join(', ')})`;
  return { take: undefined, skipped, refusal: { reason: first.reason, message } };
}

/** Robots are not handed from one policy to another. */
const NEVER_ROUTED: readonly string[] = ['policy', 'score'];

/**
 * The profiles that may take the next attempt, in order. One only, the last one used, once a request's outcome is not
 * known (its work may exist, and elsewhere would be a second purchase), and one only for robotics.
 */
export function routesOf(
  spec: Pick<WorldRunSpec, 'fallbackProfileRefs' | 'request'>,
  first: string,
  attempts: readonly AttemptStatus[],
): string[] {
  const unknown = attempts.findLast(isUnknown);
  if (unknown !== undefined) return [unknown.profile ?? first];
  if (spec.request !== undefined && NEVER_ROUTED.includes(spec.request.capability)) return [first];
  return [...new Set([first, ...(spec.fallbackProfileRefs ?? []).map(({ name }) => name)])];
}

/** Its request may have bought something that nobody knows. */
function isUnknown({ intent, externalId, finishedAt, reason }: AttemptStatus): boolean {
  if (intent === undefined || externalId !== undefined) return false;
  return finishedAt === undefined || reason === 'SubmitUnresolved';
}

/** A profile that was passed over, as an attempt that takes no try: nothing was begun, and the story stays whole. */
export function skipEntry(skipped: Skipped, number: number, at: string): AttemptStatus {
  return {
    number,
    profile: skipped.name,
    finishedAt: at,
    reason: skipped.reason,
    message: `skipped (${skipped.readiness}): ${skipped.message}`,
    counted: false,
  };
}

export function isSkip({ counted, profile, intent, jobUID, startedAt, externalId }: AttemptStatus): boolean {
  return (
    counted === false &&
    profile !== undefined &&
    intent === undefined &&
    jobUID === undefined &&
    startedAt === undefined &&
    externalId === undefined
  );
}

/** The last attempt in which something was begun. */
export function lastTried(attempts: readonly AttemptStatus[] | undefined): AttemptStatus | undefined {
  return attempts?.findLast((attempt) => !isSkip(attempt));
}

/**
 * The first that the status does not tell yet. Since the last attempt that was tried, each profile is told once for each
 * reason: a run that waits writes nothing anew.
 */
export function untold(skipped: readonly Skipped[], attempts: readonly AttemptStatus[] = []): Skipped | undefined {
  const since = attempts.slice(attempts.findLastIndex((attempt) => !isSkip(attempt)) + 1);
  return skipped.find(({ name, reason }) => !since.some((a) => a.profile === name && a.reason === reason));
}
