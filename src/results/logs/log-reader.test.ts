import { Readable } from 'node:stream';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { fingerprint } from '../../telemetry/fingerprints.ts';
import { kubeError } from '../../kube/errors.ts';
import { ResultsHub } from '../hub.ts';
import { logSegmentPrefix } from '../keys.ts';
import { FileStore } from '../store/files.ts';
import { LogCapture, type TrackedPod } from './log-capture.ts';
import { LogReader } from './log-reader.ts';
import { LogText } from './log-text.ts';
import { KubeletLog } from './testing/kubelet-log.ts';

const ATTEMPT = { clientRunId: '4f9c1f0e-7c1c-4e43-9a9e-0d9d5b8f9a11', runUid: 'uid-1', attempt: 1 };
const POD: TrackedPod = { namespace: 'team-a', name: 'pod', uid: 'p1', container: 'user', rank: 0, secrets: false };
const signal = new AbortController().signal;

let folder: string;
let store: FileStore;
let hub: ResultsHub;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'worldflux-log-'));
  store = await FileStore.open({ folder, installationId: 'test' });
  hub = new ResultsHub(store);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function stored(path: string): Promise<Buffer> {
  const object = await store.get(path);
  const chunks: Buffer[] = [];
  for await (const chunk of await object!.open()) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function readerWith(limit = 64 * 2 ** 20): { reader: LogReader; text: LogText; done(): Promise<string> } {
  const text = new LogText(store, ATTEMPT, 0, limit);
  const reader = new LogReader(text, undefined, undefined, undefined);
  const done = async (): Promise<string> => {
    reader.drain();
    return (await stored((await text.finish(signal)).path)).toString('latin1');
  };
  return { reader, text, done };
}

describe('reading one log again and again', () => {
  it('takes every line once, wherever the reads and their chunks end', async () => {
    const line = fc.string({
      unit: fc.constantFrom('a', 'b', ' ', 'é', '2026-01-01T00:00:00.000000000Z'),
      maxLength: 40,
    });
    const step = fc.oneof(
      fc.record({
        do: fc.constant('write' as const),
        lines: fc.array(line, { maxLength: 6 }),
        sameMoment: fc.boolean(),
      }),
      fc.record({ do: fc.constant('lateLine' as const) }),
      fc.record({
        do: fc.constant('read' as const),
        limit: fc.option(fc.integer({ min: 1, max: 400 }), { nil: undefined }),
      }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), fc.integer({ min: 1, max: 50 }), async (steps, chunk) => {
        await store.remove(`${ATTEMPT.clientRunId}/`);
        const log = new KubeletLog();
        const { reader, done } = readerWith();
        for (const one of steps) {
          if (one.do === 'write') log.write(one.lines, one.sameMoment);
          else if (one.do === 'lateLine') log.writeLate('late');
          else await reader.read(log.open(reader.since, one.limit, chunk), false, signal);
        }
        await reader.read(log.open(reader.since, undefined, chunk), true, signal);
        expect(await done()).toBe(log.text('latin1'));
        expect(reader.gaps).toBe(0);
      }),
      { numRuns: 200 },
    );
  });

  it('marks what was rotated away, with the times around it', async () => {
    const log = new KubeletLog();
    const { reader, done } = readerWith();
    log.write(['one', 'two']);
    await reader.read(log.open(reader.since), false, signal);
    const before = log.now;
    log.write(['lost']);
    log.rotate();
    log.write(['three']);
    await reader.read(log.open(reader.since), true, signal);
    expect(await done()).toBe(`one\ntwo\n--- gap: log between ${before} and ${log.now} was rotated away ---\nthree\n`);
    expect(reader.gaps).toBe(1);
  });

  it('sees no gap where a rotated file was read to its end', async () => {
    const log = new KubeletLog();
    const { reader, done } = readerWith();
    log.write(['one']);
    await reader.read(log.open(reader.since), false, signal);
    await reader.read(log.open(reader.since), true, signal);
    expect(await done()).toBe('one\n');
    expect(reader.gaps).toBe(0);
  });

  it('keeps bytes that are no text, and a line without an end', async () => {
    const log = new KubeletLog();
    const { reader, done } = readerWith();
    const bytes = Buffer.from([0x00, 0xff, 0xc3, 0x28, 0x80]);
    log.writeBytes(bytes);
    log.write(['x']);
    log.writePartial('no end');
    await reader.read(log.open(reader.since), false, signal);
    await reader.read(log.open(reader.since), true, signal);
    expect(await done()).toBe(`${bytes.toString('latin1')}\nx\nno end`);
  });

  it('keeps the head and the newest part of a log over its limit, and says how much is missing', async () => {
    const { reader, done } = readerWith(8 * 2 ** 20);
    const total = 40 * 2 ** 20;
    const line = 'y'.repeat(1000);
    async function* lines(): AsyncGenerator<Buffer> {
      for (let i = 0; i * 1000 < total; i++) {
        const at = new Date(Date.UTC(2026, 0, 1) + i).toISOString().replace('Z', '000000Z');
        yield Buffer.from(`${at} ${i} ${line}\n`);
      }
    }
    await reader.read(Readable.from(lines()), true, signal);
    const text = await done();
    expect(text.length).toBeLessThan(13 * 2 ** 20);
    expect(text.startsWith('0 y')).toBe(true);
    expect(text.trimEnd().split('\n').at(-1)).toMatch(/^41943 y+$/);
    const [, left] = /--- (\d+) bytes were left out here: the log is over its limit of 8 MiB ---/.exec(text) ?? [];
    expect(Number(left) + text.length).toBeGreaterThan(total);
    const segments: string[] = [];
    for await (const { key } of store.list(logSegmentPrefix(ATTEMPT, 0))) segments.push(key);
    expect(segments).toEqual([]);
  });

  it('takes a single line of many megabytes', async () => {
    const { reader, done } = readerWith();
    const pieces = Array.from({ length: 100 }, () => Buffer.alloc(100_000, 0x7a));
    await reader.read(Readable.from([Buffer.from('2026-01-01T00:00:00.000000000Z '), ...pieces]), true, signal);
    expect((await done()).length).toBe(10_000_000);
  });

  it('goes on where an operator before it stopped', async () => {
    const log = new KubeletLog();
    const first = readerWith();
    log.write(['one', 'two'], true);
    await first.reader.read(log.open(first.reader.since), false, signal);
    await first.reader.flush(signal);
    log.write(['three']);
    const text = new LogText(store, ATTEMPT, 0, 64 * 2 ** 20);
    const second = new LogReader(text, undefined, undefined, await text.recover(signal));
    await second.read(log.open(second.since), true, signal);
    second.drain();
    expect((await stored((await text.finish(signal)).path)).toString()).toBe('one\ntwo\nthree\n');
    expect(second.gaps).toBe(0);
  });

  it('judges by the speed of a log whether its beginning is lost', async () => {
    const fast = Array.from({ length: 3000 }, (_, i) => {
      const at = new Date(Date.UTC(2026, 0, 1, 0, 10) + i).toISOString().replace('Z', '000000Z');
      return Buffer.from(`${at} ${'x'.repeat(200)}\n`);
    });
    const lost = new LogReader(new LogText(store, ATTEMPT, 0, 1), undefined, '2026-01-01T00:00:00Z', undefined);
    await lost.read(Readable.from(fast), false, signal);
    expect(lost.headLost).toBe(true);
    const whole = new LogReader(new LogText(store, ATTEMPT, 0, 1), undefined, '2026-01-01T00:09:59Z', undefined);
    await whole.read(Readable.from(fast), false, signal);
    expect(whole.headLost).toBe(false);
  });
});

