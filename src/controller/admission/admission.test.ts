import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import type { RunStore } from '../../results/contract.ts';
import { StoreError } from '../../results/store/errors.ts';
import { FileStore } from '../../results/store/files.ts';
import type { AttemptStatus } from '../../crds/world-run-status.ts';
import { ceilingUSD } from '../cost.ts';
import { formatUSD, parseUSD, type MicroUSD } from '../money.ts';
import { aPaidProfile } from '../testing/a-profile.ts';
import { aRun } from '../testing/a-run.ts';
import { Admission } from './admission.ts';
import type { Claim, Limits, Reservation } from './ledger.ts';
import { costReached } from './rules.ts';
import { SpendBook } from './spend.ts';

type Keys = Pick<RunStore, 'put' | 'list' | 'remove'>;

const NOON = Date.parse('2026-03-01T12:00:00Z');
const DAY = 86_400_000;
const usd = parseUSD;

/** Keys in memory, and misfortune on request. */
class Shelf implements Keys {
  readonly keys = new Set<string>();
  fails = 0;
  #misfortune(): void {
    if (this.fails === 0) return;
    this.fails -= 1;
    throw new StoreError('unavailable', 'the store does not answer');
  }
  async put(key: string): Promise<void> {
    this.#misfortune();
    this.keys.add(key);
  }
  async *list(prefix: string) {
    this.#misfortune();
    for (const key of [...this.keys].toSorted())
      if (key.startsWith(prefix)) yield { key, size: 2, modifiedAt: new Date(0) };
  }
  async remove(prefix: string): Promise<void> {
    this.#misfortune();
    for (const key of this.keys)
      if (key === prefix || (prefix.endsWith('/') && key.startsWith(prefix))) this.keys.delete(key);
  }
}

/** One operator after the other on the same store. */
class Operators {
  now = NOON;
  readonly store: Keys;
  readonly woken: string[] = [];
  readonly errors: string[] = [];
  #admission: Admission;

  constructor(store: Keys = new Shelf()) {
    this.store = store;
    this.#admission = this.restart();
  }

  /** The process dies: its memory is gone. */
  restart(): Admission {
    this.#admission = new Admission({
      spend: new SpendBook(
        this.store,
        () => this.now,
        () => {},
      ),
      wake: (uid) => this.woken.push(uid),
      onError: (what) => this.errors.push(what),
      now: () => this.now,
    });
    this.#admission.begin();
    return this.#admission;
  }

  request(uid: string, ceiling: MicroUSD | undefined, more: Partial<Claim> & { cap?: MicroUSD; places?: number } = {}) {
    const { cap = usd('10'), places, ...claim } = more;
    const limits: Limits = {
      maxConcurrentRuns: places,
      maxConcurrentRunsPerNamespace: undefined,
      maxCostUSDPerNamespacePerDay: cap,
    };
    return this.#admission.request({ uid, namespace: 'a', profile: 'paid', createdAt: 0, ceiling, ...claim }, limits);
  }

  async release(uid: string, spent: MicroUSD | undefined): Promise<void> {
    this.#admission.release(uid, spent);
    // What a release gives back is written beside it; the store answers within the same turn of the loop.
    for (let i = 0; i < 20; i += 1) await Promise.resolve();
  }

  of(uid: string): Reservation | undefined {
    return this.#admission.of(uid);
  }

  restore(uid: string): void {
    this.#admission.restore({ uid, namespace: 'a', profile: 'paid', createdAt: 0 });
  }
}

const GRANTED = { granted: true };
const NO_ROOM = { granted: false, reason: 'DailyCostLimit' };

