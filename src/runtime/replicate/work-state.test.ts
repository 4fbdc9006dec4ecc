import { describe, expect, test } from 'vitest';
import { prediction } from './answers.ts';
import { workState } from './work-state.ts';

const T0 = Date.parse('2026-11-20T10:00:00Z');
const at = (seconds: number) => new Date(T0 + seconds * 1000).toISOString();
const stateOf = (answer: Record<string, unknown>, credentials: Record<string, string> = {}) =>
  workState(prediction.parse({ id: 'abc', created_at: at(0), ...answer }), credentials, T0 + 60_000);

describe('a prediction that was stopped, where the vendor names no deadline', () => {
  test('was ended by it when it had not started', () => {
    expect(stateOf({ status: 'aborted', completed_at: at(50) })).toMatchObject({ reason: 'VendorDeadline' });
  });

  test('was cancelled by somebody when it had', () => {
    expect(stateOf({ status: 'canceled', completed_at: at(50) })).toMatchObject({ reason: 'VendorCancelled' });
  });
});

test.each([
  [40, 'VendorCancelled'],
  [49, 'VendorDeadline'],
  [50, 'VendorDeadline'],
  [51, 'VendorDeadline'],
])('a prediction with a deadline after 50 s that was stopped after %i s: %s', (seconds, reason) => {
  for (const status of ['canceled', 'aborted'])
    expect(stateOf({ status, completed_at: at(seconds), deadline: at(50) })).toMatchObject({ reason });
});

test('a state with a new name is not taken for an end', () => {
  expect(stateOf({ status: 'paused' })).toMatchObject({ at: 'queued' });
});

test('an end without a time is now', () => {
  expect(stateOf({ status: 'succeeded' })).toMatchObject({ finishedAt: T0 + 60_000 });
});

test.each([
  ['a string', 'out of memory', 'The prediction failed: out of memory'],
  ['an object', { code: 137 }, 'The prediction failed: {"code":137}'],
  ['nothing', null, 'The prediction failed.'],
])('what a model says when it fails may be %s', (_, error, message) => {
  expect(stateOf({ status: 'failed', error })).toMatchObject({ message });
});

test('what a model says holds no secret, be it the profile’s or one that looks like one, and is short', () => {
  const error = `opaquevalue hf_${'Q'.repeat(30)} https://x.example/a?token=abcdef&b=1 ${'long '.repeat(500)}`;
  const { message } = stateOf({ status: 'failed', error }, { REPLICATE_API_TOKEN: 'opaquevalue' }) as {
    message: string;
  };
  expect(message).not.toMatch(/opaquevalue|QQQ|abcdef|b=1/);
  expect(message).toContain('https://x.example/a ');
  expect(message.length).toBeLessThan(500);
});
