import { runtimeProfileSpec, type OperationPolicy, type RequestPolicy } from '../crds/runtime-profile.ts';

/**
 * WorldForge's request policy: how often a call is tried, how long one try may take, how long all of it.
 *
 * Delays are the promised ones, without jitter. Beyond the reference, `Retry-After` is obeyed: it can lengthen a delay and
 * never shortens it.
 */

export const DEFAULT_REQUEST_POLICY: RequestPolicy = runtimeProfileSpec.shape.requestPolicy.unwrap().parse({});

/** Milliseconds that the next attempt may take; undefined when the budget is used up. */
export function attemptTimeoutMs(policy: OperationPolicy, elapsedMs: number): number | undefined {
  const timeout = policy.timeoutSeconds * 1000;
  if (policy.maxElapsedSeconds === undefined) return timeout;
  const remaining = policy.maxElapsedSeconds * 1000 - elapsedMs;
  return remaining <= 0 ? undefined : Math.min(timeout, Math.max(remaining, 1));
}

/** What follows an attempt. */
export type AfterAttempt =
  | { readonly do: 'end' }
  | { readonly do: 'repeat'; readonly delayMs: number }
  /** The pause alone would pass the budget: no pause, no further attempt. */
  | { readonly do: 'giveUp' };

export interface AttemptFacts {
  /** From 1. */
  readonly attempt: number;
  /** Of the whole operation. */
  readonly elapsedMs: number;
  /** A status that the policy names, or a failed transport. */
  readonly repeatable: boolean;
  /** What the answer asked for. */
  readonly retryAfterMs?: number | undefined;
}

export function afterAttempt(policy: OperationPolicy, facts: AttemptFacts): AfterAttempt {
  const { attempt, elapsedMs, repeatable, retryAfterMs = 0 } = facts;
  if (!repeatable || attempt >= policy.maxAttempts) return { do: 'end' };
  // A pause longer than an attempt is not made here, holding a worker: the caller gets the answer and comes back.
  if (retryAfterMs > policy.timeoutSeconds * 1000) return { do: 'end' };
  const delayMs = Math.max(policy.backoffSeconds * policy.backoffMultiplier ** (attempt - 1) * 1000, retryAfterMs);
  const budget = policy.maxElapsedSeconds;
  if (budget !== undefined && elapsedMs + delayMs > budget * 1000) return { do: 'giveUp' };
  return { do: 'repeat', delayMs };
}

/** Time, so that hours can pass in a test. */
export interface PolicyClock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Rejects when the signal aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** How one attempt ended. */
export interface AttemptEnd<T> {
  readonly outcome: { readonly value: T } | { readonly error: Error };
  /** What is reported where no further attempt follows; `silent`: nothing, or not yet. */
  readonly phase: 'success' | 'failure' | 'silent';
  readonly repeatable: boolean;
  readonly retryAfterMs?: number | undefined;
}

export interface PolicyReport<T> {
  readonly phase: 'success' | 'failure' | 'retry' | 'budget_exceeded';
  readonly attempt: number;
  /** Of the attempt; with `budget_exceeded` of the whole operation. */
  readonly durationMs: number;
  /** Undefined when the budget was used up before an attempt. */
  readonly end: AttemptEnd<T> | undefined;
  /** With `retry`. */
  readonly delayMs?: number;
}

export interface PolicedCall<T> {
  readonly policy: OperationPolicy;
  /** Of the whole operation, perhaps in an earlier process; milliseconds since the epoch. */
  readonly startedAt: number;
  readonly signal: AbortSignal;
  readonly clock: PolicyClock;
  /** Never rejects. */
  attempt(number: number, timeoutMs: number): Promise<AttemptEnd<T>>;
  /** One report an attempt, and one where the budget allows none. */
  report(report: PolicyReport<T>): void;
  budgetExceeded(elapsedMs: number): Error;
}

/** Tries until the policy is content or used up. The last attempt's value or error is the call's; or `budgetExceeded`. */
export async function underPolicy<T>(call: PolicedCall<T>): Promise<T> {
  const { policy, startedAt, signal, clock } = call;
  // A clock that was set back must not enlarge the budget.
  const elapsed = (): number => Math.max(0, clock.now() - startedAt);
  const giveUp = (attempt: number, end: AttemptEnd<T> | undefined): Error => {
    const elapsedMs = elapsed();
    call.report({ phase: 'budget_exceeded', attempt, durationMs: elapsedMs, end });
    return call.budgetExceeded(elapsedMs);
  };
  for (let attempt = 1; ; attempt += 1) {
    const timeoutMs = attemptTimeoutMs(policy, elapsed());
    if (timeoutMs === undefined) throw giveUp(attempt, undefined);
    const begun = clock.now();
    const end = await call.attempt(attempt, timeoutMs);
    const durationMs = Math.max(0, clock.now() - begun);
    const next = afterAttempt(policy, {
      attempt,
      elapsedMs: elapsed(),
      repeatable: end.repeatable,
      retryAfterMs: end.retryAfterMs,
    });
    if (next.do === 'giveUp') throw giveUp(attempt, end);
    if (next.do === 'end') {
      if (end.phase !== 'silent') call.report({ phase: end.phase, attempt, durationMs, end });
      if ('error' in end.outcome) throw end.outcome.error;
      return end.outcome.value;
    }
    call.report({ phase: 'retry', attempt, durationMs, end, delayMs: next.delayMs });
    await clock.sleep(next.delayMs, signal);
  }
}
