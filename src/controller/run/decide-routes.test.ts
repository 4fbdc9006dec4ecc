import { describe, expect, test } from 'vitest';
import { at, ms } from '../../runtime/local/testing/clock.ts';
import { parseUSD } from '../money.ts';
import { aProfile } from '../testing/a-profile.ts';
import { aRun } from '../testing/a-run.ts';
import { decided, type Scene } from '../testing/a-world.ts';
import { skipEntry, type Route, type Skipped } from '../admission/routing.ts';

/** Runs that name fallbacks, and runs whose place costs money. */

const away: Skipped = {
  name: 'cpu',
  readiness: 'missing-dependency',
  reason: 'ProfileNotReady',
  message: 'Profile cpu is not ready: no GPU',
};
const never: Skipped = {
  name: 'cpu',
  readiness: 'unsupported',
  reason: 'ImageMissing',
  message: 'spec.image: name one',
};
const spare = aProfile('spare');
const routed = aRun().asking({ runtimeProfileRef: { name: 'cpu' }, fallbackProfileRefs: [{ name: 'spare' }] });
const taken = (...skipped: Skipped[]): Route => ({ take: 'spare', skipped });
const scene = (more: Scene = {}): Scene => ({ run: routed, profile: spare, route: taken(away), ...more });

describe('a fallback takes the run', () => {
  test('a place is asked for with it', () => {
    expect(decided(scene({ reservation: 'none' }))).toMatchObject({ do: 'reserve', profile: 'spare' });
  });

  test('a place with the profile before it is given back first', () => {
    expect(decided(scene({ reservation: { granted: true, profile: 'cpu' } }))).toEqual({ do: 'release' });
  });

  test('a wait for the profile before it is left', () => {
    const denied = { granted: false, reason: 'ConcurrencyLimit', message: 'full', profile: 'cpu' } as const;
    expect(decided(scene({ reservation: denied }))).toMatchObject({ do: 'reserve', profile: 'spare' });
  });

  test('then it is told who was passed over, before anything is created', () => {
    expect(decided(scene({ reservation: { granted: true, profile: 'spare' }, isPinned: true, now: 5 }))).toMatchObject({
      do: 'writeStatus',
      situation: {
        is: 'waiting',
        message: expect.stringContaining('spare takes the run; cpu was passed over') as string,
      },
      attempt: {
        number: 1,
        profile: 'cpu',
        reason: 'ProfileNotReady',
        counted: false,
        finishedAt: at(5).replace('Z', '.000Z'),
      },
    });
  });

  test('the first attempt that is tried takes the next number, and its rules are asked', () => {
    const told = routed.attempt(skipEntry(away, 1, at(5)));
    expect(decided(scene({ run: told, isPinned: true, now: 6 }))).toMatchObject({ do: 'createJob', number: 2 });
    expect(decided(scene({ run: told.asking({ image: 'evil' }), reservation: 'none', now: 6 }))).toMatchObject({
      do: 'writeStatus',
      situation: { is: 'refused', reason: 'OverrideNotAllowed' },
    });
  });

  test('after an attempt that failed under the profile before, with its own profile as it is', () => {
    const failed = routed
      .attempt({ number: 1, profile: 'cpu', jobUID: 'j', startedAt: at(2), finishedAt: at(10), reason: 'NodeLost' })
      .pinnedTo('cpu', aProfile().view().digest)
      .attempt(skipEntry(away, 2, at(30)));
    const next = decided({ ...scene({ run: failed, now: 60, isPinned: true }), pinned: spare });
    expect(next).toMatchObject({ do: 'createJob', number: 3, profile: { name: 'spare' } });
  });

  test('a skip between does not shorten the pause after a failure', () => {
    const failed = routed
      .attempt({ number: 1, profile: 'cpu', jobUID: 'j', startedAt: at(2), finishedAt: at(10), reason: 'NodeLost' })
      .pinnedTo('cpu', aProfile().view().digest)
      .attempt(skipEntry(away, 2, at(11)));
    expect(decided({ ...scene({ run: failed, now: 12 }), pinned: spare })).toMatchObject({
      situation: { reason: 'WaitingForRetry' },
    });
  });
});

describe('no profile takes the run', () => {
  test('it waits for the first that may come back', () => {
    const route: Route = { take: undefined, skipped: [never, away], waitsFor: away };
    expect(decided(scene({ route, reservation: 'none' }))).toMatchObject({
      do: 'writeStatus',
      situation: { is: 'waiting', reason: 'ProfileNotReady', message: away.message },
    });
  });

  test('it is refused when none ever will', () => {
    const route: Route = {
      take: undefined,
      skipped: [never],
      refusal: { reason: 'ImageMissing', message: 'no image' },
    };
    expect(decided(scene({ route, reservation: 'none' }))).toMatchObject({
      do: 'writeStatus',
      situation: { is: 'refused', reason: 'ImageMissing' },
    });
    expect(decided(scene({ route }))).toEqual({ do: 'release' });
  });

  test('but not when something was tried already', () => {
    const route: Route = {
      take: undefined,
      skipped: [never],
      refusal: { reason: 'ImageMissing', message: 'no image' },
    };
    const run = routed
      .pinnedTo('cpu', 'sha256:a')
      .attempt({ number: 1, jobUID: 'j', finishedAt: at(1), reason: 'Evicted' });
    expect(decided(scene({ run, route, reservation: 'none', now: 100 }))).toMatchObject({
      situation: { is: 'waiting', reason: 'ProfileNotReady' },
    });
  });
});

describe('a place that costs money', () => {
  const priced = aProfile().asking({
    pricing: { usdPerNodeHour: '1' },
    limits: { maxCostUSDPerRun: '5', maxCostUSDPerNamespacePerDay: '7' },
  });
  const run = aRun().within({ startupSeconds: 1800, runSeconds: 1800 });

  test('is asked for with the most that the run can cost, and the day’s cap', () => {
    expect(decided({ run, profile: priced, reservation: 'none' })).toMatchObject({
      do: 'reserve',
      ceiling: parseUSD('1'),
      limits: { maxCostUSDPerNamespacePerDay: parseUSD('7') },
    });
  });

  test('is none until the run store knows what it may cost', () => {
    const pending = { granted: true, pending: true } as const;
    expect(decided({ run, profile: priced, reservation: pending, isPinned: true })).toMatchObject({ do: 'reserve' });
  });

  test('that the day has no room for is asked for again at midnight', () => {
    const reservation = { granted: false, reason: 'DailyCostLimit', message: 'no room', until: ms(3600) } as const;
    expect(decided({ run, profile: priced, reservation, now: 600 })).toMatchObject({
      do: 'writeStatus',
      situation: { reason: 'DailyCostLimit', message: 'no room' },
      againMs: 3_000_000,
    });
  });
});
