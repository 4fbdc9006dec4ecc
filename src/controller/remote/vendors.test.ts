import fc from 'fast-check';
import { expect, test } from 'vitest';
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

const work = (externalId: string): FoundWork => ({
  externalId,
  createdAt: ms(5),
  requestDigest: 'sha256:same',
  live: true,
});

test('runs that look for identical work at the same time never take the same piece, and leave none', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 6 }),
      fc.nat(6),
      fc.scheduler(),
      fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
      async (runs, pieces, scheduler, writesAtOnce) => {
        const works = Array.from({ length: Math.min(pieces, runs) }, (_, i) => work(`w${i}`));
        const profile = aPaidProfile().view();
        const caches = makeCaches('6f1f6d6e-6f3b-5f0e-9d2b-0c7c3f1f2f57', () => {});
        const intent = { requestDigest: 'sha256:same', recordedAt: at(0), notAfter: at(10), deadlineAt: at(900) };
        const builders = Array.from({ length: runs }, (_, i) =>
          aRun().named(`run-${i}`).pinnedTo(profile.name, profile.digest).attempt({ number: 1, intent }),
        );
        for (const builder of builders) caches.runs.upsert(builder.build());
        const vendors = new Vendors({
          registry: new RuntimeRegistry([vendorWith(works, () => scheduler.schedule(Promise.resolve()))]),
          access: { of: () => ({ ready: true, io: { signal: new AbortController().signal } as never }) },
          caches,
          installationId: '6f1f6d6e-6f3b-5f0e-9d2b-0c7c3f1f2f57',
          results: {} as never,
          degraded: () => undefined,
          wake: () => {},
          onOrphan: () => {},
          onError: () => {},
          now: () => ms(600),
        });
        const looks = builders.map(async (builder, i) => {
          const run = caches.runs.get(`${builder.live().namespace}/run-${i}`) as LiveRun;
          const answer = await vendors.resolve(run, profile);
          // What a run found may stand in its status before the others look, or after.
          if ('found' in answer && writesAtOnce[i] === true)
            caches.runs.upsert(builder.attempt({ number: 1, intent, externalId: answer.found }).build());
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
