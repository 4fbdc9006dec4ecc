import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { artifactKey } from '../../src/results/keys.ts';
import {
  startWorldFlux,
  TEST_KEY,
  TEST_PROJECT,
  TEST_WORKSPACE,
  type FakeWorldFlux,
} from '../fakes/worldflux/server.ts';
import type { StreamFigures, StreamTask } from './sync/stream-probe.ts';

const GB = 1_000_000_000;
const INSTALLATION = '6ba7b810-9dad-11d1-80b4-00c04fd430c8';
const attempt = {
  clientRunId: 'd9b1d7db-4c5e-5c6f-8f0a-1b2c3d4e5f60',
  runUid: 'a9b1d7db-4c5e-5c6f-8f0a-1b2c3d4e5f61',
  attempt: 1,
};

let folder = '';
let fake: FakeWorldFlux | undefined;
let bucket: Server | undefined;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stream-'));
});
afterEach(async () => {
  await fake?.close();
  bucket?.close();
  await rm(folder, { recursive: true, force: true });
});

function zerosDigest(size: number): string {
  const hash = createHash('sha256');
  const zeros = Buffer.alloc(4 * 1024 * 1024);
  for (let left = size; left > 0; left -= zeros.length) hash.update(zeros.subarray(0, Math.min(left, zeros.length)));
  return hash.digest('hex');
}

/** A file with holes: bytes that need no disk, but are read, hashed and sent like any others. */
async function storeZeros(size: number): Promise<string> {
  const sha256 = zerosDigest(size);
  const path = join(folder, 'v1', INSTALLATION, 'objects', artifactKey(attempt, 0, sha256, 'model.bin'));
  await mkdir(dirname(path), { recursive: true });
  const file = await open(path, 'w');
  await file.truncate(size);
  await file.close();
  return sha256;
}

/** Bundled, as the operator is shipped: loading TypeScript takes tens of megabytes of its own. */
async function bundledProbe(): Promise<string> {
  const outdir = join(folder, 'probe');
  const js = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";
  await build({
    entryPoints: [join(import.meta.dirname, 'sync', 'stream-probe.ts')],
    outdir,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    // What only one of the stores needs is loaded for that one.
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    banner: { js },
    logLevel: 'error',
  });
  return join(outdir, 'stream-probe.mjs');
}

const megabytes = (mebibytes: number): number => Math.round(mebibytes * 1.048576);

async function stream(
  sizeBytes: number,
  sha256: string,
  store: StreamTask['store'],
  env: NodeJS.ProcessEnv = {},
): Promise<StreamFigures> {
  fake = await startWorldFlux();
  const { run } = fake.state.postRun(TEST_WORKSPACE, {
    client_run_id: attempt.clientRunId,
    project: TEST_PROJECT,
    manifest: { client_run_id: attempt.clientRunId },
  });
  const task: StreamTask = {
    baseURL: fake.url,
    key: TEST_KEY,
    project: TEST_PROJECT,
    cloudRunId: run.id,
    store,
    installationId: INSTALLATION,
    attempt,
    artifact: {
      name: 'model',
      path: 'model.bin',
      rank: null,
      sizeBytes,
      sha256,
      contentType: 'application/octet-stream',
      log: false,
      state: 'Pending',
    },
  };
  const { stdout } = await promisify(execFile)(process.execPath, [await bundledProbe(), JSON.stringify(task)], {
    env: { ...process.env, ...env },
  });
  const figures = JSON.parse(stdout) as StreamFigures;
  console.log(
    `${sizeBytes / GB} GB: ${figures.seconds.toFixed(1)} s, ${(sizeBytes / 1e6 / figures.seconds).toFixed(0)} MB/s, at most ${megabytes(figures.maxRssMiB)} MB resident, ${megabytes(figures.loadedRssMiB)} of them before the first byte`,
  );
  expect(figures.state).toBe('Committed');
  expect([...fake.state.artifacts.values()]).toMatchObject([
    { state: 'committed', received: { size: sizeBytes, sha256 } },
  ]);
  return figures;
}

/** A bucket that holds one object, of zeros: a real one would need its gigabytes. */
async function bucketOfZeros(size: number, sha256: string): Promise<string> {
  const zeros = Buffer.alloc(64 * 1024);
  const key = `v1/${INSTALLATION}/${artifactKey(attempt, 0, sha256, 'model.bin')}`;
  const list = `<ListBucketResult><Contents><Key>${key}</Key><Size>${size}</Size></Contents></ListBucketResult>`;
  bucket = createServer((request, response) => {
    if (request.url?.includes('list-type=2') === true) return void response.end(list);
    response.writeHead(200, { 'content-length': size, 'content-type': 'application/octet-stream' });
    if (request.method === 'HEAD') return void response.end();
    const body = Readable.from(
      (function* () {
        for (let left = size; left > 0; left -= zeros.length) yield zeros.subarray(0, Math.min(left, zeros.length));
      })(),
    );
    body.pipe(response);
  });
  bucket.listen(0, '127.0.0.1');
  await once(bucket, 'listening');
  return `http://127.0.0.1:${(bucket.address() as AddressInfo).port}`;
}

it('streams 5 GB from a folder to the upload host in 40 MB beside its code', async () => {
  const size = 5 * GB;
  const sha256 = await storeZeros(size);
  const { maxRssMiB, loadedRssMiB } = await stream(size, sha256, { folder });
  expect(megabytes(maxRssMiB - loadedRssMiB)).toBeLessThanOrEqual(40);
}, 300_000);

it('streams 2 GB from a bucket in at most 130 MB: the code of the S3 client is there before the first byte', async () => {
  const size = 2 * GB;
  const sha256 = zerosDigest(size);
  const store = { endpoint: await bucketOfZeros(size, sha256), bucket: 'results' };
  const keys = { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test' };
  const { maxRssMiB } = await stream(size, sha256, store, keys);
  expect(maxRssMiB * 1.048576).toBeLessThanOrEqual(130);
}, 300_000);