describe('the cap of a day', () => {
  test('is not passed by many small runs', async () => {
    const operators = new Operators();
    const answers: Reservation[] = [];
    for (let i = 0; i < 30; i += 1) answers.push(await operators.request(`r${i}`, usd('0.7')));
    expect(answers.filter(({ granted }) => granted)).toHaveLength(14);
    expect(answers.at(-1)).toMatchObject(NO_ROOM);
  });

  test('is not passed by many that ask at the same time', async () => {
    const operators = new Operators();
    const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => operators.request(`r${i}`, usd('3'))));
    expect(answers.filter(({ granted }) => granted)).toHaveLength(3);
  });

  test('is one for each namespace and each profile', async () => {
    const operators = new Operators();
    expect(await operators.request('1', usd('9'))).toEqual(GRANTED);
    expect(await operators.request('2', usd('9'), { namespace: 'b' })).toEqual(GRANTED);
    expect(await operators.request('3', usd('9'), { profile: 'other' })).toEqual(GRANTED);
    expect(await operators.request('4', usd('9'))).toMatchObject(NO_ROOM);
  });

  test('leaves room again for what a run did not spend, and wakes who waited for it', async () => {
    const operators = new Operators();
    await operators.request('dear', usd('9'));
    expect(await operators.request('next', usd('5'))).toMatchObject({
      ...NO_ROOM,
      until: Date.parse('2026-03-02T00:00:00Z'),
    });
    await operators.release('dear', usd('2'));
    expect(operators.woken).toEqual(['next']);
    expect(operators.of('next')).toEqual({ granted: true, pending: true, profile: 'paid' });
    expect(await operators.request('next', usd('5'))).toEqual(GRANTED);
    expect(operators.of('next')).toEqual({ granted: true, profile: 'paid' });
  });

  test('leaves no room for what nobody knows: a run that is gone without a word stays charged', async () => {
    const operators = new Operators();
    await operators.request('deleted', usd('9'));
    await operators.release('deleted', undefined);
    expect(await operators.request('next', usd('5'))).toMatchObject(NO_ROOM);
  });

  test('is not passed by deleting runs that have spent', async () => {
    const operators = new Operators();
    for (let i = 0; i < 10; i += 1) {
      await operators.request(`r${i}`, usd('3'));
      await operators.release(`r${i}`, usd('3'));
    }
    expect(await operators.request('next', usd('3'))).toMatchObject(NO_ROOM);
    operators.restart();
    expect(await operators.request('next', usd('3'))).toMatchObject(NO_ROOM);
  });

  test('counts a run that has spent more than anybody thought', async () => {
    const operators = new Operators();
    await operators.request('surprise', usd('3'));
    await operators.release('surprise', usd('8'));
    expect(await operators.request('next', usd('3'))).toMatchObject(NO_ROOM);
  });

  test('is a new one after midnight', async () => {
    const operators = new Operators();
    await operators.request('today', usd('9'));
    expect(await operators.request('tomorrow', usd('9'))).toMatchObject(NO_ROOM);
    operators.now = Date.parse('2026-03-02T00:00:00Z');
    expect(await operators.request('tomorrow', usd('9'))).toEqual(GRANTED);
  });

  test('lets a cheap run overtake a dear one, which is the first again after midnight', async () => {
    const operators = new Operators();
    await operators.request('holder', usd('6'));
    expect(await operators.request('dear', usd('9'), { createdAt: 1 })).toMatchObject(NO_ROOM);
    expect(await operators.request('cheap', usd('2'), { createdAt: 2 })).toEqual(GRANTED);
    expect(await operators.request('cheaper', usd('5'), { createdAt: 3 })).toMatchObject(NO_ROOM);
    operators.now += DAY;
    expect(await operators.request('cheaper', usd('5'), { createdAt: 3 })).toMatchObject(NO_ROOM);
    expect(operators.woken).toEqual(['dear']);
  });

  test('does not hold back runs without a price, nor profiles without a cap', async () => {
    const operators = new Operators();
    await operators.request('dear', usd('10'));
    expect(await operators.request('free', undefined)).toEqual(GRANTED);
  });

  test('keeps a run back whose place is taken for that reason, not for its price', async () => {
    const operators = new Operators();
    await operators.request('first', usd('1'), { places: 1 });
    expect(await operators.request('second', usd('1'), { places: 1 })).toMatchObject({ reason: 'ConcurrencyLimit' });
  });
});

describe('one run is charged once', () => {
  test('over a restart in which it worked', async () => {
    const operators = new Operators();
    await operators.request('r', usd('6'));
    operators.restart();
    operators.restore('r');
    expect(operators.of('r')).toEqual({ granted: true, profile: 'paid' });
    expect(await operators.request('next', usd('5'))).toMatchObject(NO_ROOM);
    await operators.release('r', usd('1'));
    expect(await operators.request('next', usd('5'))).toEqual(GRANTED);
  });

  test('over a restart between two attempts', async () => {
    const operators = new Operators();
    await operators.request('r', usd('6'));
    operators.restart();
    expect(await operators.request('r', usd('6'))).toEqual(GRANTED);
    expect(await operators.request('next', usd('4'))).toEqual(GRANTED);
  });

  test('suspended and resumed the same day: what it had spent counts once', async () => {
    const operators = new Operators();
    await operators.request('r', usd('6'));
    await operators.release('r', usd('2'));
    expect(await operators.request('other', usd('8'))).toEqual(GRANTED);
    // Two are spent, eight reserved: the four that it still needs are not there.
    expect(await operators.request('r', usd('6'))).toMatchObject(NO_ROOM);
    await operators.release('other', usd('4'));
    expect(await operators.request('r', usd('6'))).toEqual(GRANTED);
  });

  test('resumed another day: that day is charged for the rest', async () => {
    const operators = new Operators();
    await operators.request('r', usd('6'));
    await operators.release('r', usd('2'));
    operators.now += DAY;
    operators.restart();
    await operators.request('r', usd('6'));
    expect(await operators.request('fits', usd('6'))).toEqual(GRANTED);
    expect(await operators.request('does not', usd('0.000001'))).toMatchObject(NO_ROOM);
  });

  test('with a fallback: the other profile is charged for the rest, the first keeps what was spent there', async () => {
    const operators = new Operators();
    await operators.request('r', usd('6'));
    await operators.release('r', usd('2'));
    expect(await operators.request('r', usd('7'), { profile: 'fallback' })).toEqual(GRANTED);
    expect(await operators.request('here', usd('8.000001'))).toMatchObject(NO_ROOM);
    expect(await operators.request('here', usd('8'))).toEqual(GRANTED);
    expect(await operators.request('there', usd('5'), { profile: 'fallback' })).toEqual(GRANTED);
    expect(await operators.request('there too', usd('0.1'), { profile: 'fallback' })).toMatchObject(NO_ROOM);
  });
});

