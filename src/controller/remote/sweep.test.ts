import { describe, expect, test } from 'vitest';
import type { FoundWork } from '../../runtime/contract.ts';
import { findOrphans, type SweepInput } from './sweep.ts';

const T0 = Date.parse('2026-11-20T10:00:00Z');
const iso = (seconds: number) => new Date(T0 + seconds * 1000).toISOString();
const intent = { requestDigest: 'd', recordedAt: iso(0), notAfter: iso(30), deadlineAt: iso(3600) };
const work = (more: Partial<FoundWork> = {}): FoundWork => ({
  externalId: 'w',
  createdAt: T0 + 5000,
  requestDigest: 'd',
  live: true,
  ...more,
});
const sweep = (more: Partial<SweepInput> = {}) =>
  findOrphans({
    now: T0 + 3_600_000,
    works: [work()],
    claimOf: () => undefined,
    intents: [{ intent, open: false }],
    requestTimeoutMs: 60_000,
    minAgeMs: 600_000,
    seenBefore: new Set(['w']),
    ...more,
  });
const orphans = (more: Partial<SweepInput> = {}) => sweep(more).orphans.map((each) => each.externalId);

describe('work that no run names', () => {
  test('is an orphan when an intent of ours asked for it, and it was seen before', () => {
    expect(orphans()).toEqual(['w']);
  });

  test('is only noted the first time', () => {
    const { orphans: found, seen } = sweep({ seenBefore: new Set() });
    expect(found).toEqual([]);
    expect([...seen]).toEqual(['w']);
  });

  test('whatever it asks for, when an attempt named it that is over', () => {
    const found = [work({ requestDigest: undefined })];
    expect(orphans({ works: found, intents: [], claimOf: () => 'over' })).toEqual(['w']);
  });

  test('by its mark alone, where the vendor keeps one', () => {
    const marked = work({ mark: { clientRunId: 'c', attempt: 1 }, requestDigest: undefined });
    expect(orphans({ works: [marked], intents: [] })).toEqual(['w']);
  });
});

describe('is spared', () => {
  test.each<[string, Partial<SweepInput>]>([
    ['what a run works with', { claimOf: () => 'open' }],
    ['what an attempt named that is over, and so is it', { claimOf: () => 'over', works: [work({ live: false })] }],
    ['what has ended', { works: [work({ live: false })] }],
    ['what is young', { now: T0 + 60_000 }],
    ['what asks for something else', { works: [work({ requestDigest: 'other' })] }],
    ['what is from another time', { works: [work({ createdAt: T0 + 600_000 })] }],
    ['what nobody here asked for', { intents: [] }],
    ['what an intent in doubt may have bought', { intents: [{ intent, open: true }] }],
    ['what the vendor keeps no request of', { works: [work({ requestDigest: undefined })] }],
  ])('%s', (_, input) => {
    expect(sweep(input).seen.size).toBe(0);
  });
});
