import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { WorkQueue } from './work-queue.ts';
import type { Lane, Requeue, WorkQueueOptions } from './work-queue.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** A queue whose handlers end when the test says so. */
function setUp(options: Partial<WorkQueueOptions> = {}) {
  const started: string[] = [];
  const open = new Map<string, PromiseWithResolvers<Requeue | void>>();
  const queue = new WorkQueue({
    concurrency: 1,
    handle: (key) => {
      expect(open.has(key), `${key} is at work twice`).toBe(false);
      started.push(key);
      const settled = Promise.withResolvers<Requeue | void>();
      open.set(key, settled);
      return settled.promise;
    },
    ...options,
  });
  const settle = (key: string, outcome?: Requeue | Error) => {
    const settled = open.get(key)!;
    open.delete(key);
    if (outcome instanceof Error) settled.reject(outcome);
    else settled.resolve(outcome);
    return turn();
  };
  return { queue, started, open, settle };
}

/** Lets planned work begin without time passing. */
const turn = () => vi.advanceTimersByTimeAsync(0);

describe('keys', () => {
  test('wait until the start, once each however often they are added', async () => {
    const { queue, started, settle } = setUp();
    queue.add('a');
    queue.add('b');
    queue.add('a');
    await turn();
    expect(started).toEqual([]);
    expect(queue.depth).toEqual({ finish: 0, start: 2 });
    queue.start();
    await turn();
    await settle('a');
    await settle('b');
    expect(started).toEqual(['a', 'b']);
  });

  test('touched while at work come again, once, and only when that work is over', async () => {
    const { queue, started, settle } = setUp({ concurrency: 5 });
    queue.start();
    queue.add('a');
    await turn();
    queue.add('a');
    queue.add('a');
    await turn();
    expect(started).toEqual(['a']);
    await settle('a');
    expect(started).toEqual(['a', 'a']);
    await settle('a');
    expect(started).toHaveLength(2);
  });

  test('are handled at once up to the concurrency', async () => {
    const { queue, started, settle } = setUp({ concurrency: 2 });
    queue.start();
    for (const key of ['a', 'b', 'c']) queue.add(key);
    await turn();
    expect(started).toEqual(['a', 'b']);
    expect(queue.running).toBe(2);
    await settle('b');
    expect(started).toEqual(['a', 'b', 'c']);
  });
});

describe('lanes', () => {
  test('finishing comes before starting, also for a key that was waiting to start', async () => {
    const { queue, started, settle } = setUp();
    for (const key of ['s1', 's2', 's3']) queue.add(key, 'start');
    queue.add('f1', 'finish');
    queue.add('s2', 'finish');
    queue.add('f1', 'start');
    expect(queue.depth).toEqual({ finish: 2, start: 2 });
    queue.start();
    await turn();
    for (const key of ['f1', 's2', 's1', 's3']) await settle(key);
    expect(started).toEqual(['f1', 's2', 's1', 's3']);
  });
});

describe('delays', () => {
  test('of several the earliest counts, and it counts once', async () => {
    const { queue, started, settle } = setUp();
    queue.start();
    queue.addAfter('a', 5000);
    queue.addAfter('a', 1000);
    queue.addAfter('a', 3000);
    expect(queue.delayed).toBe(1);
    await vi.advanceTimersByTimeAsync(999);
    expect(started).toEqual([]);
    await vi.advanceTimersByTimeAsync(2);
    expect(started).toEqual(['a']);
    await settle('a');
    await vi.advanceTimersByTimeAsync(10_000);
    expect(started).toEqual(['a']);
  });

  test('do not hold back an add without delay', async () => {
    const { queue, started } = setUp();
    queue.start();
    queue.addAfter('a', 60_000);
    queue.add('a');
    await turn();
    expect(started).toEqual(['a']);
  });

  test('need one timer for ten thousand keys', () => {
    const { queue } = setUp();
    queue.start();
    for (let i = 0; i < 10_000; i++) queue.addAfter(`k${i}`, 1000 + i);
    expect(vi.getTimerCount()).toBeLessThanOrEqual(2);
  });

  test('beyond 24 days do not ring at once', async () => {
    const { queue, started } = setUp();
    queue.start();
    queue.addAfter('a', 90 * 86_400_000);
    await vi.advanceTimersByTimeAsync(86_400_000);
    expect(started).toEqual([]);
    await vi.advanceTimersByTimeAsync(90 * 86_400_000);
    expect(started).toEqual(['a']);
  });

  test('asked for by the handler are kept', async () => {
    const { queue, started, settle } = setUp();
    queue.start();
    queue.add('a');
    await turn();
    await settle('a', { afterMs: 1000, lane: 'finish' });
    await vi.advanceTimersByTimeAsync(1001);
    expect(started).toEqual(['a', 'a']);
  });
});

