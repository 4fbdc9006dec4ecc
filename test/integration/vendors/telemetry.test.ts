import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest';
import type { RuntimeProfile } from '../../../src/controller/run/view.ts';
import { SECRETS } from '../../../src/kube/resource.ts';
import type { ProviderEvent } from '../../../src/telemetry/provider-event.ts';
import { startOtlpReceiver } from '../../../src/telemetry/testing/otlp-receiver.ts';
import { attachCluster } from '../../cluster/index.ts';
import { condition, Kit } from '../../e2e/kit.ts';
import { freePort, startOperator, type OperatorProcess } from '../../e2e/operator-process.ts';
import { startReplicate, TOKEN, VERSION, type FakeReplicate } from '../../fakes/replicate/server.ts';
import { temporaryFolder } from '../../temporary-folder.ts';
import { installCrds } from '../install-crds.ts';
import { readExposition } from '../monitoring/exposition.ts';

/** What is told of the calls to a vendor, and what follows from them: the real operator, a stand-in for Replicate. */

const dir = await temporaryFolder('vendor-telemetry');
const OPERATOR = 'vendor-telemetry-operator';
let kit: Kit;
let vendor: FakeReplicate;
let operator: OperatorProcess;
let receiver: Awaited<ReturnType<typeof startOtlpReceiver>>;

beforeAll(async () => {
  const cluster = await attachCluster(inject('cluster'));
  if (cluster === undefined) throw new Error('the layer has no cluster');
  await installCrds(cluster);
  kit = await Kit.open(cluster, 'vendor-telemetry');
  await kit.ensureNamespace(OPERATOR);
  vendor = await startReplicate({
    behaviour: { runMs: 300, output: [{ $file: 'rollout.mp4', type: 'video/mp4', text: 'frames' }] },
  });
  await kit.client.create(SECRETS, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: 'replicate',
      namespace: OPERATOR,
      labels: { 'worldflux.ai/credential-for': 'replicate' },
      annotations: { 'worldflux.ai/allowed-hosts': new URL(vendor.url).hostname },
    },
    data: { REPLICATE_API_TOKEN: Buffer.from(TOKEN).toString('base64') },
  });
  await kit.apply({
    apiVersion: 'worldflux.ai/v1alpha1',
    kind: 'RuntimeProfile',
    metadata: { name: 'telemetry-paid' },
    spec: {
      runtime: 'replicate',
      replicate: { endpoint: vendor.url, version: VERSION },
      supportLevel: 'Production',
      credentials: { secretRef: { name: 'replicate' } },
      allowedNamespaces: {},
      network: { allowPlainHTTP: true, allowPrivateEndpoints: true },
      pricing: { usdPerSecond: '0.001' },
      limits: { maxCostUSDPerRun: '100', maxRunSeconds: 3600, maxConcurrentRuns: 100 },
    },
  });
  receiver = await startOtlpReceiver();
  operator = await startOperator({
    cluster,
    dir,
    gatewayPort: await freePort(),
    namespace: OPERATOR,
    args: ['--log-level', 'debug', '--otlp-endpoint', receiver.url],
  });
});

afterAll(async () => {
  await operator?.stop();
  receiver?.close();
  await vendor?.close();
  await kit?.cluster.kubectl(['delete', 'runtimeprofile', 'telemetry-paid', '--ignore-not-found']);
  await kit?.cluster.kubectl(['delete', 'namespace', OPERATOR, '--wait=false']);
  await kit?.close();
});

const asking = (name: string): object =>
  kit.run(name, {
    runtimeProfileRef: { name: 'telemetry-paid' },
    request: { capability: 'generate', prompt: `a robot does ${name}` },
    timeouts: { runSeconds: 600, startupSeconds: 300, uploadSeconds: 60 },
  });

type Line = ProviderEvent & { event_type: string; profile?: string };
const parsed = (text: string): Line[] =>
  text.split('\n').flatMap((line) => (line.includes('"provider_event"') ? [JSON.parse(line) as Line] : []));

async function storedEvents(runUid: string): Promise<Line[]> {
  const files = await readdir(operator.storeDir, { recursive: true });
  const file = files.find((path) => path.endsWith(`${runUid}/provider-events.jsonl`));
  expect(file, 'the run’s events are in the store').toBeDefined();
  return parsed(await readFile(join(operator.storeDir, file!), 'utf8'));
}

