import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { WorldRun } from '../../../src/controller/run/view.ts';
import { attachCluster } from '../../cluster/index.ts';
import { condition, Kit } from '../../e2e/kit.ts';
import {
  freePort,
  startOperator,
  type OperatorProcess,
  type OperatorProcessOptions,
} from '../../e2e/operator-process.ts';
import { startWorldFlux, TEST_KEY, type FakeWorldFlux } from '../../fakes/worldflux/server.ts';
import { temporaryFolder } from '../../temporary-folder.ts';
import { installCrds } from '../install-crds.ts';
import { PodPlayer } from '../operator/pod-player.ts';

/** The operator as a process, a real API server, and the stand-in for WorldFlux. */

const dir = await temporaryFolder('sync');
let kit: Kit;
let pods: PodPlayer;
let fake: FakeWorldFlux;
let operator: OperatorProcess;
let settings: OperatorProcessOptions;

const secret = (value: string) => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name: 'worldflux' },
  stringData: { apiKey: value },
});
const network = { allowPlainHTTP: true, allowPrivateEndpoints: true };
const syncTo = (more: object = {}) => ({
  sync: {
    mode: 'OnCompletion',
    baseURL: fake.url,
    allowedProjects: ['demo-box'],
    apiKeySecretRef: { name: 'worldflux' },
    ...more,
  },
  network,
});

beforeAll(async () => {
  const cluster = await attachCluster(inject('cluster'));
  if (cluster === undefined) throw new Error('the layer has no cluster');
  await installCrds(cluster);
  fake = await startWorldFlux();
  kit = await Kit.open(cluster, 'sync');
  await kit.ensureNamespace('worldflux-sync');
  await kit.apply(kit.profile('sync', { image: 'busybox:1', collect: 'Disabled' }, syncTo()), secret(TEST_KEY));
  settings = { cluster, dir, gatewayPort: await freePort(), namespace: 'worldflux-sync' };
  operator = await startOperator(settings);
  pods = new PodPlayer(kit);
  await kit.untilProfile('sync', (p) => condition(p, 'Ready')?.status === 'True');
});
afterAll(async () => {
  await operator?.stop();
  await kit?.cluster.kubectl(['delete', 'runtimeprofile', 'sync', 'sync-manual', '--wait=false', '--ignore-not-found']);
  await kit?.cluster.kubectl(['delete', 'namespace', 'worldflux-sync', '--wait=false']);
  await kit?.close();
  await fake?.close();
});

const synced = (reason: string) => (run: WorldRun) => condition(run, 'Synced')?.reason === reason;

async function finish(name: string, exitCode = 0, more: object = {}, profile = 'sync'): Promise<void> {
  await kit.apply(kit.shell(name, profile, 'true', more as never));
  await pods.end(name, exitCode);
  await kit.finished(name);
}

test('a finished run arrives, and its status says so under a field manager of its own', async () => {
  await finish('arrives');
  const run = await kit.until('arrives', synced('Synced'));
  const there = [...fake.state.runs.values()].find(({ clientRunId }) => clientRunId === run.status?.clientRunId);
  expect(there).toMatchObject({ project: 'demo-box', manifest: run.status?.manifest });
  expect(run.status?.sync).toMatchObject({
    attempts: 1,
    cloudRunId: there?.id,
    manifestDigest: run.status?.manifestDigest,
  });
  expect(condition(run, 'Succeeded')?.status).toBe('True');
  const managers = run.metadata?.managedFields?.filter(({ manager }) => manager === 'worldflux-operator-sync') ?? [];
  expect(managers).toHaveLength(1);
  const owned = managers[0]?.fieldsV1 as { 'f:status': Record<string, object> };
  expect(Object.keys(owned['f:status']).toSorted()).toEqual(['f:conditions', 'f:sync']);
  expect(Object.keys(owned['f:status']['f:conditions'] ?? {})).toEqual(['k:{"type":"Synced"}']);
  const table = await kit.cluster.kubectl(['-n', kit.namespace, 'get', 'worldrun', 'arrives']);
  expect(table).toMatch(/SYNCED/);
});

