import { afterAll, beforeAll, expect, test } from 'vitest';
import { SECRETS } from '../../src/kube/resource.ts';
import { WORLD_RUNS, type WorldRun } from '../../src/controller/run/view.ts';
import { startReplicate, TOKEN, VERSION, type FakeReplicate } from '../fakes/replicate/server.ts';
import { fixture } from './fixture.ts';
import { condition } from './kit.ts';
import { freePort, startOperator, type OperatorProcess } from './operator-process.ts';
import { letOperatorRead, SYSTEM } from './rights.ts';

/** Two hundred purchases of the very same thing, while one leader is stopped inside a send and the next one is killed. */

const RUNS = 200;
const PROMPT = 'the same world, two hundred times';
const world = fixture('vendor-takeover', ['--orphan-age-seconds', '20']);
const others: OperatorProcess[] = [];
let vendor: FakeReplicate;

beforeAll(async () => {
  vendor = await startReplicate({ behaviour: { runMs: 20_000 } });
  const { kit } = world;
  await kit.client.create(SECRETS, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: 'takeover-replicate',
      namespace: SYSTEM,
      labels: { 'worldflux.ai/credential-for': 'replicate' },
      annotations: { 'worldflux.ai/allowed-hosts': new URL(vendor.url).hostname },
    },
    data: { REPLICATE_API_TOKEN: Buffer.from(TOKEN).toString('base64') },
  });
  await letOperatorRead(kit.cluster, { namespace: SYSTEM, name: 'takeover-replicate' });
  await kit.apply({
    apiVersion: 'worldflux.ai/v1alpha1',
    kind: 'RuntimeProfile',
    metadata: { name: 'takeover-paid' },
    spec: {
      runtime: 'replicate',
      replicate: { endpoint: vendor.url, version: VERSION },
      supportLevel: 'Production',
      credentials: { secretRef: { name: 'takeover-replicate' } },
      allowedNamespaces: {},
      network: { allowPlainHTTP: true, allowPrivateEndpoints: true },
      pricing: { usdPerSecond: '0.001' },
      limits: { maxCostUSDPerRun: '100', maxRunSeconds: 3600, maxConcurrentRuns: 500 },
      requestPolicy: { health: {}, request: { timeoutSeconds: 3 }, polling: {}, download: {} },
      orphans: 'Delete',
    },
  });
});
afterAll(async () => {
  await Promise.all(others.map((operator) => operator.stop()));
  await world.kit?.client.delete(SECRETS, { namespace: SYSTEM, name: 'takeover-replicate' });
  await vendor?.close();
});

async function another(): Promise<OperatorProcess> {
  const operator = await startOperator({ ...world.settings, gatewayPort: await freePort() });
  others.push(operator);
  return operator;
}

async function runs(): Promise<WorldRun[]> {
  const all: WorldRun[] = [];
  for await (const run of world.kit.client.list(WORLD_RUNS, { namespace: world.kit.namespace })) all.push(run);
  return all;
}

/** The very same request, past the operator; it would run for long. */
async function buyOnceMore(): Promise<string> {
  vendor.state.behaviour = { ...vendor.state.behaviour, runMs: 3_600_000 };
  const [one] = vendor.requests('create');
  const answer = await fetch(`${vendor.url}/predictions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json', 'cancel-after': '1h' },
    body: JSON.stringify(one!.body),
    signal: AbortSignal.timeout(10_000),
  });
  return ((await answer.json()) as { id: string }).id;
}

/** Resolves when the fake has made so many predictions. */
async function made(count: number, seconds: number): Promise<void> {
  await expect
    .poll(() => vendor.state.created, { timeout: seconds * 1000, interval: 50 })
    .toBeGreaterThanOrEqual(count);
}

test('two hundred identical runs keep exactly two hundred predictions', async () => {
  const { kit } = world;
  const first = world.operator;
  const second = await another();
  // Inside a send: the vendor has the request, and the leader will not hear the answer before another one leads.
  vendor.faults.add({ on: 'create', times: 60, slowMs: 5 });
  vendor.faults.add({ on: 'create', before: () => first.pause() });
  const spec = {
    runtimeProfileRef: { name: 'takeover-paid' },
    request: { prompt: PROMPT },
    timeouts: { runSeconds: 600, startupSeconds: 600, uploadSeconds: 60 },
  };
  await kit.apply(...Array.from({ length: RUNS }, (_, i) => kit.run(`same-${i}`, spec)));
  await made(61, 60);
  // The second one goes on with what the first has left, and dies in the middle of it.
  await made(120, 180);
  await second.kill();
  const third = await another();
  // The first one wakes to find that it leads no more.
  first.resume();
  expect(await first.ended).not.toBe(0);
  // What a leader sends that stood still between its permission and its socket: bought, and nobody waits for it.
  await expect
    .poll(async () => (await runs()).every((run) => run.status?.attempts?.at(-1)?.externalId !== undefined), {
      timeout: 300_000,
      interval: 200,
    })
    .toBe(true);
  const late = await buyOnceMore();
  await expect
    .poll(async () => (await runs()).filter((run) => condition(run, 'Finished')?.status === 'True').length, {
      timeout: 300_000,
      interval: 1000,
    })
    .toBe(RUNS);
  await expect.poll(() => vendor.state.predictions.get(late)?.canceledAt, { timeout: 90_000 }).toBeDefined();
  const ended = await runs();
  expect(ended.map((run) => run.status?.phase)).toEqual(Array.from({ length: RUNS }, () => 'Succeeded'));
  const claimed = ended.map((run) => run.status!.attempts!.at(-1)!.externalId!);
  expect(new Set(claimed).size).toBe(RUNS);
  const kept = [...vendor.state.predictions.values()].filter(({ canceledAt }) => canceledAt === undefined);
  const surplus = kept.filter(({ id }) => !claimed.includes(id));
  // Whatever else was bought was stopped at the vendor and told.
  expect(surplus.map(({ id }) => id)).toEqual([]);
  expect(kept).toHaveLength(RUNS);
  const cancelled = vendor.state.created - RUNS;
  expect(cancelled).toBe(1);
  console.log(`${vendor.state.created} predictions for ${RUNS} runs, ${cancelled} cancelled and reported`);
  const told = third.log().match(/work at a vendor that no run names/g) ?? [];
  expect(told.length).toBe(cancelled);
});
