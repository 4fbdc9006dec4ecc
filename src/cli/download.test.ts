import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { KubeClient } from '../kube/client.ts';
import type { ArtifactItem } from '../results/api/protocol.ts';
import { download } from './download.ts';
import type { Session } from './session.ts';

const BYTES = Buffer.from('0123456789abcdefghij');
const digest = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const item: ArtifactItem = {
  name: 'a',
  rank: 0,
  state: 'Stored',
  commit: false,
  sizeBytes: BYTES.length,
  sha256: digest(BYTES),
};
const run = { namespace: 'n', name: 'r' };

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'worldflux-download-'));
});
afterEach(() => {
  rmSync(dir, { recursive: true });
});

/** One answer: `bytes` from `from` on, and then either the end or a lost connection. */
interface Scripted {
  from: number;
  to: number;
  and: 'end' | 'lost';
  bytes?: Buffer;
  /** As servers do that know no ranges. */
  ignoresRange?: boolean;
}

function sessionOf(...script: Scripted[]): { session: Session; asked: (string | undefined)[] } {
  const asked: (string | undefined)[] = [];
  const open: KubeClient['open'] = async (_path, { headers }) => {
    asked.push(headers?.['range']);
    const next = script.shift();
    if (next === undefined) throw new Error('connection refused');
    const { from, to, and, bytes = BYTES, ignoresRange = false } = next;
    const body = Readable.from(
      (async function* () {
        if (to > from) yield bytes.subarray(from, to);
        if (and === 'lost') throw new Error('connection reset');
      })(),
      { objectMode: false },
    );
    return { status: from > 0 && !ignoresRange ? 206 : 200, headers: { 'content-type': 'video/mp4' }, body };
  };
  const session = { client: { open } as KubeClient, signal: new AbortController().signal } as Session;
  return { session, asked };
}

test('goes on where it was cut off', async () => {
  const { session, asked } = sessionOf(
    { from: 0, to: 7, and: 'lost' },
    { from: 7, to: 12, and: 'lost' },
    { from: 12, to: 20, and: 'end' },
  );
  const file = join(dir, 'a');
  expect(await download(session, run, item, file)).toBe(digest(BYTES));
  expect(asked).toEqual([undefined, 'bytes=7-', 'bytes=12-']);
  expect(readFileSync(file)).toEqual(BYTES);
});

test('begins anew where the server knows no ranges', async () => {
  const { session } = sessionOf({ from: 0, to: 7, and: 'lost' }, { from: 0, to: 20, and: 'end', ignoresRange: true });
  const file = join(dir, 'a');
  expect(await download(session, run, item, file)).toBe(digest(BYTES));
  expect(readFileSync(file)).toEqual(BYTES);
});

const other = Buffer.from('0123456789XXXXXXXXXX');
test.each<[string, Scripted[], string]>([
  ['holds other bytes', [{ from: 0, to: 20, and: 'end', bytes: other }], 'notVerified'],
  [
    'changes between two parts',
    [
      { from: 0, to: 7, and: 'lost' },
      { from: 7, to: 20, and: 'end', bytes: other },
    ],
    'notVerified',
  ],
  [
    'is shorter than recorded',
    [
      { from: 0, to: 7, and: 'end' },
      { from: 7, to: 7, and: 'end' },
    ],
    'notVerified',
  ],
  ['is longer than recorded', [{ from: 0, to: 21, and: 'end', bytes: Buffer.alloc(21) }], 'notVerified'],
])('an artifact that %s leaves no file', async (_, script, code) => {
  const { session } = sessionOf(...script);
  await expect(download(session, run, item, join(dir, 'a'))).rejects.toMatchObject({ code });
  expect(readdirSync(dir)).toEqual([]);
});

test('gives up where nothing comes any more', async () => {
  const { session, asked } = sessionOf({ from: 0, to: 7, and: 'lost' });
  await expect(download(session, run, item, join(dir, 'a'))).rejects.toThrow('connection refused');
  expect(asked).toEqual([undefined, ...Array<string>(4).fill('bytes=7-')]);
  expect(readdirSync(dir)).toEqual([]);
});

test('an empty artifact is a file without bytes', async () => {
  const empty = { ...item, sizeBytes: 0, sha256: digest(Buffer.alloc(0)) };
  const { session } = sessionOf();
  await download(session, run, empty, join(dir, 'a'));
  expect(readFileSync(join(dir, 'a'))).toEqual(Buffer.alloc(0));
});