test('a failed run arrives too, and its manifest says so', async () => {
  await finish('fails', 3);
  const run = await kit.until('fails', synced('Synced'));
  const there = [...fake.state.runs.values()].find(({ clientRunId }) => clientRunId === run.status?.clientRunId);
  expect(there?.manifest).toMatchObject({ status: 'failed', exit_code: 3 });
});

test('kubectl shows the verdict on the contract, and the profile stays Ready', async () => {
  const profile = await kit.untilProfile(
    'sync',
    (p) => condition(p, 'ContractVerified')?.status === 'True' && condition(p, 'SyncKeyValid')?.status === 'True',
  );
  expect(condition(profile, 'Ready')?.status).toBe('True');
  expect(await kit.cluster.kubectl(['get', 'runtimeprofile', 'sync', '-o', 'wide'])).toMatch(/CONTRACT/);
});

test('a rotated key is found by asking again, and never shown', async () => {
  fake.state.rotateKey(TEST_KEY, 'wfx_rotated_key');
  await finish('rotated');
  const refused = await kit.until('rotated', synced('KeyRefused'));
  expect(JSON.stringify(refused.status)).not.toContain(TEST_KEY);
  await kit.apply(secret('wfx_rotated_key'));
  await kit.cluster.kubectl(['-n', kit.namespace, 'annotate', 'worldrun', 'rotated', 'worldflux.ai/sync=now']);
  const run = await kit.until('rotated', synced('Synced'));
  expect(run.status?.sync?.request).toBe('now');
  expect(operator.log()).not.toContain('wfx_');
});

test('mode Manual waits for the annotation, whatever it says', async () => {
  await kit.apply(kit.profile('sync-manual', { image: 'busybox:1', collect: 'Disabled' }, syncTo({ mode: 'Manual' })));
  await kit.untilProfile('sync-manual', (p) => condition(p, 'Ready')?.status === 'True');
  await finish('manual', 0, {}, 'sync-manual');
  await kit.until('manual', synced('AwaitingRequest'));
  const request = 'please '.repeat(100);
  await kit.cluster.kubectl(['-n', kit.namespace, 'annotate', 'worldrun', 'manual', `worldflux.ai/sync=${request}`]);
  const run = await kit.until('manual', synced('Synced'));
  expect(run.status?.sync?.request).toBe(request.slice(0, 253));
});

test('a run may change its mode at any time, and its project never', async () => {
  await finish('quiet', 0, { sync: { mode: 'Disabled', project: 'demo-box' } });
  expect(condition(await kit.get('quiet'), 'Synced')).toBeUndefined();
  await expect(kit.patch('quiet', { sync: { project: 'other' } })).rejects.toThrow('spec.sync.project cannot change');
  await kit.patch('quiet', { sync: { mode: 'OnCompletion' } });
  await kit.until('quiet', synced('Synced'));
});

test.each<[string, object, object, string]>([
  ['plain HTTP without leave', { baseURL: 'http://api.example' }, {}, 'needs network.allowPlainHTTP'],
  [
    'one key for everybody',
    { apiKeySecretRef: { name: 'k', from: 'OperatorNamespace' } },
    network,
    'name them with allowedNamespaces',
  ],
  ['credentials in the URL', { baseURL: 'https://u:p@api.example' }, network, 'spec.sync.baseURL'],
  ['no project', { allowedProjects: [] }, network, 'spec.sync.allowedProjects'],
])('a profile is refused with %s', async (_, sync, rules, words) => {
  const spec = {
    sync: {
      mode: 'OnCompletion',
      baseURL: 'https://api.example',
      allowedProjects: ['p'],
      apiKeySecretRef: { name: 'k' },
      ...sync,
    },
    network: rules,
  };
  expect(await kit.refusal(kit.profile('refused', { image: 'busybox:1' }, spec))).toContain(words);
});

test('a restart writes nothing on runs that are there', async () => {
  const before = await kit.get('arrives');
  const posts = fake.traffic.of('runs').length;
  await operator.stop();
  operator = await startOperator(settings);
  await finish('after');
  await kit.until('after', synced('Synced'));
  expect((await kit.get('arrives')).metadata?.resourceVersion).toBe(before.metadata?.resourceVersion);
  expect(fake.traffic.of('runs').length).toBe(posts + 1);
  expect(fake.traffic.violations).toEqual([]);
});
