import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ANNOTATIONS, inputDigest } from '../../../src/controller/identity.ts';
import { WORLD_RUNS } from '../../../src/controller/run/view.ts';
import { makeProviderEvent } from '../../../src/telemetry/provider-event.ts';
import { getRecord, putRecord } from '../../../src/results/records.ts';
import { fileStore, s3Store } from '../results/stores.ts';
import type { StoreUnderTest } from '../results/store-conformance.ts';
import { cliOf, type Cli } from './cli-process.ts';
import { createRun, finishRun, idOf, writeStatus } from './finished-run.ts';
import { Served, type Person } from './served.ts';

/** `kubectl worldflux` on a real API server, by a user with the rights of a namespace's editor. */

const VIDEO = randomBytes(3_000_000);
const EVENT = {
  event_type: 'provider_event',
  at: '2026-11-20T10:15:00.000Z',
  ...makeProviderEvent({
    provider: 'replicate',
    operation: 'prediction create',
    phase: 'failure',
    statusCode: 422,
    durationMs: 81.6,
    message: 'no such\nversion',
    runId: '20261120T101500Z-1a2b3c4d',
  }),
};
const sha256 = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'worldflux-cli-'));
  return () => rm(folder, { recursive: true });
});

describe.each([
  ['files', fileStore],
  ['S3', s3Store],
])('results in a store of %s', (_, openStore) => {
  let under: StoreUnderTest;
  let served: Served;
  let namespace: string;
  let person: Person;
  let cli: Cli;
  const here = (...argv: string[]): string[] => [...argv, '-n', namespace];

  beforeAll(async () => {
    under = await openStore();
    served = await Served.start(under.store);
    namespace = await served.namespace();
    person = await served.reader('edith', namespace);
    await served.admin.kubectl('create', 'rolebinding', 'edit', '-n', namespace, '--clusterrole=edit', '--user=edith');
    await served.admin.kubectl(
      'create',
      'role',
      'runs',
      '-n',
      namespace,
      '--verb=get,list,create,patch',
      '--resource=worldruns.worldflux.ai',
    );
    await served.admin.kubectl('create', 'rolebinding', 'runs', '-n', namespace, '--role=runs', '--user=edith');
    cli = cliOf(person.kubeconfig);
    const ref = { namespace, name: 'done' };
    const left = { log: 'one\ntwo\n', artifacts: { 'video.mp4': VIDEO }, metrics: { loss: 0.1 }, events: [EVENT] };
    await finishRun(served.client, under.store, await createRun(served.client, ref), left);
  });
  afterAll(async () => {
    await served?.stop();
    await under?.stop();
  });

  test('the log of a run whose pod is gone is printed as it was stored', async () => {
    expect(await cli(...here('logs', 'done'))).toEqual({ code: 0, out: 'one\ntwo\n', err: '' });
    expect(await cli(...here('logs', '-f', 'done'))).toEqual({ code: 0, out: 'one\ntwo\n', err: '' });
    expect(await cli.json('Log', ...here('logs', 'done'))).toEqual({
      namespace,
      name: 'done',
      source: 'store',
      text: 'one\ntwo\n',
    });
  });

  test('the manifest is printed once its digest is right', async () => {
    const { manifest, digest } = await cli.json('Manifest', ...here('manifest', 'done'));
    expect(manifest).toMatchObject({ metrics: { loss: 0.1 } });
    const run = await served.client.get(WORLD_RUNS, { namespace, name: 'done' });
    expect(digest).toBe(run.status?.manifestDigest);
    expect(JSON.parse((await cli(...here('manifest', 'done'))).out)).toEqual(manifest);
  });

  test('its calls to vendors are listed as they were recorded', async () => {
    const { items } = await cli.json('EventList', ...here('events', 'done'));
    expect(items).toEqual([EVENT]);
    const { out } = await cli(...here('events', 'done'));
    expect(out.split('\n')[1]).toMatch(
      /^2026-11-20T10:15:00.000Z +replicate +prediction create +failure +1\/1 +422 +82 +no such version$/,
    );
    await createRun(served.client, { namespace, name: 'calls-nobody' });
    expect((await cli(...here('events', 'calls-nobody'))).out).toMatch(/^no call .* stored every five minutes\n$/);
  });

  test('a manifest that is not the recorded one is not printed', async () => {
    const ref = { namespace, name: 'changed' };
    const metrics = Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`m${i}`, i]));
    const run = await finishRun(served.client, under.store, await createRun(served.client, ref), { metrics });
    expect((await cli.json('Manifest', ...here('manifest', 'changed'))).manifest).toMatchObject({ metrics });
    const record = await getRecord(under.store, idOf({ namespace, uid: run.metadata?.uid ?? '' }));
    await putRecord(under.store, { ...record!, manifest: { ...record!.manifest!, metrics: { ...metrics, m0: 1 } } });
    const { message, exitCode } = await cli.error('notVerified', ...here('manifest', 'changed'));
    expect({ message, exitCode }).toEqual({
      message: expect.stringContaining('its status recorded sha256:'),
      exitCode: 6,
    });
  });

  test('artifacts are listed, downloaded and checked', async () => {
    const { items } = await cli.json('ArtifactList', ...here('artifacts', 'list', 'done'));
    expect(items).toEqual([
      expect.objectContaining({ name: 'video', state: 'Stored', sizeBytes: VIDEO.length, sha256: sha256(VIDEO) }),
    ]);
    const got = await cli.json('ArtifactFile', ...here('artifacts', 'get', 'done', 'video', '-o', folder));
    expect(got).toMatchObject({ file: join(folder, 'video.mp4'), sha256: sha256(VIDEO) });
    expect(sha256(await readFile(got.file))).toBe(sha256(VIDEO));
    // What is there is not overwritten.
    expect(await cli.error('wrongState', ...here('artifacts', 'get', 'done', 'video', '-o', folder))).toMatchObject({
      exitCode: 7,
    });
    expect(await cli.error('notFound', ...here('artifacts', 'get', 'done', 'audio'))).toMatchObject({
      exitCode: 3,
      next: `kubectl worldflux artifacts list done -n ${namespace}`,
    });
  });

  test('bytes that are not the recorded ones are not kept', async () => {
    const ref = { namespace, name: 'corrupt' };
    const left = { artifacts: { 'a.bin': Buffer.from('right') } };
    const run = await finishRun(served.client, under.store, await createRun(served.client, ref), left);
    const path = run.status!.artifacts![0]!.path;
    await under.store.replace(path, Buffer.from('wrong'), 'application/octet-stream');
    const { message, exitCode } = await cli.error(
      'notVerified',
      ...here('artifacts', 'get', 'corrupt', 'a', '-o', folder),
    );
    expect({ message, exitCode }).toEqual({ message: expect.stringContaining('not the recorded'), exitCode: 6 });
    expect(await readdir(folder)).toEqual([]);
  });

  test('runs are listed and shown', async () => {
    const { items } = await cli.json('RunList', ...here('runs', 'list'));
    expect(items).toContainEqual(
      expect.objectContaining({ name: 'done', phase: 'Succeeded', reason: 'Completed', durationSeconds: 0.5 }),
    );
    expect(await cli.json('Run', ...here('runs', 'show', 'done'))).toMatchObject({
      metrics: { loss: 0.1 },
      artifactCount: 1,
    });
    const { out } = await cli(...here('runs', 'list'));
    expect(out).toMatch(/^NAME +PHASE/);
    expect((await cli(...here('runs', 'show', 'done'))).out).toContain('loss=0.1');
  });
});