describe('failures', () => {
  test('are reported and tried again later and later; a success forgets them', async () => {
    const failed: { key: string; failures: number; retryMs: number }[] = [];
    const { queue, started, settle } = setUp({
      backoff: { baseMs: 1000, maxMs: 60_000 },
      observer: { failed: (key, _, failures, retryMs) => failed.push({ key, failures, retryMs }) },
    });
    queue.start();
    queue.add('a');
    await turn();
    for (let failures = 1; failures <= 4; failures++) {
      await settle('a', new Error('no'));
      const { retryMs } = failed.at(-1)!;
      expect(failed.at(-1)).toMatchObject({ key: 'a', failures });
      expect(retryMs).toBeGreaterThanOrEqual(500 * 2 ** (failures - 1));
      expect(retryMs).toBeLessThanOrEqual(1000 * 2 ** (failures - 1));
      await vi.advanceTimersByTimeAsync(Math.ceil(retryMs) + 1);
      expect(started).toHaveLength(failures + 1);
    }
    await settle('a');
    queue.add('a');
    await turn();
    await settle('a', new Error('no'));
    expect(failed.at(-1)).toMatchObject({ failures: 1 });
  });

  test('never wait longer than a minute, however many there were', async () => {
    const waits: number[] = [];
    const { queue, settle } = setUp({
      observer: { failed: (_key, _error, _failures, retryMs) => waits.push(retryMs) },
    });
    queue.start();
    queue.add('a');
    await turn();
    for (let failures = 1; failures <= 30; failures++) {
      await settle('a', new Error('no'));
      await vi.advanceTimersByTimeAsync(60_001);
    }
    expect(waits).toHaveLength(30);
    expect(Math.max(...waits)).toBeLessThanOrEqual(60_000);
  });

  test('include a delay that is no number, which holds back nobody else', async () => {
    const { queue, started, settle } = setUp();
    queue.start();
    queue.add('a');
    await turn();
    await settle('a', { afterMs: NaN });
    queue.addAfter('b', 10);
    await vi.advanceTimersByTimeAsync(1000);
    expect(started).toEqual(['a', 'b']);
    await settle('b');
    await vi.advanceTimersByTimeAsync(1000);
    expect(started).toEqual(['a', 'b', 'a']);
  });

  test('that are thrown rather than rejected do no harm either', async () => {
    let calls = 0;
    const queue = new WorkQueue({
      concurrency: 1,
      handle: () => {
        calls++;
        throw new Error('thrown');
      },
    });
    queue.start();
    queue.add('a');
    queue.add('b');
    await turn();
    expect(calls).toBe(2);
    await queue.stop();
  });
});

describe('the end', () => {
  test('drain waits for what is there, not for what is delayed', async () => {
    const { queue, settle } = setUp();
    queue.start();
    queue.add('a');
    queue.addAfter('later', 60_000);
    const drained = vi.fn<() => void>();
    const drain = queue.drain(new AbortController().signal).then(drained);
    await turn();
    expect(drained).not.toHaveBeenCalled();
    await settle('a');
    await drain;
    await queue.drain(AbortSignal.timeout(1));
    await expect(queue.drain(AbortSignal.abort(new Error('no time')))).rejects.toThrow('no time');
  });

  test('stop aborts what runs, waits for it, and begins nothing more', async () => {
    let aborted = false;
    const { queue, started } = setUp({
      handle: (key, signal) => {
        started.push(key);
        return new Promise((resolve) => {
          signal.addEventListener('abort', () => {
            aborted = true;
            resolve();
          });
        });
      },
    });
    queue.start();
    queue.add('a');
    queue.add('b');
    queue.addAfter('c', 10);
    await turn();
    await queue.stop();
    expect(aborted).toBe(true);
    queue.add('d');
    await vi.advanceTimersByTimeAsync(1000);
    expect(started).toEqual(['a']);
  });
});

test('waiting and working times are told', async () => {
  const seen: string[] = [];
  const { queue, settle } = setUp({
    observer: {
      taken: (key, lane, waitedMs) => seen.push(`${key} ${lane} waited ${waitedMs}`),
      done: (key, tookMs) => seen.push(`${key} took ${tookMs}`),
    },
  });
  queue.add('a', 'finish');
  await vi.advanceTimersByTimeAsync(70);
  queue.start();
  await turn();
  await vi.advanceTimersByTimeAsync(30);
  await settle('a');
  expect(seen).toEqual(['a finish waited 70', 'a took 30']);
});

