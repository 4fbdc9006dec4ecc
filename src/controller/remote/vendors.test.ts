import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { AttemptStatus } from '../../crds/world-run-status.ts';
import type { FoundWork, Runtime } from '../../runtime/contract.ts';
import { RuntimeRegistry } from '../../runtime/registry.ts';
import { makeCaches } from '../caches.ts';
import type { LiveRun } from '../run/view.ts';
import { aPaidProfile } from '../testing/a-profile.ts';
import { aRun } from '../testing/a-run.ts';
import { at, ms } from '../../runtime/local/testing/clock.ts';
import { Vendors } from './vendors.ts';

/** A vendor that keeps no marks, whose lists answer when the test lets them. */
function vendorWith(works: readonly FoundWork[], answer: () => Promise<void>): Runtime {
  const traits = { kind: 'Vendor', paid: true, idempotentCreate: false, marksWork: false, listLagMs: 0, pollMs: 1000 };
  return {
    name: 'replicate',
    traits,
    async *list() {
      await answer();
      yield* works;
    },
  } as unknown as Runtime;
}

const work = (externalId: string, more: Partial<FoundWork> = {}): FoundWork => ({
  externalId,
  createdAt: ms(5),
  requestDigest: 'sha256:same',
  live: true,
  ...more,
});
const INTENT = { requestDigest: 'sha256:same', recordedAt: at(0), notAfter: at(10), deadlineAt: at(900) };
const profile = aPaidProfile().view();

/** Everything that deals with one vendor, and the runs that it knows of. */
function open(works: readonly FoundWork[], answer: () => Promise<void> = () => Promise.resolve()) {
  const caches = makeCaches('6f1f6d6e-6f3b-5f0e-9d2b-0c7c3f1f2f57', () => {});
  const orphans: string[] = [];
  const vendors = new Vendors({
    registry: new RuntimeRegistry([vendorWith(works, answer)]),
    access: { of: () => ({ ready: true, io: { signal: new AbortController().signal } as never }) },
    caches,
    installationId: '6f1f6d6e-6f3b-5f0e-9d2b-0c7c3f1f2f57',
    results: {} as never,
    degraded: () => undefined,
    wake: () => {},
    onOrphan: ({ externalId }) => orphans.push(externalId),
    onError: () => {},
    now: () => ms(600),
  });
  const put = (name: string, attempt: Partial<AttemptStatus>): LiveRun => {
    const builder = aRun().named(name).pinnedTo(profile.name, profile.digest);
    caches.runs.upsert(builder.attempt({ number: 1, ...attempt }).build());
    return caches.runs.get(`${builder.live().namespace}/${name}`) as LiveRun;
  };
  return { vendors, put, orphans };
}

test('runs that look for identical work at the same time never take the same piece, and leave none', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 6 }),
      fc.nat(6),
      fc.scheduler(),
      fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
      async (runs, pieces, scheduler, writesAtOnce) => {
        const works = Array.from({ length: Math.min(pieces, runs) }, (_, i) => work(`w${i}`));
        const { vendors, put } = open(works, () => scheduler.schedule(Promise.resolve()));
        const all = Array.from({ length: runs }, (_, i) => put(`run-${i}`, { intent: INTENT }));
        const looks = all.map(async (run, i) => {
          const answer = await vendors.resolve(run, profile);
          // What a run found may stand in its status before the others look, or after.
          if ('found' in answer && writesAtOnce[i] === true)
            put(run.name, { intent: INTENT, externalId: answer.found });
          return answer;
        });
        await scheduler.waitFor(Promise.all(looks));
        const answers = await Promise.all(looks);
        const found = answers.flatMap((answer) => ('found' in answer ? [answer.found] : []));
        expect(found.toSorted()).toEqual(works.map(({ externalId }) => externalId).toSorted());
        expect(answers.filter((answer) => 'is' in answer && answer.is === 'nothing')).toHaveLength(runs - works.length);
      },
    ),
    { numRuns: 300 },
  );
});

describe('work of another request', () => {
  test('is somebody else’s, where the vendor gives requests back as they were sent', async () => {
    const { vendors, put } = open([work('w', { requestDigest: 'sha256:other' })]);
    expect(await vendors.resolve(put('run', { intent: INTENT }), profile)).toMatchObject({ is: 'nothing' });
  });

  test('may be the run’s own, where that is not certain: nothing is bought again', async () => {
    const { vendors, put } = open([work('w', { requestDigest: 'sha256:other', doubtful: true })]);
    expect(await vendors.resolve(put('run', { intent: INTENT }), profile)).toMatchObject({
      is: 'ambiguous',
      candidates: ['w'],
    });
  });

  test.each<[string, Partial<AttemptStatus>]>([
    ['has', { externalId: 'w' }],
    ['has asked for', {}],
  ])('that another run %s is not the run’s own', async (_, had) => {
    const { vendors, put } = open([work('w', { requestDigest: 'sha256:other', doubtful: true })]);
    put('another', { intent: { ...INTENT, requestDigest: 'sha256:other' }, ...had });
    expect(await vendors.resolve(put('run', { intent: INTENT }), profile)).toMatchObject({ is: 'nothing' });
  });

  test('from another time is not the run’s own', async () => {
    const { vendors, put } = open([work('w', { requestDigest: 'sha256:other', doubtful: true, createdAt: ms(500) })]);
    expect(await vendors.resolve(put('run', { intent: INTENT }), profile)).toMatchObject({ is: 'nothing' });
  });
});

test.each<[string, Partial<AttemptStatus>, string[]]>([
  ['an attempt works with is spared', {}, []],
  ['an attempt had that is over is an orphan: the vendor had not known it for a while', { finishedAt: at(60) }, ['w']],
])('work that %s', async (_, attempt, expected) => {
  const { vendors, put, orphans } = open([work('w', { requestDigest: undefined })]);
  put('run', { intent: INTENT, externalId: 'w', ...attempt });
  await vendors.sweeper.sweep(profile, 60_000);
  await vendors.sweeper.sweep(profile, 60_000);
  expect(orphans).toEqual(expected);
});

describe('work that the vendor lists only after it was looked for in vain', () => {
  const again = { ...INTENT, since: at(0), recordedAt: at(200), notAfter: at(210) };

  test('is taken instead of a third request, when the second one’s answer is lost too', async () => {
    const { vendors, put } = open([work('late')]);
    expect(await vendors.resolve(put('run', { intent: again }), profile)).toEqual({ found: 'late' });
  });

  test('is found by the sweep, when the second one was answered', async () => {
    const { vendors, put, orphans } = open([work('late'), work('second', { createdAt: ms(201) })]);
    put('run', { intent: again, externalId: 'second' });
    await vendors.sweeper.sweep(profile, 60_000);
    await vendors.sweeper.sweep(profile, 60_000);
    expect(orphans).toEqual(['late']);
  });
});
