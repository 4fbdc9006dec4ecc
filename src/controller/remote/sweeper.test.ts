import { expect, test } from 'vitest';
import type { FoundWork, Runtime } from '../../runtime/contract.ts';
import { at, ms } from '../../runtime/local/testing/clock.ts';
import { makeCaches } from '../caches.ts';
import type { RunView } from '../run/view.ts';
import { aPaidProfile } from '../testing/a-profile.ts';
import { aRun } from '../testing/a-run.ts';
import { Sweeper } from './sweeper.ts';

const INTENT = { requestDigest: 'sha256:same', recordedAt: at(0), notAfter: at(10), deadlineAt: at(3600) };
const MIN_AGE_MS = 60_000;

/** One process, and an account with live work that the run has asked for and does not name. */
function aSweeper({ works = ['w'], orphans = 'Report' as 'Report' | 'Delete' } = {}) {
  const profile = aPaidProfile().asking({ orphans }).view();
  const caches = makeCaches('installation', () => {});
  const told: string[] = [];
  const errors: string[] = [];
  const stubborn = new Set<string>();
  const there = new Set(works);
  let now = ms(600);
  const runtime = {
    async *list() {
      for (const externalId of there)
        yield { externalId, createdAt: ms(5), requestDigest: 'sha256:same', live: true } satisfies FoundWork;
    },
    teardown: async ({ externalId }: { externalId: string }) => {
      if (stubborn.has(externalId)) throw new Error('no');
      there.delete(externalId);
    },
  } as unknown as Runtime;
  const sweeper = new Sweeper({
    caches,
    reach: () => ({ runtime, io: {} as never }),
    claimOf: () => undefined,
    report: (_, externalId, action) => told.push(`${externalId} ${action}`),
    onError: (what) => errors.push(what),
    now: () => now,
  });
  const run = aRun()
    .pinnedTo(profile.name, profile.digest)
    .attempt({ number: 1, intent: INTENT, externalId: 'its own' });
  return {
    told,
    errors,
    stubborn,
    there: () => caches.runs.upsert(run.build()),
    gone: () => sweeper.onGone(run.live() as RunView),
    later: (seconds: number) => (now = ms(seconds)),
    sweep: async (times: number) => {
      for (let i = 0; i < times; i += 1) await sweeper.sweep(profile, MIN_AGE_MS);
    },
  };
}

test('an orphan is told of once, however often it is seen', async () => {
  const { sweep, told, there } = aSweeper();
  there();
  await sweep(1);
  expect(told).toEqual([]);
  await sweep(4);
  expect(told).toEqual(['w Reported']);
});

test('work of a run that was taken away by force is an orphan to a process that saw it go', async () => {
  const { sweep, told, gone } = aSweeper();
  await sweep(2);
  expect(told).toEqual([]);
  gone();
  await sweep(2);
  expect(told).toEqual(['w Reported']);
});

test('a run that is gone is forgotten when the vendor has ended whatever it bought', async () => {
  const { sweep, told, gone, later } = aSweeper();
  gone();
  later(3601);
  await sweep(2);
  expect(told).toEqual([]);
});

test('one that cannot be ended keeps no other from being ended, and is tried again', async () => {
  const { sweep, told, errors, stubborn, there } = aSweeper({ works: ['a', 'b'], orphans: 'Delete' });
  there();
  stubborn.add('a');
  await sweep(3);
  expect(told).toEqual(['b Deleted']);
  expect(errors).toHaveLength(2);
  stubborn.clear();
  await sweep(1);
  expect(told).toEqual(['b Deleted', 'a Deleted']);
});