test('each add and each end is told once, and how it ended', async () => {
  const seen: string[] = [];
  const { queue, settle } = setUp({
    backoff: { baseMs: 10, maxMs: 10 },
    observer: {
      added: (key) => seen.push(`+${key}`),
      done: (key, _, end) => seen.push(`${key} ${end}`),
    },
  });
  queue.add('a');
  queue.add('a');
  queue.add('a', 'finish');
  queue.start();
  await turn();
  await settle('a');
  queue.addAfter('b', 5);
  await vi.advanceTimersByTimeAsync(6);
  await turn();
  await settle('b', { afterMs: 1_000_000 });
  queue.add('c');
  await turn();
  await settle('c', new Error('broken'));
  await vi.advanceTimersByTimeAsync(50);
  expect(seen).toEqual(['+a', 'a success', '+b', 'b requeue_after', '+c', 'c error', '+c']);
});

const key = fc.constantFrom('a', 'b', 'c', 'd');
const lane = fc.constantFrom<Lane>('start', 'finish');
const command = fc.oneof(
  fc.record({ do: fc.constant('add' as const), key, lane }),
  fc.record({ do: fc.constant('delay' as const), key, lane, ms: fc.integer({ min: 1, max: 50 }) }),
  fc.record({ do: fc.constant('settle' as const), key, after: fc.option(fc.integer({ min: 1, max: 50 })) }),
  fc.record({ do: fc.constant('fail' as const), key }),
  fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 0, max: 60 }) }),
);

/** What one key is owed: a run now, or one from `dueAt` on. In the millisecond of its ringing it may be either. */
interface Claim {
  now: boolean;
  dueAt: number;
  ringsAt: number;
}

test('model: no add is lost, none is handled twice, and finishing always goes first', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(command, { maxLength: 60 }),
      fc.integer({ min: 1, max: 3 }),
      async (commands, concurrency) => {
        const claims = new Map<string, Claim>();
        const claimOf = (key: string) => {
          const claim = claims.get(key) ?? { now: false, dueAt: Infinity, ringsAt: -Infinity };
          claims.set(key, claim);
          const ringsAt = Math.ceil(claim.dueAt);
          if (ringsAt <= performance.now()) Object.assign(claim, { now: true, dueAt: Infinity, ringsAt });
          return claim;
        };
        const delay = (key: string, ms: number) => {
          claimOf(key).dueAt = Math.min(claimOf(key).dueAt, performance.now() + ms);
        };
        const running = new Set<string>();
        const waitingToFinish = new Set<string>();
        const { queue, open, settle } = setUp({
          concurrency,
          backoff: { baseMs: 20, maxMs: 40 },
          observer: {
            taken: (key, lane) => {
              const claim = claimOf(key);
              expect(claim.now || claim.ringsAt === performance.now(), `${key} was not asked for`).toBe(true);
              claim.now = false;
              expect(running.size).toBeLessThan(concurrency);
              expect(lane === 'finish' || waitingToFinish.size === 0).toBe(true);
              running.add(key);
              waitingToFinish.delete(key);
            },
            done: (key) => running.delete(key),
            failed: (key, _, __, retryMs) => delay(key, retryMs),
          },
        });
        queue.start();
        for (const each of commands) {
          if (each.do === 'add') {
            claimOf(each.key).now = true;
            if (each.lane === 'finish' && !running.has(each.key)) waitingToFinish.add(each.key);
            queue.add(each.key, each.lane);
          } else if (each.do === 'delay') {
            delay(each.key, each.ms);
            queue.addAfter(each.key, each.ms, each.lane);
          } else if (each.do === 'pass') {
            await vi.advanceTimersByTimeAsync(each.ms);
          } else if (open.has(each.key)) {
            if (each.do === 'fail') {
              await settle(each.key, new Error('no'));
            } else if (each.after === null) {
              await settle(each.key);
            } else {
              delay(each.key, each.after);
              await settle(each.key, { afterMs: each.after });
            }
          }
          expect(queue.running).toBe(running.size);
        }
        while (queue.running + queue.delayed + queue.depth.start + queue.depth.finish > 0) {
          await vi.advanceTimersByTimeAsync(60);
          for (const key of open.keys()) await settle(key);
        }
        for (const [key, claim] of claims) expect([key, claim.now, claim.dueAt]).toEqual([key, false, Infinity]);
        await queue.stop();
      },
    ),
    { numRuns: 300 },
  );
});
