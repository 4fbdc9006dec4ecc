import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { OperationPolicy } from '../crds/runtime-profile.ts';
import {
  afterAttempt,
  attemptTimeoutMs,
  DEFAULT_REQUEST_POLICY,
  underPolicy,
  type AttemptEnd,
  type PolicyReport,
} from './request-policy.ts';

const policy = (over: Partial<OperationPolicy> = {}): OperationPolicy => ({
  ...DEFAULT_REQUEST_POLICY.polling,
  ...over,
});

/** An attempt as a test tells it: how long it takes and how it ends. */
interface Told {
  readonly status?: number;
  readonly lost?: boolean;
  readonly takesMs?: number;
  readonly retryAfterMs?: number;
}

/** A call whose time is a number. */
async function call(policy: OperationPolicy, told: readonly Told[], { startedAgoMs = 0, abortAfter = Infinity } = {}) {
  let now = 1_000_000;
  const stop = new AbortController();
  const reports: PolicyReport<number>[] = [];
  const slept: number[] = [];
  const timeouts: number[] = [];
  const result = await underPolicy<number>({
    policy,
    startedAt: now - startedAgoMs,
    signal: stop.signal,
    clock: {
      now: () => now,
      sleep: async (ms, signal) => {
        if (slept.length === abortAfter) stop.abort();
        signal.throwIfAborted();
        slept.push(ms);
        now += ms;
      },
    },
    attempt: async (number, timeoutMs): Promise<AttemptEnd<number>> => {
      timeouts.push(timeoutMs);
      const { status = 200, lost = false, takesMs = 0, ...asked } = told[Math.min(number, told.length) - 1]!;
      now += Math.min(takesMs, timeoutMs);
      const timedOut = takesMs > timeoutMs;
      return {
        outcome: lost || timedOut ? { error: new Error('lost') } : { value: status },
        phase: lost || timedOut || status >= 400 ? 'failure' : 'success',
        repeatable: lost || timedOut || policy.retryableStatusCodes.includes(status),
        ...asked,
      };
    },
    report: (report) => reports.push(report),
    budgetExceeded: (elapsedMs) => new Error(`budget after ${elapsedMs}`),
  }).catch((error: Error) => error.message);
  return { result, slept, timeouts, phases: reports.map(({ phase }) => phase), reports };
}

describe('the defaults', () => {
  it('are WorldForge’s', () => {
    const codes = [408, 429, 500, 502, 503, 504];
    const thrice = { maxAttempts: 3, backoffSeconds: 0.25, backoffMultiplier: 2, retryableStatusCodes: codes };
    expect(DEFAULT_REQUEST_POLICY).toEqual({
      health: { timeoutSeconds: 10, ...thrice },
      request: {
        timeoutSeconds: 60,
        maxAttempts: 1,
        backoffSeconds: 0,
        backoffMultiplier: 1,
        retryableStatusCodes: codes,
      },
      polling: { timeoutSeconds: 30, ...thrice },
      download: { timeoutSeconds: 300, ...thrice },
    });
  });
});

describe('attempts', () => {
  it('go on over repeatable statuses and lost connections, after 0.25 s and 0.5 s', async () => {
    for (const told of [{ status: 503 }, { lost: true }]) {
      expect(await call(policy(), [told, told, { status: 200 }])).toMatchObject({
        result: 200,
        slept: [250, 500],
        phases: ['retry', 'retry', 'success'],
      });
    }
  });

  it('end with the last answer, or the last error', async () => {
    expect(await call(policy(), [{ status: 503 }])).toMatchObject({
      result: 503,
      slept: [250, 500],
      phases: ['retry', 'retry', 'failure'],
    });
    expect(await call(policy(), [{ status: 503 }, { lost: true }])).toMatchObject({ result: 'lost' });
  });

  it('repeat each of the named codes, and no other', async () => {
    for (const status of [408, 429, 500, 502, 503, 504]) {
      expect((await call(policy(), [{ status }, {}])).phases).toEqual(['retry', 'success']);
    }
    for (const status of [400, 401, 404, 409, 501, 505]) {
      expect((await call(policy(), [{ status }, {}])).phases).toEqual(['failure']);
    }
    expect((await call(policy({ retryableStatusCodes: [409] }), [{ status: 409 }, {}])).result).toBe(200);
  });

  it('of a request are one, without a pause', async () => {
    expect(await call(DEFAULT_REQUEST_POLICY.request, [{ status: 503 }])).toMatchObject({ slept: [], result: 503 });
  });

  it('may each take the policy’s time', async () => {
    const run = await call(policy({ timeoutSeconds: 2 }), [{ takesMs: 9000 }, { takesMs: 100 }]);
    expect(run).toMatchObject({ timeouts: [2000, 2000], phases: ['retry', 'success'] });
    expect(run.reports.map(({ durationMs }) => durationMs)).toEqual([2000, 100]);
  });

  it('stop when the caller does', async () => {
    const run = await call(policy(), [{ status: 503 }], { abortAfter: 0 });
    expect(run).toMatchObject({ slept: [], phases: ['retry'] });
    expect(run.result).toContain('abort');
  });
});

