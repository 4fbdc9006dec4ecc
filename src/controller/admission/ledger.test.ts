import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AdmissionLedger, type Claim, type Limits } from './ledger.ts';

const NO_LIMITS: Limits = {
  maxConcurrentRuns: undefined,
  maxConcurrentRunsPerNamespace: undefined,
  maxCostUSDPerNamespacePerDay: undefined,
};
const atMost = (maxConcurrentRuns: number, maxConcurrentRunsPerNamespace?: number): Limits => ({
  maxConcurrentRuns,
  maxConcurrentRunsPerNamespace,
  maxCostUSDPerNamespacePerDay: undefined,
});
const claim = (uid: string, namespace = 'a', createdAt = 0, profile = 'gpu'): Claim => ({
  uid,
  namespace,
  profile,
  createdAt,
  ceiling: undefined,
});

function setUp() {
  const woken: string[] = [];
  const free = { fits: () => true, reserve: () => {} };
  const ledger = new AdmissionLedger(
    (uid) => woken.push(uid),
    free,
    () => 0,
  );
  return { ledger, woken };
}

describe('places', () => {
  test('without limits everybody is granted', () => {
    const { ledger } = setUp();
    for (let i = 0; i < 100; i += 1) expect(ledger.request(claim(`r${i}`), NO_LIMITS)).toEqual({ granted: true });
    expect(ledger.held('gpu')).toBe(100);
  });

  test('the last place goes to one of two, the other is told why and woken when it is its turn', () => {
    const { ledger, woken } = setUp();
    expect(ledger.request(claim('first'), atMost(1))).toEqual({ granted: true });
    expect(ledger.request(claim('second'), atMost(1))).toEqual({
      granted: false,
      reason: 'ConcurrencyLimit',
      message: 'profile gpu already runs the 1 that it allows',
    });
    ledger.release('first');
    expect(woken).toEqual(['second']);
    expect(ledger.request(claim('second'), atMost(1))).toEqual({ granted: true });
  });

  test('the limit of one namespace does not hold back another', () => {
    const { ledger } = setUp();
    ledger.request(claim('a1', 'a'), atMost(9, 1));
    expect(ledger.request(claim('a2', 'a'), atMost(9, 1))).toMatchObject({
      granted: false,
      message: 'namespace a already runs the 1 that profile gpu allows one namespace',
    });
    expect(ledger.request(claim('b1', 'b'), atMost(9, 1))).toEqual({ granted: true });
  });

  test('raised limits are handed out at once', () => {
    const { ledger, woken } = setUp();
    for (const uid of ['1', '2', '3']) ledger.request(claim(uid, 'a', Number(uid)), atMost(1));
    ledger.request(claim('3', 'a', 3), atMost(3));
    expect(woken).toEqual(['2']);
    expect(ledger.holds('3')).toBe(true);
  });

  test('work that is there already is taken up, also above the limit', () => {
    const { ledger } = setUp();
    ledger.restore(claim('old1'));
    ledger.restore(claim('old2'));
    expect(ledger.request(claim('new'), atMost(1))).toMatchObject({ granted: false });
    ledger.release('old1');
    expect(ledger.holds('new')).toBe(false);
    ledger.release('old2');
    expect(ledger.holds('new')).toBe(true);
  });

  test('a run that waits, and whose profile is another one now, waits there and no longer here', () => {
    const { ledger, woken } = setUp();
    ledger.request(claim('holder', 'a', 0, 'old'), atMost(1));
    ledger.request(claim('mover', 'a', 1, 'old'), atMost(1));
    expect(ledger.request(claim('mover', 'a', 1, 'new'), atMost(1))).toEqual({ granted: true });
    ledger.release('holder');
    expect(woken).toEqual([]);
    expect([ledger.held('old'), ledger.held('new')]).toEqual([0, 1]);
  });
});

