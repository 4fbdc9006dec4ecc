import { describe, expect, test } from 'vitest';
import { at, ms } from '../../runtime/local/testing/clock.ts';
import { aPaidProfile } from '../testing/a-profile.ts';
import { aRun } from '../testing/a-run.ts';
import { aWorld } from '../testing/a-world.ts';
import { vendorAttemptOf } from './attempt.ts';
import { decideSubmit } from './decide-submit.ts';
import { emptyVendorMemory, type VendorMemory, type VendorWorld } from './world.ts';

/** What follows a request whose outcome is unknown; whoever may change the run can say what it was, and may lie. */

const profile = aPaidProfile();
const intent = { requestDigest: 'sha256:same', recordedAt: at(0), notAfter: at(10), deadlineAt: at(900) };

function after(
  said: string,
  memory: Partial<VendorMemory> = {},
  recorded: typeof intent & { since?: string } = intent,
) {
  const run = aRun()
    .pinnedTo(profile.view().name, profile.view().digest)
    .attempt({ number: 1, intent: recorded })
    .annotated({ 'worldflux.ai/submit-outcome': said });
  const world = { ...aWorld({ run, profile, now: 300 }), waitsForPerson: true };
  world.memory.vendor = {
    ...emptyVendorMemory(),
    attempt: 1,
    resolution: { is: 'ambiguous', at: ms(299), message: 'Two may be it.', candidates: ['w1', 'w2'] },
    ...memory,
  };
  const vendor = {
    traits: { kind: 'Vendor', paid: true, listLagMs: 0 },
    requestTimeoutMs: 1000,
    access: { ready: true },
    plan: { ok: true, requestDigest: 'sha256:same', deadlineSeconds: 900 },
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

describe('a request that is sent again', () => {
  const own = { recordedAt: intent.recordedAt, state: 'nothingCreated' } as const;
  const sentAgain = (since?: string) => ({
    do: 'recordIntent',
    attempt: { intent: { ...(since !== undefined && { since }) } },
  });

  test('because its work was not found remembers when the first one was sent: it may turn up later', () => {
    expect(after('', { resolution: { is: 'nothing', at: ms(299) } })).toMatchObject(sentAgain(at(0)));
    expect(after('1=none')).toMatchObject(sentAgain(at(0)));
  });

  test('remembers it over any number of further ones', () => {
    const second = { ...intent, since: at(-600) };
    const nothing = { is: 'nothing', at: ms(299) } as const;
    expect(after('', { resolution: nothing }, second)).toMatchObject(sentAgain(at(-600)));
    expect(after('', { intent: own, resolution: undefined }, second)).toMatchObject(sentAgain(at(-600)));
  });

  test('because the vendor refused it has nothing to remember', () => {
    const decision = after('', { intent: own, resolution: undefined });
    expect(decision).toMatchObject(sentAgain());
    expect(decision).not.toHaveProperty('attempt.intent.since');
  });
});
