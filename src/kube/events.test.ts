import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { errorFromAnswer } from './errors.ts';
import { EventRecorder } from './events.ts';
import type { EventRecorderOptions, Happening } from './events.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

interface Sent {
  created: { note?: string; reason?: string; metadata?: { namespace?: string; name?: string } }[];
  patched: { name: string; series: { count: number; lastObservedTime: string } }[];
}

function setUp(fail?: () => void) {
  const sent: Sent = { created: [], patched: [] };
  const errors: unknown[] = [];
  const client = {
    create: async (_: unknown, event: Sent['created'][number]) => {
      fail?.();
      const number = sent.created.push(event);
      return { metadata: { namespace: event.metadata?.namespace, name: `e${number}` } };
    },
    patch: async (
      _: unknown,
      ref: { name: string },
      patch: { merge: { series: Sent['patched'][number]['series'] } },
    ) => {
      sent.patched.push({ name: ref.name, series: patch.merge.series });
    },
  } as unknown as EventRecorderOptions['client'];
  const recorder = new EventRecorder({
    client,
    controller: 'worldflux.ai/operator',
    instance: 'pod-1',
    redact: (note) => note.replaceAll('hunter2', '[redacted]'),
    onError: (error) => errors.push(error),
  });
  onTestFinished(() => recorder.stop(AbortSignal.abort()));
  return { recorder, sent, errors };
}

const happening = (more: Partial<Happening> = {}): Happening => ({
  type: 'Warning',
  reason: 'NodeLost',
  action: 'Retry',
  note: 'the node went away',
  regarding: { kind: 'WorldRun', namespace: 'team-a', name: 'train', uid: 'u1' },
  ...more,
});
const pass = (seconds: number) => vi.advanceTimersByTimeAsync(seconds * 1000);

test('an event is written with what the server requires', async () => {
  vi.setSystemTime('2026-11-20T10:15:00.261Z');
  const { recorder, sent } = setUp();
  recorder.record(happening());
  await pass(0);
  expect(sent.created).toEqual([
    {
      metadata: { namespace: 'team-a', name: expect.stringMatching(/^train\.[0-9a-f]{16}$/) },
      eventTime: '2026-11-20T10:15:00.261000Z',
      reportingController: 'worldflux.ai/operator',
      reportingInstance: 'pod-1',
      type: 'Warning',
      reason: 'NodeLost',
      action: 'Retry',
      note: 'the node went away',
      regarding: { kind: 'WorldRun', namespace: 'team-a', name: 'train', uid: 'u1' },
    },
  ]);
});

test('the same event again raises the count of one series, with few writes', async () => {
  const { recorder, sent } = setUp();
  for (let i = 0; i < 100; i++) {
    recorder.record(happening());
    await pass(0.5);
  }
  await pass(60);
  expect(sent.created).toHaveLength(1);
  expect(sent.patched.length).toBeLessThanOrEqual(3);
  expect(sent.patched.at(-1)).toMatchObject({ name: 'e1', series: { count: 100 } });
  expect(recorder.dropped).toBe(0);
});

test('one noisy object is held back, and others are still heard', async () => {
  const { recorder, sent } = setUp();
  for (let i = 0; i < 40; i++) recorder.record(happening({ note: `note ${i}` }));
  recorder.record(happening({ regarding: { name: 'other', namespace: 'team-a', uid: 'u2' } }));
  await pass(1);
  expect(sent.created).toHaveLength(26);
  expect(recorder.dropped).toBe(15);
});

test('too many objects at once are held back too', async () => {
  const { recorder, sent } = setUp();
  for (let i = 0; i < 5000; i++)
    recorder.record(happening({ regarding: { name: `r${i}`, namespace: 'n', uid: `u${i}` } }));
  await pass(1);
  expect(sent.created.length + recorder.dropped).toBe(5000);
  expect(sent.created.length).toBeLessThanOrEqual(60);
});

test('a write that fails is reported, dropped and counted, never thrown', async () => {
  const { recorder, errors } = setUp(() => {
    throw errorFromAnswer('POST events', 403, '');
  });
  recorder.record(happening());
  await pass(600);
  expect(errors).toMatchObject([{ kind: 'forbidden' }]);
  expect(recorder.dropped).toBe(1);
});

test('a long note is cut between characters', async () => {
  const { recorder, sent } = setUp();
  recorder.record(happening({ note: 'ä'.repeat(1000) }));
  await pass(0);
  const { note = '' } = sent.created[0]!;
  expect(Buffer.byteLength(note)).toBeLessThanOrEqual(1024);
  expect(note).toBe(`${'ä'.repeat(510)}…`);
});

test('secrets are taken out of a note before it is cut: half of one would pass for none', async () => {
  const { recorder, sent } = setUp();
  recorder.record(happening({ note: `${'x'.repeat(1017)}hunter2` }));
  await pass(0);
  expect(sent.created[0]!.note).not.toContain('hunt');
});

test('an event about something without a namespace goes to the default one', async () => {
  const { recorder, sent } = setUp();
  recorder.record(happening({ regarding: { kind: 'RuntimeProfile', name: 'gpu', uid: 'p1' } }));
  await pass(0);
  expect(sent.created[0]!.metadata?.namespace).toBe('default');
});

test('stop writes what is due', async () => {
  const { recorder, sent } = setUp();
  recorder.record(happening());
  const stopped = recorder.stop(new AbortController().signal);
  await pass(0);
  await stopped;
  recorder.record(happening({ note: 'too late' }));
  await pass(60);
  expect(sent.created).toHaveLength(1);
});
