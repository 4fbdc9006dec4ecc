import { Agent, request } from 'undici';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SECRETS } from '../../src/kube/resource.ts';
import { startReplicate, TOKEN, VERSION, type FakeReplicate } from '../fakes/replicate/server.ts';
import { fixture } from './fixture.ts';
import { condition } from './kit.ts';
import { letOperatorRead, SYSTEM } from './rights.ts';

/** Runs whose work a vendor does: a stand-in for Replicate's HTTP API, the real operator, a real cluster. */

const world = fixture('vendors', ['--orphan-age-seconds', '20']);
let vendor: FakeReplicate;
const SECRET = 'vendors-replicate';
const LATER = 'vendors-later';

beforeAll(async () => {
  vendor = await startReplicate();
  const { kit } = world;
  const { hostname } = new URL(vendor.url);
  await kit.client.create(SECRETS, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: SECRET,
      namespace: SYSTEM,
      labels: { 'worldflux.ai/credential-for': 'replicate' },
      annotations: { 'worldflux.ai/allowed-hosts': hostname },
    },
    data: { REPLICATE_API_TOKEN: Buffer.from(TOKEN).toString('base64') },
  });
  await letOperatorRead(kit.cluster, { namespace: SYSTEM, name: SECRET });
  await letOperatorRead(kit.cluster, { namespace: SYSTEM, name: LATER });
  await kit.apply(paid('vendors-paid'));
});
afterAll(async () => {
  await world.kit?.client.delete(SECRETS, { namespace: SYSTEM, name: SECRET });
  await vendor?.close();
});

function paid(name: string, more: object = {}): object {
  return {
    apiVersion: 'worldflux.ai/v1alpha1',
    kind: 'RuntimeProfile',
    metadata: { name },
    spec: {
      runtime: 'replicate',
      replicate: { endpoint: vendor.url, version: VERSION },
      supportLevel: 'Production',
      credentials: { secretRef: { name: SECRET } },
      allowedNamespaces: {},
      network: { allowPlainHTTP: true, allowPrivateEndpoints: true },
      pricing: { usdPerSecond: '0.001' },
      limits: { maxCostUSDPerRun: '100', maxRunSeconds: 3600, maxConcurrentRuns: 500 },
      requestPolicy: { health: {}, request: { timeoutSeconds: 3 }, polling: {}, download: {} },
      orphans: 'Delete',
      ...more,
    },
  };
}

const asking = (name: string, prompt: string, more: object = {}): object =>
  world.kit.run(name, {
    runtimeProfileRef: { name: 'vendors-paid' },
    request: { prompt },
    timeouts: { runSeconds: 600, startupSeconds: 300, uploadSeconds: 60 },
    ...more,
  });
const reasonIs = (reason: string) => (run: Parameters<typeof condition>[0]) =>
  condition(run, 'Ready')?.reason === reason;
const madeFor = (prompt: string) =>
  [...vendor.state.predictions.values()].filter(({ input }) => (input as { prompt?: string }).prompt === prompt);

test('is bought once, and leaves its outputs, log, metrics and manifest', async () => {
  const { kit } = world;
  vendor.state.behaviour = {
    ...vendor.state.behaviour,
    runMs: 500,
    logs: ['step 1', 'step 2'],
    output: [{ $file: 'rollout.mp4', type: 'video/mp4', text: 'frames' }],
  };
  await kit.apply(asking('bought', 'a robot folds a towel'));
  const run = await kit.finished('bought', 60);
  expect(run.status).toMatchObject({ phase: 'Succeeded', attempts: [{ number: 1, reason: 'Completed' }] });
  const [made, ...others] = madeFor('a robot folds a towel');
  expect(others).toEqual([]);
  expect(run.status!.attempts![0]!.externalId).toBe(made!.id);
  expect(condition(run, 'ResultsStored')).toMatchObject({ status: 'True' });
  expect(run.status!.artifacts).toMatchObject([{ sizeBytes: 6, state: 'Stored', contentType: 'video/mp4' }]);
  expect(run.status!.manifest).toMatchObject({
    runtime_name: 'replicate',
    status: 'succeeded',
    runtime: { kind: 'Vendor', external_id: made!.id },
    metrics: { predict_time: expect.any(Number) },
  });
  await kit.until('bought', ({ metadata }) => (metadata?.finalizers ?? []).length === 0, 30);
  expect(made!.deadline).toBeGreaterThan(made!.createdAt);
});

