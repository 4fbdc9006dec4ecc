import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { FoundWork } from '../../runtime/contract.ts';
import { matchIntents, type Intent } from './claims.ts';

const intent = (run: string, from: number, until: number, requestDigest = 'd'): Intent => ({
  run,
  from,
  until,
  requestDigest,
});
const work = (externalId: string, createdAt: number, requestDigest: string | undefined = 'd'): FoundWork => ({
  externalId,
  createdAt,
  requestDigest,
  live: true,
});

describe('an intent whose outcome is unknown', () => {
  test('is matched to the one piece of work of its digest and time', () => {
    const { matched, surplus } = matchIntents([intent('a', 0, 10)], [work('w', 5), work('other', 5, 'e')]);
    expect(matched.get('a')?.externalId).toBe('w');
    expect(surplus).toEqual([]);
  });

  test('is not matched to work from before it or after it', () => {
    expect(matchIntents([intent('a', 10, 20)], [work('before', 9), work('after', 21)]).matched.size).toBe(0);
  });

  test('leaves a second piece of the same digest and time as surplus', () => {
    const { matched, surplus } = matchIntents([intent('a', 0, 10)], [work('w2', 6), work('w1', 5)]);
    expect(matched.get('a')?.externalId).toBe('w1');
    expect(surplus.map((w) => w.externalId)).toEqual(['w2']);
  });

  test('is told of work whose request the vendor no longer has', () => {
    const found = { ...work('w', 5), requestDigest: undefined };
    expect(matchIntents([intent('a', 0, 10)], [found]).unsure).toEqual([found]);
  });

  test('is told of work that asks for something else, where the vendor may have changed it', () => {
    const found = { ...work('w', 5, 'e'), doubtful: true };
    expect(matchIntents([intent('a', 0, 10)], [found]).unsure).toEqual([found]);
    expect(matchIntents([intent('a', 0, 10), intent('b', 0, 10, 'e')], [found]).unsure).toEqual([]);
    expect(matchIntents([intent('a', 10, 20)], [found]).unsure).toEqual([]);
  });

  test('gives way to one that can have nothing else', () => {
    const { matched } = matchIntents([intent('long', 0, 100), intent('short', 0, 10)], [work('w', 5), work('x', 50)]);
    expect([matched.get('short')?.externalId, matched.get('long')?.externalId]).toEqual(['w', 'x']);
  });
});

test('of identical requests as many are matched as can be, each piece once', () => {
  const window = fc.record({ from: fc.nat(20), length: fc.nat(10) });
  fc.assert(
    fc.property(fc.array(window, { maxLength: 5 }), fc.array(fc.nat(30), { maxLength: 5 }), (windows, times) => {
      const intents = windows.map((w, i) => intent(`r${i}`, w.from, w.from + w.length));
      const works = times.map((t, i) => work(`w${i}`, t));
      const { matched } = matchIntents(intents, works);
      const ids = [...matched.values()].map((w) => w.externalId);
      expect(new Set(ids).size).toBe(ids.length);
      expect(matched.size).toBe(largest(intents, works));
    }),
  );
});

/** The same by trying everything. */
function largest(intents: readonly Intent[], works: readonly FoundWork[]): number {
  const [first, ...rest] = intents;
  if (first === undefined) return 0;
  const options = works.filter((w) => w.createdAt >= first.from && w.createdAt <= first.until);
  return Math.max(
    largest(rest, works),
    ...options.map(
      (w) =>
        1 +
        largest(
          rest,
          works.filter((x) => x !== w),
        ),
    ),
  );
}