describe('suspending and resuming buys nothing beyond the run’s own cap', () => {
  const profile = aPaidProfile().asking({
    pricing: { usdPerRequest: '1' },
    limits: { maxCostUSDPerRun: '5', maxRunSeconds: 60, maxConcurrentRuns: 1 },
  });
  const { spec: run } = aRun().retrying(2).live();
  const suspended = (count: number) => ({
    attempts: Array.from({ length: Math.min(count, 16) }, (_, i): AttemptStatus => ({
      number: count - Math.min(count, 16) + i + 1,
      counted: false,
      reason: 'Suspended',
      finishedAt: '2026-03-01T12:00:00Z',
      intent: {
        requestDigest: 'sha256:a',
        recordedAt: '2026-03-01T12:00:00Z',
        notAfter: '2026-03-01T12:00:00Z',
        deadlineAt: '2026-03-01T12:00:00Z',
      },
    })),
    attemptCount: count,
    uncountedAttempts: count,
  });
  const reached = (count: number) => costReached({ run, status: suspended(count), spec: profile.spec(), name: 'paid' });

  test('three times it may, then no more', () => {
    expect([0, 1, 2, 3].map((n) => reached(n))).toEqual([undefined, undefined, undefined, undefined]);
    expect(reached(4)).toBe(
      'With what its attempts have bought so far the run could cost $6.0000; profile paid allows $5 (limits.maxCostUSDPerRun).',
    );
  });

  test('nor when its list of attempts has long forgotten the first', () => {
    expect(formatUSD(ceilingUSD(run, profile.spec(), suspended(40))!)).toBe('42.0000');
    expect(reached(40)).toMatch(/\$42/);
  });
});

describe('a run store that does not answer', () => {
  test('keeps the run waiting, and tells why; nothing stays charged', async () => {
    const store = new Shelf();
    const operators = new Operators(store);
    await operators.request('warm', usd('1'));
    store.fails = 1;
    expect(await operators.request('r', usd('9'))).toEqual({
      granted: false,
      reason: 'DailyCostLimit',
      message: 'the account of namespace a could not be read or written in the run store; it is tried again',
      until: NOON + 15_000,
    });
    expect(operators.of('r')).toBeUndefined();
    expect(await operators.request('r', usd('9'))).toEqual(GRANTED);
  });

  test('at the start: nobody is granted on the strength of an account that was not read', async () => {
    const store = new Shelf();
    const before = new Operators(store);
    await before.request('r', usd('9'));
    const operators = new Operators(store);
    store.fails = 1;
    expect(await operators.request('next', usd('5'))).toMatchObject({ granted: false });
    expect(await operators.request('next', usd('5'))).toMatchObject(NO_ROOM);
  });

  test('at the end of a run: its charge stands, and is said', async () => {
    const store = new Shelf();
    const operators = new Operators(store);
    await operators.request('r', usd('9'));
    store.fails = 1;
    await operators.release('r', usd('1'));
    expect(operators.errors).toEqual([expect.stringContaining('stays reserved until midnight')]);
    expect(await operators.request('next', usd('5'))).toMatchObject(NO_ROOM);
  });

  test('that kept two amounts of one charge (its writer died between) tells the dearer one', async () => {
    const store = new Shelf();
    store.keys.add('spend/2026-03-01/paid/a/r.2000000').add('spend/2026-03-01/paid/a/r.9000000');
    const operators = new Operators(store);
    expect(await operators.request('next', usd('5'))).toMatchObject(NO_ROOM);
    await operators.release('r', usd('2'));
    expect([...store.keys]).toEqual(['spend/2026-03-01/paid/a/r.2000000']);
  });

  test('forgets days that are long over', async () => {
    const store = new Shelf();
    store.keys.add('spend/2026-02-01/paid/a/old.2000000').add('spend/2026-02-27/paid/a/kept.2000000');
    await new Operators(store).request('r', usd('1'));
    expect([...store.keys].toSorted()).toEqual([
      'spend/2026-02-27/paid/a/kept.2000000',
      'spend/2026-03-01/paid/a/r.1000000',
    ]);
  });
});

