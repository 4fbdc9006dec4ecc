import { describe, expect, test } from 'vitest';
import type { AttemptStatus } from '../../crds/world-run-status.ts';
import type { WorkState } from '../../runtime/contract.ts';
import { at, ms } from '../../runtime/local/testing/clock.ts';
import { aPaidProfile } from '../testing/a-profile.ts';
import { aRun } from '../testing/a-run.ts';
import { aWorld } from '../testing/a-world.ts';
import { decideDeleted } from './decide-deleted.ts';
import { emptyVendorMemory, type VendorMemory, type VendorWorld } from './world.ts';

/** Whatever a paid run is at when it is deleted: what it bought is stopped, and the finalizer goes. */

const intent = { requestDigest: 'sha256:same', recordedAt: at(0), notAfter: at(10), deadlineAt: at(900) };
const RUNNING: WorkState = { at: 'running', startedAt: ms(5) };
const ENDED: WorkState = {
  at: 'ended',
  outcome: 'cancelled',
  reason: 'VendorCancelled',
  message: '',
  finishedAt: ms(50),
};
const PATIENCE = 900 + 3600;

interface Case {
  attempt?: Partial<AttemptStatus>;
  memory?: Partial<VendorMemory>;
  work?: WorkState;
  /** Seconds. */
  now?: number;
}

function decided({ attempt = { intent }, memory, work, now = 300 }: Case) {
  const profile = aPaidProfile();
  const run = aRun().pinnedTo(profile.view().name, profile.view().digest);
  const world = aWorld({ run: run.attempt({ number: 1, ...attempt }).deleting(), profile, now });
  world.memory.vendor = { ...emptyVendorMemory(), attempt: 1, ...memory };
  const vendor = {
    traits: { kind: 'Vendor', paid: true, listLagMs: 10_000 },
    requestTimeoutMs: 30_000,
    access: { ready: false, message: 'there is no Secret' },
    work,
  } as unknown as VendorWorld;
  return decideDeleted(world, vendor);
}

const own = (state: 'recorded' | 'nothingCreated' | 'unknown') => ({ recordedAt: intent.recordedAt, state });
const bought = { intent, externalId: 'w' };
const GOES = { do: 'removeFinalizer' };

test.each<[string, Case, object]>([
  ['that never recorded an intent has nothing there', { attempt: {} }, GOES],
  ['whose request was not sent has nothing there', { memory: { intent: own('recorded') } }, GOES],
  ['whose request was refused has nothing there', { memory: { intent: own('nothingCreated') } }, GOES],
  ['in doubt waits until looking can tell', { now: 40 }, { do: 'nothing', againMs: 10_000 }],
  ['in doubt is then looked for', {}, { do: 'resolve' }],
  ['in doubt by this process’s own request too', { memory: { intent: own('unknown') } }, { do: 'resolve' }],
  ['of which the vendor has nothing goes', { memory: { resolution: { is: 'nothing', at: ms(299) } } }, GOES],
  [
    'of which the vendor could not be asked is looked for again in a minute',
    { memory: { resolution: { is: 'unasked', at: ms(290), message: '', tries: 1 } } },
    { do: 'nothing', againMs: 50_000 },
  ],
  [
    'of which nobody can tell what is its own, too',
    { memory: { resolution: { is: 'ambiguous', at: ms(239), message: '', candidates: ['w'] } } },
    { do: 'resolve' },
  ],
  ['whose work was just found has it written down first', { memory: { submitted: 'w' } }, { do: 'writeStatus' }],
  ['whose work runs has it stopped', { attempt: bought, work: RUNNING }, { do: 'stopWork', externalId: 'w' }],
  ['whose work nobody has looked at yet has it stopped', { attempt: bought }, { do: 'stopWork', externalId: 'w' }],
  [
    'that was asked to stop is given time',
    { attempt: bought, work: RUNNING, memory: { tornDownAt: ms(290) } },
    { do: 'nothing', againMs: 20_000 },
  ],
  [
    'and is asked again',
    { attempt: bought, work: RUNNING, memory: { tornDownAt: ms(270) } },
    { do: 'stopWork', externalId: 'w' },
  ],
  ['whose work has ended goes', { attempt: bought, work: ENDED }, GOES],
  ['whose work is gone goes', { attempt: bought, work: { at: 'gone' } }, GOES],
])('a deleted run %s', (_, how, expected) => {
  expect(decided(how)).toMatchObject(expected);
});

describe('an hour after the vendor’s own deadline', () => {
  test.each<[string, Case, object]>([
    ['work that never answers', { attempt: bought, work: RUNNING }, { externalId: 'w' }],
    ['work that nobody could look at', { attempt: bought }, { externalId: 'w' }],
    [
      'a vendor that could never be asked',
      { memory: { resolution: { is: 'unasked', at: ms(PATIENCE), message: '', tries: 9 } } },
      { externalId: undefined },
    ],
    [
      'what nobody can tell',
      { memory: { resolution: { is: 'ambiguous', at: ms(PATIENCE), message: '', candidates: ['w'] } } },
      { externalId: undefined },
    ],
  ])('%s is given up: told once, then let go', (_, how, what) => {
    expect(decided({ ...how, now: PATIENCE })).not.toMatchObject({ do: 'abandonWork' });
    expect(decided({ ...how, now: PATIENCE + 1 })).toMatchObject({ do: 'abandonWork', ...what });
    expect(decided({ ...how, now: PATIENCE + 1, memory: { ...how.memory, abandoned: true } })).toMatchObject(GOES);
  });
});