test('a namespace with a thousand waiting runs does not keep another from its first', () => {
  const { ledger, woken } = setUp();
  ledger.request(claim('a0', 'a', 0), atMost(1));
  for (let i = 1; i <= 1000; i += 1) ledger.request(claim(`a${i}`, 'a', i), atMost(1));
  ledger.request(claim('b0', 'b', 2000), atMost(1));
  ledger.release('a0');
  expect(woken).toEqual(['b0']);
});

/** The rule, written again in the slowest and plainest way. */
class Model {
  held: Claim[] = [];
  waiting: Claim[] = [];
  turns: string[] = [];
  limits = NO_LIMITS;

  isFree(namespace: string): boolean {
    const { maxConcurrentRuns = Infinity, maxConcurrentRunsPerNamespace = Infinity } = this.limits;
    return (
      this.held.length < maxConcurrentRuns &&
      this.held.filter((c) => c.namespace === namespace).length < maxConcurrentRunsPerNamespace
    );
  }

  /** Of the namespaces that have a free place, the one whose last turn is longest ago; in it the oldest run. */
  next(): Claim | undefined {
    const free = this.waiting.filter((c) => this.isFree(c.namespace));
    const longest = Math.min(...free.map((c) => this.turns.lastIndexOf(c.namespace)));
    return free
      .filter((c) => this.turns.lastIndexOf(c.namespace) === longest)
      .toSorted((a, b) => a.createdAt - b.createdAt)[0];
  }

  grant(claim: Claim): void {
    this.waiting = this.waiting.filter((c) => c !== claim);
    this.held.push(claim);
    this.turns.push(claim.namespace);
  }

  /** Answers whose turn came with it. */
  step(what: 'request' | 'release' | 'restore', run: Claim, limits: Limits): string[] {
    const isKnown = [...this.held, ...this.waiting].includes(run);
    if (what === 'restore') {
      if (!this.held.includes(run)) this.grant(run);
      return [];
    }
    if (what === 'release') {
      this.held = this.held.filter((c) => c !== run);
      this.waiting = this.waiting.filter((c) => c !== run);
      return isKnown ? this.settle() : [];
    }
    this.limits = limits;
    if (!isKnown) this.waiting.push(run);
    return this.held.includes(run) ? [] : this.settle();
  }

  settle(): string[] {
    const granted: string[] = [];
    for (let next = this.next(); next !== undefined; next = this.next()) {
      this.grant(next);
      granted.push(next.uid);
    }
    return granted;
  }
}

const limit = fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined });
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('request' as const), run: fc.nat(19) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('release' as const), run: fc.nat(19) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restore' as const), run: fc.nat(19) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('limit' as const),
      limits: fc.record({
        maxConcurrentRuns: limit,
        maxConcurrentRunsPerNamespace: limit,
        maxCostUSDPerNamespacePerDay: fc.constant(undefined),
      }),
    }),
  },
);

test('whatever the order of requests and releases: the fair one is granted, at once, and told', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const { ledger, woken } = setUp();
      const model = new Model();
      let limits = atMost(2, 1);
      // Every run is older than the next; three namespaces, the first with most runs.
      const runs = Array.from({ length: 20 }, (_, i) => claim(`r${i}`, ['a', 'a', 'b', 'c'][i % 4], i));
      const held = () => runs.filter((run) => model.held.includes(run)).map((run) => run.uid);
      for (const next of steps) {
        woken.length = 0;
        if (next.do === 'limit') {
          limits = next.limits;
          continue;
        }
        const run = runs[next.run]!;
        const granted = model.step(next.do, run, limits);
        const answer = next.do === 'request' ? ledger.request(run, limits) : undefined;
        if (next.do === 'release') ledger.release(run.uid);
        if (next.do === 'restore') ledger.restore(run);
        expect(answer?.granted).toBe(next.do === 'request' ? model.held.includes(run) : undefined);
        expect(woken).toEqual(granted.filter((uid) => next.do !== 'request' || uid !== run.uid));
        expect(runs.filter((run) => ledger.holds(run.uid)).map((run) => run.uid)).toEqual(held());
        expect(ledger.held('gpu')).toBe(held().length);
      }
    }),
    { numRuns: 300 },
  );
});