test('runs that ended while nobody led are settled by the next leader, with one word when it cannot', async () => {
  const store = new Shelf();
  const operators = new Operators(store);
  await operators.request('a', usd('4'));
  await operators.request('b', usd('4'));
  const next = operators.restart();
  const ended = ['a', 'b', 'never charged'].map((uid) => ({ uid, spent: usd('1') }));
  store.fails = 1;
  await next.ended(ended);
  expect(operators.errors).toEqual([expect.stringContaining('ended runs stay charged')]);
  expect(await operators.request('c', usd('8'))).toMatchObject(NO_ROOM);
  await next.ended(ended);
  expect(operators.of('c')).toEqual({ granted: true, pending: true, profile: 'paid' });
});

test('a leader that leads for long forgets days that are long over, in the store too', async () => {
  const store = new Shelf();
  const operators = new Operators(store);
  for (let day = 0; day < 30; day += 1) {
    await operators.request(`r${day}`, usd('1'));
    operators.now += DAY;
  }
  expect([...store.keys].toSorted().map((key) => key.slice(6, 16))).toEqual([
    '2026-03-23',
    '2026-03-24',
    '2026-03-25',
    '2026-03-26',
    '2026-03-27',
    '2026-03-28',
    '2026-03-29',
    '2026-03-30',
  ]);
});

describe('in files', () => {
  let folder: string | undefined;
  afterEach(async () => {
    if (folder !== undefined) await rm(folder, { recursive: true });
  });

  test('charges outlive the process', async () => {
    folder = await mkdtemp(join(tmpdir(), 'spend-'));
    const store = await FileStore.open({ folder, installationId: 'b3c1f0de-0000-4000-8000-00000000000a' });
    const operators = new Operators(store);
    await operators.request('b3c1f0de-0000-4000-8000-000000000001', usd('6'));
    operators.restart();
    expect(await operators.request('b3c1f0de-0000-4000-8000-000000000002', usd('4.5'))).toMatchObject(NO_ROOM);
    expect(await operators.request('b3c1f0de-0000-4000-8000-000000000003', usd('4'))).toEqual(GRANTED);
  });
});

/** What a run really does with its grant, against what the book believes. */
interface Real {
  ceiling: bigint;
  spent: bigint;
  granted: boolean;
  over: boolean;
}

test('whatever happens, namespaces never spend more than the cap for each day', async () => {
  const who = fc.nat(5);
  const step = fc.oneof(
    { weight: 8, arbitrary: fc.record({ do: fc.constant('request' as const), who }) },
    {
      weight: 8,
      arbitrary: fc.record({ do: fc.constant('spend' as const), who, part: fc.constantFrom(10, 100, 100) }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('suspend' as const), who }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('end' as const), who }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('vanish' as const), who }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const), who }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('misfortune' as const), who }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('midnight' as const), who }) },
  );
  const cap = 10_000_000n;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.bigInt({ min: cap / 4n, max: cap }), { minLength: 6, maxLength: 6 }),
      fc.array(step, { minLength: 15, maxLength: 60, size: 'max' }),
      async (ceilings, steps) => {
        const store = new Shelf();
        const operators = new Operators(store);
        const runs = ceilings.map((ceiling): Real => ({ ceiling, spent: 0n, granted: false, over: false }));
        let days = 1n;
        for (const next of steps) {
          const uid = `r${next.who}`;
          const run = runs[next.who]!;
          if (next.do === 'restart') {
            operators.restart();
            runs.forEach((each, i) => each.granted && operators.restore(`r${i}`));
          } else if (next.do === 'misfortune') store.fails = 2;
          else if (next.do === 'midnight') {
            operators.now += DAY;
            days += 1n;
          } else if (run.over) continue;
          else if (next.do === 'request') run.granted ||= (await operators.request(uid, run.ceiling, { cap })).granted;
          else if (next.do === 'spend') {
            if (run.granted) run.spent += ((run.ceiling - run.spent) * BigInt(next.part)) / 100n;
          } else if (next.do === 'suspend' || next.do === 'end') {
            await operators.release(uid, run.spent);
            run.granted = false;
            run.over = next.do === 'end';
          } else {
            await operators.release(uid, undefined);
            run.granted = false;
            run.over = true;
          }
          const total = runs.reduce((sum, { spent }) => sum + spent, 0n);
          expect(total <= cap * days).toBe(true);
        }
      },
    ),
    { numRuns: 400 },
  );
});
