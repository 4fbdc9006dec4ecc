import { expect, test } from 'vitest';
import { at, ms } from '../../runtime/local/testing/clock.ts';
import { aPaidProfile } from '../testing/a-profile.ts';
import { aRun } from '../testing/a-run.ts';
import { aWorld } from '../testing/a-world.ts';
import { vendorAttemptOf } from './attempt.ts';
import { decideSubmit } from './decide-submit.ts';
import { emptyVendorMemory, type VendorWorld } from './world.ts';

/** What a person says of a request whose outcome is unknown: whoever may change the run can say it, and may lie. */

const profile = aPaidProfile();
const intent = { requestDigest: 'sha256:same', recordedAt: at(0), notAfter: at(10), deadlineAt: at(900) };

function after(said: string) {
  const run = aRun()
    .pinnedTo(profile.view().name, profile.view().digest)
    .attempt({ number: 1, intent })
    .annotated({ 'worldflux.ai/submit-outcome': said });
  const world = { ...aWorld({ run, profile, now: 300 }), waitsForPerson: true };
  world.memory.vendor = {
    ...emptyVendorMemory(),
    attempt: 1,
    resolution: { is: 'ambiguous', at: ms(299), message: 'Two may be it.', candidates: ['w1', 'w2'] },
  };
  const vendor = {
    traits: { kind: 'Vendor', paid: true, listLagMs: 0 },
    requestTimeoutMs: 1000,
    access: { ready: true },
  } as unknown as VendorWorld;
  return decideSubmit(vendorAttemptOf(world, vendor)!);
}

test('work that nobody has and that may be it is taken', () => {
  expect(after('1=w2')).toMatchObject({ do: 'believe', externalId: 'w2' });
});

test.each([
  ['work of another run, whose results would be given away', '1=somebody-elses'],
  ['another attempt', '2=w1'],
  ['nonsense', 'w1'],
])('%s is not: the run waits on', (_, said) => {
  expect(after(said)).toMatchObject({ do: 'writeStatus', situation: { reason: 'SubmitOutcomeUnknown' } });
});
