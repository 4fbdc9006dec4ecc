import { describe, expect, test } from 'vitest';
import type { WorkState } from '../../runtime/contract.ts';
import { at, ms } from '../../runtime/local/testing/clock.ts';
import { aPaidProfile } from '../testing/a-profile.ts';
import { aRun } from '../testing/a-run.ts';
import { aResult, aWorld } from '../testing/a-world.ts';
import { vendorAttemptOf } from './attempt.ts';
import { decideWork } from './decide-work.ts';
import { emptyVendorMemory, type VendorMemory, type VendorWorld } from './world.ts';

/** Work that a vendor has: when it is stopped, when its end is believed, and when nobody waits for it any longer. */

const intent = { requestDigest: 'sha256:same', recordedAt: at(0), notAfter: at(10), deadlineAt: at(900) };
const RUNNING: WorkState = { at: 'running', startedAt: ms(5) };
const SUCCEEDED: WorkState = {
  at: 'ended',
  outcome: 'succeeded',
  reason: 'Completed',
  message: '',
  finishedAt: ms(50),
};
const CANCELLED: WorkState = { ...SUCCEEDED, outcome: 'cancelled', reason: 'VendorCancelled' };

interface Case {
  ask?: object;
  memory?: Partial<VendorMemory>;
  work?: WorkState;
  /** Seconds. */
  now?: number;
  ready?: boolean;
  /** Of the attempt: read back from the store, and there. */
  loaded?: boolean;
  stored?: boolean;
}

function decided({ ask = {}, memory, work, now = 100, ready = true, loaded = true, stored = false }: Case) {
  const profile = aPaidProfile();
  const run = aRun()
    .asking({ timeouts: { runSeconds: 600, startupSeconds: 300, uploadSeconds: 60 }, ...ask })
    .pinnedTo(profile.view().name, profile.view().digest)
    .attempt({ number: 1, intent, externalId: 'w', ...(work?.at === 'running' && { startedAt: at(5) }) });
  const results = stored ? { results: new Map([[0, aResult()]]) } : {};
  const world = aWorld({ run, profile, now, results, memory: { loaded: new Set(loaded ? [1] : []) } });
  world.memory.vendor = { ...emptyVendorMemory(), attempt: 1, ...memory };
  world.vendor = {
    traits: { kind: 'Vendor', paid: true },
    access: ready ? { ready } : { ready, message: 'there is no Secret' },
    work,
  } as unknown as VendorWorld;
  return decideWork(vendorAttemptOf(world, world.vendor)!);
}

const CANCEL = { cancel: true };
const STOPS = { do: 'stopWork', externalId: 'w' };
const ends = (reason: string) => ({ do: 'record', ending: { reason } });
const failing = (tries: number, since: number) => ({
  collect: { since: ms(since), underWay: false, tries, failedAt: ms(98), problem: 'no answer' },
});

describe('the operator stops work', () => {
  test.each<[string, Case]>([
    ['of a run that is cancelled', { ask: CANCEL, work: RUNNING }],
    ['of a run that is suspended', { ask: { suspend: true }, work: RUNNING }],
    ['that nobody has looked at yet', { ask: CANCEL }],
    ['that runs too long', { work: RUNNING, now: 606 }],
    ['that does not start', { work: { at: 'queued', message: '' }, now: 301 }],
    ['again, when it still runs after half a minute', { ask: CANCEL, work: RUNNING, memory: { tornDownAt: ms(70) } }],
  ])('%s', (_, how) => {
    expect(decided(how)).toMatchObject(STOPS);
  });

  test('and waits for the vendor to say that it has ended', () => {
    expect(decided({ ask: CANCEL, work: RUNNING, memory: { tornDownAt: ms(90) } })).toMatchObject({
      do: 'writeStatus',
      situation: { is: 'stopping' },
    });
  });

  test('and waits no longer than a minute after the vendor’s own deadline', () => {
    expect(decided({ ask: CANCEL, work: RUNNING, now: 960 })).toMatchObject(STOPS);
    expect(decided({ ask: CANCEL, work: RUNNING, now: 961 })).toMatchObject(ends('Cancelled'));
  });
});

describe('an end', () => {
  test.each<[string, Case, object]>([
    ['that the vendor reports is the run’s', { work: CANCELLED, stored: true }, ends('VendorCancelled')],
    ['that was our own doing is called so', { ask: CANCEL, work: CANCELLED, stored: true }, ends('Cancelled')],
    [
      'in success stays one, though it was to be cancelled',
      { ask: CANCEL, work: SUCCEEDED, stored: true },
      ends('Completed'),
    ],
    ['is not the last word before the store was asked', { work: SUCCEEDED, loaded: false }, { do: 'loadResults' }],
    ['is not the last word before its results are copied', { work: SUCCEEDED }, { do: 'collect', externalId: 'w' }],
    [
      'whose results cannot be copied now waits',
      { work: SUCCEEDED, memory: failing(2, 95) },
      { do: 'writeStatus', situation: { is: 'collecting' } },
    ],
    ['whose results cannot be copied is tried again', { work: SUCCEEDED, memory: failing(0, 95) }, { do: 'collect' }],
    [
      'whose results cannot be copied in the time to upload is one without',
      { work: SUCCEEDED, memory: failing(5, 40) },
      ends('Completed'),
    ],
    ['of work that is gone is a loss', { work: { at: 'gone' } }, ends('WorkLost')],
    [
      'of work that is gone, and was to be stopped, is no loss',
      { ask: CANCEL, work: { at: 'gone' } },
      ends('Cancelled'),
    ],
  ])('%s', (_, how, expected) => {
    expect(decided(how)).toMatchObject(expected);
  });
});

test('work that could not be looked at until after the vendor’s own deadline is over for want of a key', () => {
  const patient = { timeouts: { runSeconds: 6000, startupSeconds: 6000, uploadSeconds: 60 } };
  expect(decided({ ask: patient, ready: false, now: 960 })).toMatchObject({ do: 'writeStatus' });
  expect(decided({ ask: patient, ready: false, now: 961 })).toMatchObject(ends('CredentialsRefused'));
  expect(decided({ ask: patient, now: 961 })).toMatchObject({ do: 'writeStatus' });
});
