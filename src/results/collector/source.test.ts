import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import * as fc from 'fast-check';
import { extract } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { partSize } from '../keys.ts';
import { planArtifact, type ArtifactLimits, type PlannedArtifact } from './artifact.ts';
import { OutputTree } from './output-tree.ts';
import { digest } from './source.ts';
import { tarHeader } from './tar.ts';

const run = promisify(execFile);
const LIMITS: ArtifactLimits = {
  maxArtifactBytes: 2 ** 33,
  reserved: ['metrics.json', 'metrics.jsonl', 'progress.json'],
};
const signal = new AbortController().signal;
const sha256 = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex');

let folder: string;
let tree: OutputTree;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'worldflux-output-'));
  tree = await OutputTree.open(folder);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function write(path: string, content: string | Buffer): Promise<void> {
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await writeFile(join(folder, path), content);
}

async function plan(path: string, limits = LIMITS): Promise<PlannedArtifact> {
  const planned = await planArtifact(tree, { name: 'x', path, commit: false }, limits);
  if ('state' in planned) throw new Error(`${planned.state}: ${planned.message}`);
  return planned;
}

async function bytesOf({ source }: PlannedArtifact, from = 0, to = source.size): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of source.read(from, to)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe('a folder as one tar', () => {
  it('is read well by GNU tar and by tar-stream', async () => {
    const long = `${'d'.repeat(90)}/${'e'.repeat(120)}/ünïcode ☃.txt`;
    await write('a/b.txt', 'hello');
    await write('a/empty', '');
    await write('a/block', Buffer.alloc(512, 1));
    await write(`a/${long}`, 'deep');
    await write('a/run.sh', '#!/bin/sh');
    await chmod(join(folder, 'a/run.sh'), 0o755);
    await symlink('b.txt', join(folder, 'a/link'));
    const bytes = await bytesOf(await plan('a'));

    const names: string[] = [];
    const reader = extract();
    reader.on('entry', ({ name }, stream, next) => {
      names.push(name);
      stream.on('end', next).resume();
    });
    const done = new Promise<void>((resolve, reject) => reader.on('finish', () => resolve()).on('error', reject));
    reader.end(bytes);
    await done;
    expect(names).toEqual(['a/b.txt', 'a/block', `a/${long}`, 'a/empty', 'a/link', 'a/run.sh']);

    const out = await mkdtemp(join(tmpdir(), 'worldflux-untar-'));
    await writeFile(join(out, 'x.tar'), bytes);
    await run('tar', ['xf', 'x.tar'], { cwd: out });
    expect(await readFile(join(out, 'a/b.txt'), 'utf8')).toBe('hello');
    expect(await readFile(join(out, `a/${long}`), 'utf8')).toBe('deep');
    expect(await readlink(join(out, 'a/link'))).toBe('b.txt');
    expect((await stat(join(out, 'a/run.sh'))).mode & 0o111).not.toBe(0);
    await rm(out, { recursive: true });
  });

  it('says the size of a file of more than 8 GiB', () => {
    const header = tarHeader({ path: 'big', size: 2 ** 33, executable: false });
    expect(header.length).toBe(3 * 512);
    expect(header.toString('latin1', 512, 540)).toContain('size=8589934592\n');
  });

  it('is the same for the same files, whenever and by whomever they were written', async () => {
    await write('a/x', '1');
    await write('a/y', '2');
    const first = await plan('a');
    const before = await digest(first.source, first.entries, signal);
    await utimes(join(folder, 'a/x'), 0, 0);
    await chmod(join(folder, 'a/y'), 0o600);
    const second = await plan('a');
    expect(await digest(second.source, second.entries, signal)).toEqual(before);
    expect(second.signature).not.toBe(first.signature);
    const expected = sha256(`${sha256('1')} 1 a/x\n${sha256('2')} 1 a/y\n`);
    expect(before.treeDigest).toBe(`sha256:${expected}`);
  });

  it('can be read from any place', async () => {
    await write('a/one', Buffer.alloc(700, 1));
    await write('a/two', '');
    await write('a/three', Buffer.alloc(513, 3));
    const planned = await plan('a');
    const whole = await bytesOf(planned);
    expect(whole.length).toBe(planned.source.size);
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: whole.length }), fc.nat({ max: whole.length }), async (a, b) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)];
        expect((await bytesOf(planned, from, to)).equals(whole.subarray(from, to))).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  it('of ten thousand small files is one archive with their tree’s digest', async () => {
    for (let i = 0; i < 10_000; i++) {
      if (i % 1000 === 0) await mkdir(join(folder, `many/${i / 1000}`), { recursive: true });
      await writeFile(join(folder, `many/${Math.floor(i / 1000)}/${i}`), String(i));
    }
    const planned = await plan('many');
    expect(planned.entries).toHaveLength(10_000);
    const { treeDigest } = await digest(planned.source, planned.entries, signal);
    const paths = Array.from({ length: 10_000 }, (_, i) => `many/${Math.floor(i / 1000)}/${i}`).toSorted();
    const lines = paths.map((path) => {
      const content = path.split('/').at(-1) ?? '';
      return `${sha256(content)} ${content.length} ${path}\n`;
    });
    expect(treeDigest).toBe(`sha256:${sha256(lines.join(''))}`);
  });

  it('has digests of its parts where it needs several', async () => {
    await write('big', '');
    await truncate(join(folder, 'big'), 130 * 2 ** 20);
    const planned = await plan('big');
    const { partSha256, sha256: whole } = await digest(planned.source, planned.entries, signal);
    const part = sha256(Buffer.alloc(partSize(planned.source.size)));
    expect(partSha256).toEqual([part, part, sha256(Buffer.alloc(2 * 2 ** 20))]);
    expect(whole).toBe(sha256(Buffer.alloc(130 * 2 ** 20)));
  });
});