test('a run’s calls are in its store, in the log, in the metrics and in spans, with what it asked for and without the key', async () => {
  await kit.apply(asking('told'));
  const run = await kit.finished('told', 60);
  expect(run.status).toMatchObject({ phase: 'Succeeded' });
  const lines = await vi.waitFor(() => storedEvents(run.metadata!.uid!), { timeout: 40_000, interval: 500 });
  expect(new Set(lines.map((line) => line.run_id))).toEqual(new Set([run.status!.runId]));
  expect(lines.find(({ operation }) => operation === 'prediction create')).toMatchObject({
    provider: 'replicate',
    phase: 'success',
    attempt: 1,
    method: 'POST',
    status_code: 201,
    target: `${vendor.url}/predictions`,
    metadata: { capability: 'generate' },
  });
  expect(lines.map(({ operation }) => operation)).toContain('output download');

  const logged = parsed(operator.log()).filter(({ run_id: id }) => id === run.status!.runId);
  expect(logged.map(({ operation }) => operation)).toEqual(lines.map(({ operation }) => operation));
  expect(new Set(logged.map(({ profile }) => profile))).toEqual(new Set(['telemetry-paid']));
  await vi.waitFor(
    () =>
      expect(receiver.spans.map(({ name }) => name)).toContain('worldforge.provider.replicate.output download.success'),
    { timeout: 20_000, interval: 500 },
  );
  const create = receiver.spans.find(({ name }) => name === 'worldforge.provider.replicate.prediction create.success');
  const download = receiver.spans.find(({ name }) => name === 'worldforge.provider.replicate.output download.success');
  expect(create?.traceId).toBe(download?.traceId);

  expect(operator.log() + JSON.stringify([lines, receiver.spans])).not.toContain(TOKEN);

  const families = readExposition(await (await fetch(`${operator.metricsUrl}/metrics`)).text());
  const created = families
    .get('worldforge_provider_operations_total')
    ?.samples.find(({ labels }) => labels['operation'] === 'prediction create');
  expect(created).toMatchObject({
    labels: { provider: 'replicate', phase: 'success', status_class: '2xx', capability: 'generate' },
    value: 1,
  });
  expect(families.get('worldrun_attempts_total')?.samples).toContainEqual(
    expect.objectContaining({ labels: { runtime: 'replicate', reason: 'Completed' }, value: 1 }),
  );
});

test('a vendor that fails again and again makes its profile Degraded: new runs wait, the one under way goes on, and it clears by itself', async () => {
  vendor.state.behaviour = { ...vendor.state.behaviour, runMs: 600_000 };
  await kit.apply(asking('under-way'));
  await kit.until('under-way', (run) => condition(run, 'Ready')?.reason === 'Running', 60);
  for (const on of ['list', 'get'] as const)
    vendor.faults.add({ on, times: 10_000, answer: { status: 503, body: {} } });
  const isDegraded = ({ status }: RuntimeProfile) =>
    status?.conditions?.some((c) => c.type === 'Degraded' && c.status === 'True') ?? false;
  const profile = await kit.untilProfile('telemetry-paid', isDegraded, 90);
  const said = profile.status!.conditions!.find(({ type }) => type === 'Degraded')!;
  expect(said).toMatchObject({ reason: 'CallsFail', message: expect.stringContaining('calls to replicate failed') });
  expect(await (await fetch(`${operator.metricsUrl}/readyz/telemetry-paid`)).json()).toMatchObject({
    status: 'provider_unhealthy',
    traffic: 'drain',
  });

  const creates = vendor.requests('create').length;
  await kit.apply(asking('late'));
  const late = await kit.until('late', (run) => condition(run, 'Ready')?.reason === 'ProfileDegraded', 30);
  expect(condition(late, 'Ready')?.message).toContain('calls to replicate failed');
  expect(vendor.requests('create').length).toBe(creates);
  expect(condition(await kit.get('under-way'), 'Ready')?.reason).toBe('Running');

  vendor.faults.clear();
  await kit.until('late', (run) => condition(run, 'Ready')?.reason === 'Running', 240);
}, 400_000);