describe('capturing logs of pods', () => {
  const captured: LogCapture[] = [];
  afterEach(async () => {
    for (const capture of captured.splice(0)) await capture.close();
  });

  function capture(log: KubeletLog, over: Partial<ConstructorParameters<typeof LogCapture>[0]> = {}): LogCapture {
    const made = new LogCapture({
      store,
      hub,
      readLog: async ({ sinceTime, limitBytes }) => log.open(sinceTime, limitBytes),
      ...over,
    });
    captured.push(made);
    return made;
  }

  it('stores log and record at the end, and answers a second call the same', async () => {
    const log = new KubeletLog();
    log.write(['hello', 'password=hunter2']);
    const logs = capture(log);
    logs.track(ATTEMPT, POD);
    const [first, second] = await Promise.all([logs.finish(ATTEMPT, 0), logs.finish(ATTEMPT, 0)]);
    expect(first).toEqual(second);
    expect(first).toMatchObject({ bytes: 26, complete: true, headLost: false, gaps: 0, redacted: 1 });
    expect((await stored(first.path)).toString()).toBe('hello\npassword=[redacted]\n');
    expect(hub.get(ATTEMPT).logs.get(0)).toEqual(first);
    const again = new ResultsHub(store);
    expect((await again.load(ATTEMPT, 1)).logs.get(0)).toEqual(first);
  });

  it('keeps nothing of a log whose secrets it cannot recognise', async () => {
    const log = new KubeletLog();
    log.write(['my secret is tea-for-two']);
    const logs = capture(log);
    logs.track(ATTEMPT, { ...POD, secrets: true });
    const record = await logs.finish(ATTEMPT, 0);
    expect(record.complete).toBe(false);
    expect((await stored(record.path)).toString()).not.toContain('tea');
  });

  it('takes out the values that the collector’s fingerprints tell', async () => {
    const log = new KubeletLog();
    log.write(['my secret is tea-for-two']);
    const logs = capture(log);
    logs.track(ATTEMPT, { ...POD, secrets: true });
    hub.setFingerprints(ATTEMPT, 0, fingerprint([Buffer.from('tea-for-two')]));
    const { path } = await logs.finish(ATTEMPT, 0);
    expect((await stored(path)).toString()).toBe('my secret is [redacted]\n');
  });

  it('says that a log is not complete when its pod is gone', async () => {
    const gone = kubeError({ kind: 'notFound' }, 'pods "pod" not found', { request: 'GET log', status: 404 });
    const logs = capture(new KubeletLog(), { readLog: () => Promise.reject(gone) });
    logs.track(ATTEMPT, POD);
    expect(await logs.finish(ATTEMPT, 0)).toMatchObject({ bytes: 0, complete: false });
  });

  it('says that a log is not complete when the kubelet cannot read it', async () => {
    const logs = capture(new KubeletLog(), {
      readLog: async () => Readable.from([Buffer.from('unable to retrieve container logs for containerd://1')]),
    });
    logs.track(ATTEMPT, POD);
    expect(await logs.finish(ATTEMPT, 0)).toMatchObject({ bytes: 0, complete: false });
  });

  it('begins a broken read again and loses nothing', async () => {
    const log = new KubeletLog();
    log.write(Array.from({ length: 100 }, (_, i) => `line ${i}`));
    let reads = 0;
    const logs = capture(log, {
      readLog: async ({ sinceTime }) => {
        reads += 1;
        if (reads > 1) return log.open(sinceTime);
        return Readable.from(
          (async function* () {
            yield (await log.open(undefined).toArray())[0].subarray(0, 500);
            throw new Error('the connection was reset');
          })(),
        );
      },
    });
    logs.track(ATTEMPT, POD);
    const { path, complete } = await logs.finish(ATTEMPT, 0);
    expect((await stored(path)).toString()).toBe(log.text());
    expect(complete).toBe(true);
  });

  it('reads a live log in time, so that what the kubelet rotates away is kept', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    onTestFinished(() => void vi.useRealTimers());
    const log = new KubeletLog();
    const asked: (number | undefined)[] = [];
    let answered: () => void = () => undefined;
    const logs = capture(log, {
      readLog: async ({ sinceTime, limitBytes }) => {
        asked.push(limitBytes);
        const stream = log.open(sinceTime, limitBytes);
        stream.once('close', () => answered());
        return stream;
      },
    });
    const read = (): Promise<void> =>
      new Promise((resolve) => {
        answered = resolve;
      });
    log.write(['one']);
    logs.track(ATTEMPT, POD);
    vi.advanceTimersByTime(60_000);
    expect(asked).toEqual([]);
    logs.track(ATTEMPT, { ...POD, startedAt: '2026-01-01T00:00:00Z' });
    const first = read();
    vi.advanceTimersByTime(1_000);
    await first;
    log.rotate();
    log.write(['two']);
    const { path } = await logs.finish(ATTEMPT, 0);
    expect(asked).toEqual([8 * 2 ** 20, undefined]);
    expect((await stored(path)).toString()).toMatch(/^one\n--- gap: .* ---\ntwo\n$/);
  });

  it('finishes many logs, a few at a time', async () => {
    const log = new KubeletLog();
    log.write(['x']);
    let [open, most] = [0, 0];
    const logs = capture(log, {
      readLog: async () => {
        open += 1;
        most = Math.max(most, open);
        const stream = log.open();
        stream.once('close', () => (open -= 1));
        return stream;
      },
    });
    const ranks = Array.from({ length: 60 }, (_, rank) => rank);
    for (const rank of ranks) logs.track(ATTEMPT, { ...POD, uid: `p${rank}`, rank });
    const records = await Promise.all(ranks.map((rank) => logs.finish(ATTEMPT, rank)));
    expect(records.every(({ complete }) => complete)).toBe(true);
    expect(most).toBeLessThanOrEqual(16);
  });

  it('drops what it has of a run', async () => {
    const logs = capture(new KubeletLog());
    logs.track(ATTEMPT, POD);
    logs.drop(ATTEMPT.clientRunId);
    await expect(logs.finish(ATTEMPT, 0)).rejects.toThrow('not tracked');
  });

  it('holds little of a log of 1 GB in memory', { timeout: 300_000 }, async () => {
    const total = 2 ** 30;
    const block = Buffer.from(
      Array.from(
        { length: 600 },
        (_, i) => `2026-01-01T00:00:00.${String(i).padStart(9, '0')}Z step ${i} loss 0.123456 lr 3e-4\n`,
      ).join(''),
    );
    async function* huge(): AsyncGenerator<Buffer> {
      for (let sent = 0; sent < total; sent += block.length) yield block;
    }
    const logs = capture(new KubeletLog(), {
      readLog: async () => Readable.from(huge(), { highWaterMark: 1 }),
      limitBytes: 16 * 2 ** 20,
    });
    logs.track(ATTEMPT, POD);
    let peak = 0;
    const before = process.memoryUsage().rss;
    const timer = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss - before)), 50);
    const record = await logs.finish(ATTEMPT, 0);
    clearInterval(timer);
    expect(record.complete).toBe(false);
    expect(record.bytes).toBeLessThan(21 * 2 ** 20);
    expect(peak).toBeLessThan(200 * 2 ** 20);
  });
});