describe('a run', () => {
  let under: StoreUnderTest;
  let served: Served;
  let namespace: string;
  let cli: Cli;
  const here = (...argv: string[]): string[] => [...argv, '-n', namespace];

  beforeAll(async () => {
    under = await fileStore();
    served = await Served.start(under.store);
    namespace = await served.namespace();
    cli = cliOf(served.admin.kubeconfig);
  });
  afterAll(async () => {
    await served?.stop();
    await under?.stop();
  });

  test('is cancelled once, and not any more when it has ended', async () => {
    const ref = { namespace, name: 'long' };
    const run = await createRun(served.client, ref);
    expect(await cli.json('Cancel', ...here('cancel', 'long'))).toEqual({ ...ref, changed: true });
    expect(await cli.json('Cancel', ...here('cancel', 'long'))).toEqual({ ...ref, changed: false });
    const { metadata, spec } = await served.client.get(WORLD_RUNS, ref);
    expect(spec.cancel).toBe(true);
    // Flux takes back what was changed by whoever is called kubectl-something.
    expect(metadata?.managedFields?.map(({ manager }) => manager)).toContain('worldflux-cli');
    await finishRun(served.client, under.store, run, {});
    expect(await cli.error('wrongState', ...here('cancel', 'long'))).toMatchObject({ exitCode: 7 });
  });

  test('that has ended is retried under a new name each time, from the same spec', async () => {
    const ref = { namespace, name: 'tried' };
    const spec = { runKey: 'k', env: [{ name: 'SEED', value: '7' }], cancel: true };
    expect(await cli.error('notFound', ...here('retry', 'tried'))).toMatchObject({ exitCode: 3 });
    const run = await createRun(served.client, ref, spec);
    expect((await cli.error('wrongState', ...here('retry', 'tried'))).next).toContain('cancel tried');
    const done = await finishRun(served.client, under.store, run, {});
    const made = await cli.json('Retry', ...here('retry', 'tried'));
    expect(made).toEqual({ namespace, name: 'tried-retry-1', of: 'tried' });
    const again = await served.client.get(WORLD_RUNS, made);
    // Cancelled was the old one; and a record of the same runKey is not to be adopted in place of a new execution.
    expect(again.spec.cancel ?? false).toBe(false);
    expect(again.spec).toMatchObject({ runKey: 'k', env: spec.env });
    expect(again.metadata?.annotations).toEqual({ 'worldflux.ai/rerun': done.status?.runId });
    expect((await cli.json('Retry', ...here('retry', 'tried'))).name).toBe('tried-retry-2');
    expect((await cli.json('Retry', ...here('retry', 'tried', '--name', 'mine'))).name).toBe('mine');
    expect((await cli.error('usage', ...here('retry', 'tried', '--name', 'Not_A_Name'))).message).toContain('RFC 1123');
    expect((await cli.error('wrongState', ...here('retry', 'tried', '--name', 'mine'))).next).toContain(
      '--name NEW-NAME',
    );
  });

  test('that has ended is asked to be synced', async () => {
    const ref = { namespace, name: 'sent' };
    const run = await createRun(served.client, ref);
    expect(await cli.error('wrongState', ...here('sync', 'sent'))).toMatchObject({ exitCode: 7 });
    const done = await finishRun(served.client, under.store, run, {});
    expect((await cli.error('wrongState', ...here('sync', 'sent'))).message).toMatch(/sent nowhere/);
    const synced = {
      type: 'Synced',
      status: 'False' as const,
      reason: 'AwaitingRequest',
      message: 'The mode is Manual.',
    };
    const conditions = [...done.status!.conditions!, { ...synced, lastTransitionTime: new Date().toISOString() }];
    await writeStatus(served.client, done, { ...done.status!, conditions });
    expect((await cli(...here('runs', 'show', 'sent'))).out).toMatch(/^Sync +AwaitingRequest: The mode is Manual\.$/m);
    const { request } = await cli.json('Sync', ...here('sync', 'sent'));
    const { metadata } = await served.client.get(WORLD_RUNS, ref);
    expect(metadata?.annotations).toMatchObject({ 'worldflux.ai/sync': request });
  });

  test('that waits for an approval gets it, of its spec and in the name of its giver', async () => {
    const ref = { namespace, name: 'costly' };
    const run = await createRun(served.client, ref);
    expect((await cli.error('wrongState', ...here('approve', 'costly'))).message).toBe(
      'costly does not wait for an approval: it is Pending (Pending)',
    );
    const ready = { type: 'Ready', status: 'False' as const, reason: 'AwaitingApproval', message: '' };
    const conditions = [{ ...ready, lastTransitionTime: new Date().toISOString() }];
    await writeStatus(served.client, run, { epoch: 1, phase: 'Suspended', conditions });
    const { specDigest, approvedBy } = await cli.json('Approval', ...here('approve', 'costly'));
    const { metadata, spec } = await served.client.get(WORLD_RUNS, ref);
    expect(metadata?.annotations).toEqual({ [ANNOTATIONS.approve]: specDigest, [ANNOTATIONS.approvedBy]: approvedBy });
    expect(metadata?.managedFields?.map(({ manager }) => manager)).toContain('worldflux-cli');
    expect(specDigest).toBe(inputDigest(spec));
    expect(JSON.parse(await served.admin.kubectl('auth', 'whoami', '-o', 'json'))).toMatchObject({
      status: { userInfo: { username: approvedBy } },
    });
  });

  test('that has no log yet is said to have none, with the command that waits for it', async () => {
    await createRun(served.client, { namespace, name: 'waiting' });
    const { message, next } = await cli.error('wrongState', ...here('logs', 'waiting'));
    expect(message).toBe('waiting has no log yet: it is Pending');
    expect(next).toBe(`kubectl worldflux logs -f waiting -n ${namespace}`);
    expect(await cli.error('wrongState', ...here('manifest', 'waiting'))).toMatchObject({
      message: expect.stringContaining('no manifest yet'),
    });
    expect(await cli.error('usage', ...here('logs', '-f', 'waiting'))).toMatchObject({ exitCode: 2 });
    expect(await cli.error('wrongState', ...here('artifacts', 'get', 'waiting', 'x'))).toMatchObject({
      message: 'waiting goes on: what it leaves is known at its end',
    });
  });

  test('of somebody else is refused as kubectl refuses it', async () => {
    await createRun(served.client, { namespace, name: 'theirs' });
    const stranger = cliOf((await served.reader('stefan', await served.namespace())).kubeconfig);
    expect((await stranger.json('Doctor', 'doctor')).checks).toContainEqual({
      check: 'rights',
      level: 'info',
      message: expect.stringContaining('you may use no RuntimeProfile'),
    });
    expect(await stranger.error('forbidden', ...here('runs', 'show', 'theirs'))).toMatchObject({
      exitCode: 4,
      next: 'kubectl worldflux doctor',
    });
  });

  test('can start where the doctor finds nothing wrong, and what it finds is said', async () => {
    const profile = {
      apiVersion: 'worldflux.ai/v1alpha1',
      kind: 'RuntimeProfile',
      metadata: { name: `cli-${namespace}` },
      spec: {
        runtime: 'local',
        local: { image: 'busybox' },
        providerEnv: [{ name: 'HF_TOKEN', secretKeyRef: { name: 'absent', key: 'token' } }],
      },
    };
    const before = await cli.json('Doctor', 'doctor');
    expect(before.checks).toContainEqual(expect.objectContaining({ check: 'results', level: 'ok' }));
    expect(before.checks).toContainEqual({
      check: 'rights',
      level: 'ok',
      message: 'you may read stored logs in default',
    });
    await served.cluster.kubectl(['apply', '-f', '-'], { input: stringify(profile) });
    try {
      const wide = await cli.json('Doctor', 'doctor');
      expect(wide.runtimes.map(({ name }) => name).toSorted()).toEqual(['genie', 'local', 'mock', 'replicate']);
      const narrow = await cli.json('Doctor', 'doctor', '--registered-only', '--capability', 'generate');
      expect(narrow.runtimes).toEqual([
        {
          name: 'local',
          capabilities: null,
          profiles: [{ name: profile.metadata.name, ready: false, degraded: false, reason: '' }],
        },
      ]);
      expect(narrow.healthy).toBe(false);
      expect(narrow.checks).toContainEqual({
        check: 'capability',
        level: 'error',
        message: 'no profile that is ready can generate: kubectl worldflux runtime list',
      });
      // A Secret that runs need is looked for by name, and never read.
      expect(narrow.checks).toContainEqual({
        check: 'secrets',
        level: 'info',
        message: `Secret default/absent (HF_TOKEN of profile ${profile.metadata.name}) is missing; runs that need it wait with SecretMissing`,
      });
      expect(narrow.checks).toContainEqual(expect.objectContaining({ check: 'gateway', level: 'info' }));
      const { items } = await cli.json('RuntimeList', 'runtime', 'list');
      expect(items).toContainEqual(
        expect.objectContaining({ name: profile.metadata.name, runtime: 'local', ready: false }),
      );
      // Nobody has looked at the profile here: it is not ready, and that is an error.
      expect(await cli('runtime', 'doctor', profile.metadata.name)).toMatchObject({
        code: 6,
        out: expect.stringContaining('not ready'),
      });
      expect((await cli.json('RuntimeDoctor', 'runtime', 'doctor', profile.metadata.name)).healthy).toBe(false);
      expect(await cli.error('notFound', 'runtime', 'doctor', 'nobody')).toMatchObject({
        next: 'kubectl worldflux runtime list',
      });
    } finally {
      await served.cluster.kubectl(['delete', 'runtimeprofile', profile.metadata.name]);
    }
  });
});

test('a cluster that is not there is unreachable, and the exit code says so', async () => {
  const file = join(folder, 'config');
  const config = {
    'current-context': 'c',
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
    clusters: [{ name: 'c', cluster: { server: 'https://127.0.0.1:1' } }],
    users: [{ name: 'u', user: { token: 't' } }],
  };
  await writeFile(file, stringify(config));
  expect(await cliOf(file).error('unreachable', 'runs', 'list')).toMatchObject({
    exitCode: 5,
    next: 'kubectl cluster-info',
  });
});