describe('what is taken', () => {
  it('a pattern, in the order of the paths', async () => {
    for (const path of ['ckpt/1/a.pt', 'ckpt/2/a.pt', 'ckpt/2/a.txt', 'ckpt/.tmp/a.pt']) await write(path, path);
    expect((await plan('ckpt/**/*.pt')).entries?.map(({ path }) => path)).toEqual(['ckpt/1/a.pt', 'ckpt/2/a.pt']);
  });

  it('everything but metrics, series, progress and markers', async () => {
    for (const path of [
      'metrics.json',
      'metrics.jsonl',
      'progress.json',
      '.final/x',
      'a',
      'logs/b',
      'sub/metrics.json',
    ])
      await write(path, path);
    expect((await plan('.')).entries?.map(({ path }) => path)).toEqual(['a', 'logs/b', 'sub/metrics.json']);
  });

  it('a single file with its type, also through a link inside of the folder', async () => {
    await write('ckpt/1/rollout.mp4', 'video');
    await symlink('1', join(folder, 'ckpt/latest'));
    const planned = await plan('ckpt/latest/rollout.mp4');
    expect(planned).toMatchObject({ contentType: 'video/mp4', extension: 'mp4', entries: undefined });
    expect((await bytesOf(planned)).toString()).toBe('video');
  });
});

async function outcome(path: string, limits = LIMITS) {
  const planned = await planArtifact(tree, { name: 'x', path, commit: true }, limits);
  return { state: 'state' in planned ? planned.state : 'planned', message: planned.message };
}

describe('what is refused', () => {
  it('paths and links that lead out, with words', async () => {
    await write('a', 'x');
    await symlink('/etc/passwd', join(folder, 'passwd'));
    await symlink('..', join(folder, 'up'));
    await symlink('loop', join(folder, 'loop'));
    expect(await outcome('../x')).toEqual({ state: 'Refused', message: 'must stay below the output folder' });
    expect(await outcome('a/../../x')).toMatchObject({ state: 'Refused' });
    expect(await outcome('/etc/passwd')).toMatchObject({ state: 'Refused' });
    expect(await outcome('passwd')).toEqual({
      state: 'Refused',
      message: 'is a link that leads out of the output folder',
    });
    expect(await outcome('up/x')).toMatchObject({ state: expect.stringMatching(/Refused|Missing/) as string });
    expect(await outcome('up/*')).toMatchObject({ state: 'Refused' });
    expect(await outcome('loop')).toMatchObject({ state: 'Refused' });
    expect(await outcome('none')).toEqual({ state: 'Missing', message: 'nothing is there' });
    expect(await outcome('none/*')).toEqual({ state: 'Missing', message: 'nothing is there' });
  });

  it('links out, sockets and pipes in a folder, by name; the rest is taken', async () => {
    await write('d/a', 'x');
    await symlink('/etc/passwd', join(folder, 'd/out'));
    await symlink('../../x', join(folder, 'd/up'));
    await run('mkfifo', [join(folder, 'd/pipe')]);
    const planned = await plan('d');
    expect(planned.entries?.map(({ path }) => path)).toEqual(['d/a']);
    expect(planned.message).toBe(
      'left out: d/out (a link out of the output folder), d/pipe (no file), d/up (a link out of the output folder)',
    );
    expect(await outcome('d/pipe')).toEqual({ state: 'Refused', message: 'is a pipe, not a file' });
  });

  it('what is over the limit, before a byte is read', async () => {
    await write('big', '');
    await truncate(join(folder, 'big'), 2 ** 40);
    expect(await outcome('big')).toEqual({
      state: 'Refused',
      message: 'holds 1099511627776 bytes, the limit is 8589934592',
    });
  });
});

describe('a hostile neighbour', () => {
  it('who puts a link in the place of a folder gets nothing read', async () => {
    const outside = await mkdtemp(join(tmpdir(), 'worldflux-outside-'));
    await writeFile(join(outside, 'token'), 'secret');
    await write('d/token', 'mine');
    const planned = await plan('d');
    await rm(join(folder, 'd'), { recursive: true });
    await symlink(outside, join(folder, 'd'));
    await expect(bytesOf(planned)).rejects.toMatchObject({ name: 'OutputError', kind: 'changed' });
    await expect(tree.openFile('d/token')).rejects.toMatchObject({ kind: 'outside' });
    await expect(readdir(outside)).resolves.toEqual(['token']);
    await rm(outside, { recursive: true });
  });

  it('who shortens a file while it is read makes the artifact fail', async () => {
    await write('a', Buffer.alloc(1000));
    const planned = await plan('a');
    await truncate(join(folder, 'a'), 10);
    await expect(bytesOf(planned)).rejects.toMatchObject({ kind: 'changed' });
  });

  it('who leaves a pipe does not make the collector wait', async () => {
    await run('mkfifo', [join(folder, 'metrics.json')]);
    await expect(tree.readFile('metrics.json', 100)).rejects.toMatchObject({ kind: 'special' });
  });
});