test('whose answer was lost is found again, and nothing is bought twice', async () => {
  const { kit } = world;
  vendor.faults.add({ on: 'create', cut: 'after' });
  await kit.apply(asking('lost-answer', 'the answer is lost'));
  await kit.until('lost-answer', reasonIs('ResolvingSubmit'), 30);
  const run = await kit.finished('lost-answer', 120);
  expect(run.status).toMatchObject({ phase: 'Succeeded' });
  expect(madeFor('the answer is lost').map(({ id }) => id)).toEqual([run.status!.attempts![0]!.externalId]);
});

test('that never reached the vendor is sent again, once that is certain', async () => {
  const { kit } = world;
  vendor.faults.add({ on: 'create', cut: 'before' });
  await kit.apply(asking('lost-request', 'the request is lost'));
  const run = await kit.finished('lost-request', 120);
  expect(run.status).toMatchObject({ phase: 'Succeeded', attemptCount: 1 });
  expect(madeFor('the request is lost')).toHaveLength(1);
});

test('that is throttled waits as long as it is told to, and says so', async () => {
  const { kit } = world;
  vendor.faults.add({ on: 'create', answer: { status: 429, headers: { 'retry-after': '4' }, body: {} } });
  await kit.apply(asking('throttled', 'too fast'));
  await kit.until('throttled', reasonIs('VendorThrottled'), 30);
  expect((await kit.finished('throttled', 60)).status).toMatchObject({ phase: 'Succeeded' });
  expect(madeFor('too fast')).toHaveLength(1);
});

test('that the vendor refuses fails with the vendor’s reason, and is not sent again', async () => {
  const { kit } = world;
  const before = vendor.requests('create').length;
  vendor.faults.add({
    on: 'create',
    answer: { status: 422, body: { title: 'Input validation failed', detail: 'seed' } },
  });
  await kit.apply(asking('refused-there', 'wrong'));
  const run = await kit.finished('refused-there', 60);
  expect(run.status).toMatchObject({ phase: 'Failed', attempts: [{ reason: 'VendorRejected' }] });
  expect(vendor.requests('create').length - before).toBe(1);
});

test('that is cancelled is stopped there, and keeps what it had', async () => {
  const { kit } = world;
  vendor.state.behaviour = { ...vendor.state.behaviour, runMs: 600_000 };
  await kit.apply(asking('cancelled', 'cancel me'));
  await kit.until('cancelled', reasonIs('Running'), 60);
  await kit.patch('cancelled', { cancel: true });
  const run = await kit.finished('cancelled', 60);
  expect(run.status).toMatchObject({ phase: 'Cancelled', attempts: [{ reason: 'Cancelled' }] });
  expect(madeFor('cancel me')[0]!.canceledAt).toBeDefined();
});

test('that is deleted goes only when its work has been stopped', async () => {
  const { kit } = world;
  await kit.apply(asking('deleted', 'delete me'));
  await kit.until('deleted', reasonIs('Running'), 60);
  await kit.cluster.kubectl(['-n', kit.namespace, 'delete', 'worldrun', 'deleted', '--timeout=60s'], {
    timeoutMs: 70_000,
  });
  expect(madeFor('delete me')[0]!.canceledAt).toBeDefined();
  vendor.state.behaviour = { ...vendor.state.behaviour, runMs: 0 };
});