describe('the budget', () => {
  it('503, backoff 2 s, budget 1 s: one call, one event', async () => {
    const run = await call(policy({ backoffSeconds: 2, maxElapsedSeconds: 1 }), [{ status: 503, takesMs: 300 }]);
    expect(run).toMatchObject({ result: 'budget after 300', slept: [], phases: ['budget_exceeded'] });
    expect(run.timeouts).toHaveLength(1);
    expect(run.reports[0]).toMatchObject({ durationMs: 300, attempt: 1 });
  });

  it('that is used up allows no attempt at all', async () => {
    const run = await call(policy({ maxElapsedSeconds: 5 }), [{}], { startedAgoMs: 5000 });
    expect(run).toMatchObject({ result: 'budget after 5000', timeouts: [], phases: ['budget_exceeded'] });
  });

  it('is not granted anew by a restart', async () => {
    const run = await call(policy({ maxElapsedSeconds: 10, timeoutSeconds: 30 }), [{}], { startedAgoMs: 9600 });
    expect(run).toMatchObject({ result: 200, timeouts: [400] });
  });

  it('shortens an attempt, at least to a millisecond', async () => {
    expect(attemptTimeoutMs(policy({ timeoutSeconds: 30, maxElapsedSeconds: 5 }), 4999.9995)).toBe(1);
    expect(attemptTimeoutMs(policy({ timeoutSeconds: 30, maxElapsedSeconds: 5 }), 5000)).toBeUndefined();
    expect(attemptTimeoutMs(policy({ timeoutSeconds: 30 }), 1e12)).toBe(30_000);
  });

  it('that merely shortened the last attempt ends it as a failure', async () => {
    const over = { maxAttempts: 1, timeoutSeconds: 30, maxElapsedSeconds: 1 };
    expect(await call(policy(over), [{ takesMs: 9000 }])).toMatchObject({ result: 'lost', phases: ['failure'] });
  });

  it('exactly met by a pause is kept', () => {
    const facts = { attempt: 1, repeatable: true };
    const one = policy({ backoffSeconds: 1, maxElapsedSeconds: 3 });
    expect(afterAttempt(one, { ...facts, elapsedMs: 2000 })).toEqual({ do: 'repeat', delayMs: 1000 });
    expect(afterAttempt(one, { ...facts, elapsedMs: 2001 })).toEqual({ do: 'giveUp' });
  });

  it('is never passed by pauses, whatever happens', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          timeoutSeconds: fc.integer({ min: 1, max: 60 }),
          maxAttempts: fc.integer({ min: 1, max: 20 }),
          backoffSeconds: fc.integer({ min: 0, max: 30 }),
          backoffMultiplier: fc.integer({ min: 1, max: 10 }),
          maxElapsedSeconds: fc.integer({ min: 1, max: 300 }),
        }),
        fc.array(
          fc.record({
            status: fc.constantFrom(200, 404, 429, 503),
            lost: fc.boolean(),
            takesMs: fc.integer({ min: 0, max: 90_000 }),
            retryAfterMs: fc.integer({ min: 0, max: 90_000 }),
          }),
          { minLength: 1, maxLength: 20 },
        ),
        fc.integer({ min: 0, max: 400_000 }),
        async (over, told, startedAgoMs) => {
          const run = await call(policy(over), told, { startedAgoMs });
          const attempted = run.timeouts.length;
          expect(attempted).toBeLessThanOrEqual(over.maxAttempts);
          // One report an attempt, and one where no further one was allowed; only the last one is not a retry.
          expect(run.reports.filter(({ end }) => end !== undefined)).toHaveLength(attempted);
          expect(run.reports.slice(0, -1).every(({ end }) => end !== undefined)).toBe(true);
          expect(run.phases.slice(0, -1).every((phase) => phase === 'retry')).toBe(true);
          expect(run.slept).toHaveLength(run.phases.length - 1);
          const total = startedAgoMs + run.slept.reduce((a, b) => a + b, 0);
          expect(attempted === 0 || total <= over.maxElapsedSeconds * 1000).toBe(true);
          for (const [i, ms] of run.slept.entries()) {
            expect(ms).toBeGreaterThanOrEqual(over.backoffSeconds * over.backoffMultiplier ** i * 1000);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe('Retry-After', () => {
  it('lengthens a pause and never shortens it', async () => {
    expect((await call(policy(), [{ status: 429, retryAfterMs: 7000 }, {}])).slept).toEqual([7000]);
    expect((await call(policy(), [{ status: 429, retryAfterMs: 100 }, {}])).slept).toEqual([250]);
  });

  it('longer than an attempt is left to the caller', async () => {
    const told = [{ status: 429, retryAfterMs: 31_000 }, {}];
    expect(await call(policy(), told)).toMatchObject({ result: 429, slept: [], phases: ['failure'] });
  });

  it('that passes the budget exceeds it at once', async () => {
    const told = [{ status: 429, retryAfterMs: 7000 }, {}];
    expect(await call(policy({ maxElapsedSeconds: 5 }), told)).toMatchObject({
      slept: [],
      phases: ['budget_exceeded'],
    });
  });
});
