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

interface Case {
  memory?: Partial<VendorMemory>;
  recorded?: typeof intent & { since?: string };
  /** Seconds. */
  now?: number;
  waitsForPerson?: boolean;
  cancel?: boolean;
}

function after(
  said: string,
  { memory, recorded = intent, now = 300, waitsForPerson = true, cancel = false }: Case = {},
) {
  const run = aRun()
    .asking({ cancel })
    .pinnedTo(profile.view().name, profile.view().digest)
    .attempt({ number: 1, intent: recorded })
    .annotated({ 'worldflux.ai/submit-outcome': said });
  const world = { ...aWorld({ run, profile, now }), waitsForPerson };
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
    expect(after('', { memory: { resolution: { is: 'nothing', at: ms(299) } } })).toMatchObject(sentAgain(at(0)));
    expect(after('1=none')).toMatchObject(sentAgain(at(0)));
  });

  test('remembers it over any number of further ones', () => {
    const second = { ...intent, since: at(-600) };
    const nothing = { is: 'nothing', at: ms(299) } as const;
    expect(after('', { memory: { resolution: nothing }, recorded: second })).toMatchObject(sentAgain(at(-600)));
    expect(after('', { memory: { intent: own, resolution: undefined }, recorded: second })).toMatchObject(
      sentAgain(at(-600)),
    );
  });

  test('because the vendor refused it has nothing to remember', () => {
    const decision = after('', { memory: { intent: own, resolution: undefined } });
    expect(decision).toMatchObject(sentAgain());
    expect(decision).not.toHaveProperty('attempt.intent.since');
  });
});

describe('a request of which nobody says anything', () => {
  const WAITS = { do: 'writeStatus', situation: { reason: 'SubmitOutcomeUnknown' } };
  const OVER = { do: 'record', ending: { reason: 'SubmitUnresolved' } };
  /** The vendor-side deadline is at 900, and clocks differ. */
  test.each<[string, Case, object]>([
    ['waits before the deadline', { waitsForPerson: false, now: 950 }, WAITS],
    ['is over after it', { waitsForPerson: false, now: 961 }, OVER],
    ['waits on where the profile waits for a person', { now: 100_000 }, WAITS],
    ['and is cancelled waits for the deadline alone', { cancel: true, now: 950 }, WAITS],
    ['and is cancelled is over after it, whoever was to be waited for', { cancel: true, now: 961 }, OVER],
  ])('%s', (_, how, expected) => {
    expect(after('', how)).toMatchObject(expected);
  });
});