test('waits for its credentials, and starts when they are there', async () => {
  const { kit } = world;
  await kit.apply(paid('vendors-keyless', { credentials: { secretRef: { name: LATER } } }));
  await kit.apply(asking('keyless', 'no key yet', { runtimeProfileRef: { name: 'vendors-keyless' } }));
  const waiting = await kit.until('keyless', (run) => /vendors-later/.test(condition(run, 'Ready')?.message ?? ''), 60);
  expect(condition(waiting, 'Admitted')).toMatchObject({ status: expect.any(String) });
  const secret = await kit.client.get(SECRETS, { namespace: SYSTEM, name: SECRET });
  const { labels, annotations } = secret.metadata!;
  await kit.client.create(SECRETS, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: LATER, namespace: SYSTEM, labels: labels!, annotations: annotations! },
    data: secret.data!,
  });
  try {
    expect((await kit.finished('keyless', 120)).status).toMatchObject({ phase: 'Succeeded' });
  } finally {
    await kit.client.delete(SECRETS, { namespace: SYSTEM, name: LATER });
  }
});

test('is looked at sooner after a notice that the vendor signed, and after no other', async () => {
  const { kit, settings } = world;
  const replicate = {
    endpoint: vendor.url,
    version: VERSION,
    webhookURL: 'https://hooks.example.com/v1/notices/noticed',
  };
  await kit.apply(paid('noticed', { replicate }));
  await kit.apply(asking('noticed', 'tell me', { runtimeProfileRef: { name: 'noticed' } }));
  const run = await kit.finished('noticed', 60);
  const id = run.status!.attempts![0]!.externalId!;
  expect(vendor.requests('create').at(-1)!.body).toMatchObject({ webhook: replicate.webhookURL });
  const { headers, body } = vendor.delivery(id);
  const agent = new Agent({ connect: { rejectUnauthorized: false } });
  const post = async (profile: string, signature = headers['webhook-signature']) => {
    const { statusCode } = await request(`https://127.0.0.1:${settings.gatewayPort}/v1/notices/${profile}`, {
      method: 'POST',
      headers: { ...headers, 'webhook-signature': signature },
      body,
      dispatcher: agent,
      signal: AbortSignal.timeout(10_000),
    });
    return statusCode;
  };
  expect(await post('noticed')).toBe(204);
  expect(await post('noticed', `v1,${Buffer.alloc(32).toString('base64')}`)).toBe(401);
  expect(await post('vendors-paid')).toBe(404);
  await agent.close();
});

test('on mock gives the same every time, and on genie is refused', async () => {
  const { kit } = world;
  const mock = { apiVersion: 'worldflux.ai/v1alpha1', kind: 'RuntimeProfile', metadata: { name: 'vendors-mock' } };
  await kit.apply(
    { ...mock, spec: { runtime: 'mock', mock: {} } },
    { ...mock, metadata: { name: 'vendors-genie' }, spec: { runtime: 'genie', genie: {} } },
  );
  const spec = { runtimeProfileRef: { name: 'vendors-mock' }, request: { capability: 'generate', prompt: 'a cube' } };
  await kit.apply(kit.run('mock-1', spec), kit.run('mock-2', spec));
  const [one, two] = [await kit.finished('mock-1', 60), await kit.finished('mock-2', 60)];
  expect(one.status).toMatchObject({ phase: 'Succeeded', manifest: { runtime_name: 'mock' } });
  const digests = (run: typeof one) => run.status!.artifacts!.map(({ name, sha256 }) => ({ name, sha256 }));
  expect(digests(one)).toEqual(digests(two));
  await kit.apply(
    kit.run('genie', { ...spec, runtimeProfileRef: { name: 'vendors-genie' }, acknowledgeExperimental: true }),
  );
  const refused = await kit.until('genie', (run) => run.status?.phase === 'Refused', 60);
  expect(condition(refused, 'Ready')?.reason).toBe('ScaffoldOnly');
});
