import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { afterEach, expect, it } from 'vitest';
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
afterEach(async () => {
  await fake?.close();
  await rm(folder, { recursive: true, force: true });
});

/** A file with holes: bytes that need no disk, but are read, hashed and sent like any others. */
async function storeZeros(size: number): Promise<string> {
  const hash = createHash('sha256');
  const zeros = Buffer.alloc(4 * 1024 * 1024);
  for (let left = size; left > 0; left -= zeros.length) hash.update(zeros.subarray(0, Math.min(left, zeros.length)));
  const sha256 = hash.digest('hex');
  const path = join(folder, 'v1', INSTALLATION, 'objects', artifactKey(attempt, 0, sha256, 'model.bin'));
  await mkdir(dirname(path), { recursive: true });
  const file = await open(path, 'w');
  await file.truncate(size);
  await file.close();
  return sha256;
}

/** In one file, as the operator is shipped: loading TypeScript takes tens of megabytes of its own. */
async function bundledProbe(): Promise<string> {
  const outfile = join(folder, 'probe.mjs');
  const js = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";
  await build({
    entryPoints: [join(import.meta.dirname, 'sync', 'stream-probe.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    banner: { js },
    logLevel: 'error',
  });
  return outfile;
}

it('streams 5 GB from the run store to the upload host in at most 100 MB of memory', async () => {
  folder = await mkdtemp(join(tmpdir(), 'stream-'));
  fake = await startWorldFlux();
  const sizeBytes = 5 * GB;
  const sha256 = await storeZeros(sizeBytes);
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
    folder,
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
  const { stdout } = await promisify(execFile)(process.execPath, [await bundledProbe(), JSON.stringify(task)]);
  const figures = JSON.parse(stdout) as StreamFigures;
  console.log(
    `5 GB: ${figures.seconds.toFixed(1)} s, ${(5000 / figures.seconds).toFixed(0)} MB/s, at most ${(figures.maxRssMiB * 1.048576).toFixed(0)} MB resident`,
  );
  expect(figures.state).toBe('Committed');
  expect([...fake.state.artifacts.values()]).toMatchObject([
    { state: 'committed', received: { size: sizeBytes, sha256 } },
  ]);
  expect(figures.maxRssMiB * 1.048576).toBeLessThanOrEqual(100);
}, 300_000);
