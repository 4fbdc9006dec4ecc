import { describe, expect, test } from 'vitest';
import { makeProviderEvent, type ProviderEventInput, type ProviderPhase } from './provider-event.ts';
import {
  count,
  EMPTY_WINDOW,
  judge,
  ProviderHealth,
  recover,
  settle,
  type HealthClock,
  type Judgement,
  type Window,
} from './provider-health.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;

/** `g` a call that went well, `b` one that did not, `-` one that says nothing; one second apart. */
function windowAfter(calls: string, from = 0, window: Window = EMPTY_WINDOW): Window {
  const meaning: Record<string, Judgement> = { g: 'good', b: 'bad', '-': 'neither' };
  return [...calls].reduce((w, call, i) => count(w, meaning[call]!, 'poll', from + i * SECOND), window);
}

describe('what a call says of the vendor', () => {
  test.each<[ProviderPhase, number | undefined, Judgement]>([
    ['success', 200, 'good'],
    ['failure', 500, 'bad'],
    ['failure', 503, 'bad'],
    ['failure', 429, 'bad'],
    ['failure', 401, 'bad'],
    ['failure', undefined, 'bad'],
    ['failure', 200, 'bad'],
    ['failure', 302, 'bad'],
    ['retry', 503, 'bad'],
    ['retry', undefined, 'bad'],
    ['budget_exceeded', undefined, 'bad'],
    ['failure', 400, 'neither'],
    ['failure', 404, 'neither'],
    ['failure', 422, 'neither'],
  ])('%s with %s is %s', (phase, statusCode, verdict) => {
    const event = makeProviderEvent({
      provider: 'p',
      operation: 'o',
      phase,
      ...(statusCode !== undefined && { statusCode }),
    });
    expect(judge(event)).toBe(verdict);
  });
});

describe('degraded', () => {
  test.each([
    ['nothing was called', '', false],
    ['four calls failed, which may be bad luck', 'bbbb', false],
    ['five calls failed', 'bbbbb', true],
    ['half of the calls failed', 'gbgbgb', true],
    ['less than half failed', 'ggbgbgb', false],
    ['all failures were the users’ own', '----------', false],
    ['failures of users stand between those of the vendor', 'b-b-b-b-b', true],
    ['it was, and a quarter still fails', 'bbbbbggggggg', true],
    ['it was, and almost all calls succeed again', 'bbbbbgggggggggggggggg', false],
  ])('when %s (%s): %s', (_, calls, degraded) => {
    expect(windowAfter(calls).degraded).toBe(degraded);
  });

  test('ends when the window has passed, and not before', () => {
    const bad = windowAfter('bbbbb');
    expect(settle(bad, 5 * MINUTE).degraded).toBe(true);
    expect(settle(bad, 5 * MINUTE + 11 * SECOND)).toMatchObject({ degraded: false, slices: [] });
  });

  test('ends with a health check that succeeds after a quiet minute, and not in the middle of failures', () => {
    const bad = windowAfter('bbbbb');
    expect(recover(bad, 30 * SECOND).degraded).toBe(true);
    expect(recover(bad, 65 * SECOND).degraded).toBe(false);
    const still = windowAfter('b', 50 * SECOND, bad);
    expect(recover(still, 65 * SECOND).degraded).toBe(true);
  });

  test('keeps no more than its slices, however many calls there are', () => {
    let window = EMPTY_WINDOW;
    for (let i = 0; i < 100_000; i++) window = count(window, 'bad', 'poll', i * 100);
    expect(window.slices.length).toBeLessThan(33);
  });
});

function setUp() {
  let now = 1_000_000_000;
  const timers = new Set<{ at: number; call: () => void }>();
  const clock: HealthClock = {
    now: () => now,
    after(ms, call) {
      const timer = { at: now + ms, call };
      timers.add(timer);
      return () => timers.delete(timer);
    },
  };
  const pass = (ms: number) => {
    now += ms;
    for (const timer of timers) {
      if (timer.at > now) continue;
      timers.delete(timer);
      timer.call();
    }
  };
  const health = new ProviderHealth(clock);
  const changed: string[] = [];
  health.onChange((profile) => changed.push(`${profile}: ${health.degraded(profile).reason}`));
  const see = (input: Partial<ProviderEventInput>, profile: string | null = 'p', healthCheck = false) =>
    health.accept(makeProviderEvent({ provider: 'replicate', operation: 'task poll', phase: 'success', ...input }), {
      profile: profile ?? undefined,
      healthCheck,
    });
  return { health, changed, see, pass, timers };
}

describe('a profile', () => {
  test('is told of once when it becomes degraded, with words that do not change, and once when time heals it', () => {
    const { health, changed, see, pass } = setUp();
    for (let i = 0; i < 5; i++) see({ phase: 'failure', statusCode: 503, message: 'secret words of the vendor' });
    const { message } = health.degraded('p');
    expect(message).toBe(
      '5 of the last 5 calls to replicate failed or were repeated, the last one: task poll (HTTP 503). New runs wait; this clears by itself when calls succeed, or after 5 minutes without any that fail.',
    );
    see({ phase: 'budget_exceeded' });
    expect(health.degraded('p').message).toBe(message);
    expect(changed).toEqual(['p: CallsFail']);
    pass(6 * MINUTE);
    expect(changed).toEqual(['p: CallsFail', 'p: CallsSucceed']);
    expect(health.degraded('p')).toEqual({ degraded: false, reason: 'CallsSucceed', message: '' });
  });

  test('does not suffer for another one, nor for calls that serve none', () => {
    const { health, changed, see } = setUp();
    for (let i = 0; i < 9; i++) {
      see({ phase: 'failure' }, 'other');
      see({ phase: 'failure', provider: 'worldflux' }, null);
    }
    expect(health.degraded('p').degraded).toBe(false);
    expect(changed).toEqual(['other: CallsFail']);
  });

  test('is well again with the first health check after a quiet minute', () => {
    const { health, see, pass } = setUp();
    for (let i = 0; i < 5; i++) see({ phase: 'failure' });
    see({}, 'p', true);
    expect(health.degraded('p').degraded).toBe(true);
    pass(MINUTE);
    see({}, 'p', true);
    expect(health.degraded('p').degraded).toBe(false);
  });

  test('health checks that succeed do not hide calls that fail', () => {
    const { health, see } = setUp();
    for (let i = 0; i < 5; i++) {
      see({ phase: 'failure', operation: 'prediction create' });
      for (let n = 0; n < 10; n++) see({}, 'p', true);
    }
    expect(health.degraded('p').degraded).toBe(true);
  });

  test('that nothing is called for leaves nothing behind, no timer either', () => {
    const { see, pass, timers } = setUp();
    for (let i = 0; i < 100; i++) see({}, `p${i}`);
    expect(timers.size).toBe(1);
    pass(6 * MINUTE);
    expect(timers.size).toBe(0);
  });
});
