import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BUSYBOX_IMAGE } from '../cluster/small-images.ts';
import { startReplicate, MODEL, type FakeReplicate } from '../fakes/replicate/server.ts';
import { startWorldFlux, TEST_WORKSPACE, type FakeWorldFlux } from '../fakes/worldflux/server.ts';
import type { WorldRun } from '../../src/controller/run/view.ts';
import { encodings } from '../../src/telemetry/fingerprints.ts';
import { SECRETS } from '../../src/kube/resource.ts';
import { startOtlpReceiver } from '../../src/telemetry/testing/otlp-receiver.ts';
import { fixture } from './fixture.ts';
import { condition } from './kit.ts';
import { letOperatorRead, SYSTEM } from './rights.ts';

/**
 * Fresh random secrets through everything that goes in (Secrets, commands, pods, a vendor's answers, WorldFlux's), and a
 * look at everything that comes out. What is searched for is the secret in every usual encoding; a word that may come out
 * is found by the same search, so that a search that finds nothing has looked.
 */

const receiver = await startOtlpReceiver();
/** Everything is said that can be. */
const world = fixture('canary', ['--log-level', 'trace', '--otlp-endpoint', receiver.url]);
const opaque = (): string => randomBytes(24).toString('base64url');

/** They look like nothing: only knowing them helps. */
const VALUES = {
  syncKey: `wfx_${opaque()}`,
  vendorToken: opaque(),
  forwarded: opaque(),
};
/** Nobody knows them: only their shape, or what stands before them, helps. */
const SHAPES = {
  bearer: opaque(),
  flag: opaque(),
  userinfo: opaque(),
  signed: opaque(),
  assigned: opaque(),
  json: opaque(),
  key: `hf_${randomBytes(18).toString('hex')}`,
  metric: `wbx_${opaque()}`,
  cookie: opaque(),
};
/** Known to the user's own spec alone: no output repeats it. */
const OWN = { literal: opaque(), option: opaque(), prompt: opaque() };
const MARK = `mark${randomBytes(6).toString('hex')}`;

/** What careless code prints, with a mark that everybody may read. */
const careless = (): string[] => [
  MARK,
  `Authorization: Bearer ${SHAPES.bearer}`,
  `connecting to postgres://user:${SHAPES.userinfo}@db/x`,
  `GET https://bucket.example/k?a=1&X-Amz-Signature=${SHAPES.signed}`,
  `password = ${SHAPES.assigned}`,
  JSON.stringify({ client_secret: SHAPES.json, n: 1 }),
  `using ${SHAPES.key}`,
  `Set-Cookie: sid=${SHAPES.cookie}; Path=/`,
];
/** The words of a server that repeats what it was sent. */
const indiscreet = (token: string): string =>
  [`${token} is not welcome, nor ${Buffer.from(`user:${token}`).toString('base64')}`, ...careless()].join('; ');

let worldflux: FakeWorldFlux;
let replicate: FakeReplicate;

beforeAll(async () => {
  worldflux = await startWorldFlux({ record: true });
  worldflux.state.keys.set(VALUES.syncKey, TEST_WORKSPACE);
  const { kit } = world;
  await letOperatorRead(kit.cluster, { namespace: kit.namespace, name: 'worldflux' });
  await kit.apply(
    secret('worldflux', { apiKey: VALUES.syncKey }),
    secret('provider', { token: VALUES.forwarded }),
    kit.profile(
      'canary-local',
      { image: BUSYBOX_IMAGE, outputSizeLimit: '64Mi' },
      { ...toWorldFlux(), providerEnv: [{ name: 'OPAQUE', secretKeyRef: { name: 'provider', key: 'token' } }] },
    ),
  );
  await kit.untilProfile('canary-local', (profile) => condition(profile, 'Ready')?.status === 'True');
});
afterAll(async () => {
  await worldflux?.close();
  await replicate?.close();
  receiver.close();
  await world.kit?.cluster.kubectl([
    '-n',
    SYSTEM,
    'delete',
    'secret',
    `${world.kit.namespace}-replicate`,
    '--ignore-not-found',
  ]);
});

const toWorldFlux = (): object => ({
  sync: {
    mode: 'OnCompletion',
    baseURL: worldflux.url,
    allowedProjects: ['demo-box'],
    apiKeySecretRef: { name: 'worldflux' },
  },
  network: { allowPlainHTTP: true, allowPrivateEndpoints: true },
});

const secret = (name: string, stringData: Record<string, string>): object => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name },
  stringData,
});

/** A profile for the vendor's stand-in, and its credentials. */
async function openVendor(): Promise<void> {
  const { kit } = world;
  replicate = await startReplicate();
  replicate.state.tokens.add(VALUES.vendorToken);
  const name = `${kit.namespace}-replicate`;
  await kit.client.create(SECRETS, {
    ...secret(name, { REPLICATE_API_TOKEN: VALUES.vendorToken }),
    metadata: {
      name,
      namespace: SYSTEM,
      labels: { 'worldflux.ai/credential-for': 'replicate' },
      annotations: { 'worldflux.ai/allowed-hosts': '127.0.0.1' },
    },
  });
  await letOperatorRead(kit.cluster, { namespace: SYSTEM, name });
  await kit.apply({
    apiVersion: 'worldflux.ai/v1alpha1',
    kind: 'RuntimeProfile',
    metadata: { name: 'canary-replicate' },
    spec: {
      runtime: 'replicate',
      replicate: { model: MODEL, endpoint: replicate.url },
      supportLevel: 'Experimental',
      credentials: { secretRef: { name: `${kit.namespace}-replicate` } },
      allowedNamespaces: { matchLabels: { 'kubernetes.io/metadata.name': kit.namespace } },
      pricing: { usdPerSecond: '0.001' },
      limits: {
        maxRunSeconds: 3600,
        maxConcurrentRuns: 5,
        maxCostUSDPerRun: '50',
        maxCostUSDPerNamespacePerDay: '500',
      },
      ...toWorldFlux(),
    },
  });
  await kit.untilProfile('canary-replicate', (profile) => condition(profile, 'Ready')?.status === 'True');
}

/** Everything that leaves, by the way it leaves. */
async function outputs(): Promise<Record<string, Buffer>> {
  const { kit, operator } = world;
  const list = (kind: string, ...more: string[]): Promise<string> =>
    kit.cluster.kubectl(['get', kind, '-o', 'json', ...more]);
  const statuses = (json: string): Buffer =>
    Buffer.from(JSON.stringify((JSON.parse(json) as { items: WorldRun[] }).items.map(({ status }) => status)));
  return {
    'statuses of runs': statuses(await list('worldruns', '-n', kit.namespace)),
    'statuses of profiles': statuses(await list('runtimeprofiles')),
    events: Buffer.from(await list('events.events.k8s.io', '-n', kit.namespace)),
    'events of profiles': Buffer.from(await list('events.events.k8s.io', '-n', 'default')),
    'its own log': Buffer.from(operator.log()),
    metrics: Buffer.from(await (await fetch(`${operator.metricsUrl}/metrics`)).arrayBuffer()),
    traces: Buffer.from(JSON.stringify(receiver.spans)),
    'the run store': Buffer.concat(await stored(operator.storeDir)),
  };
}

/** Records, logs, series and events of providers. The bytes of artifacts are the user's own and kept as they are. */
async function stored(dir: string): Promise<Buffer[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && !entry.parentPath.includes('/artifacts'));
  return Promise.all(files.map(({ parentPath, name }) => readFile(join(parentPath, name))));
}

/** Whole, or in an encoding; half of it would do as well. */
function leaks(output: Buffer, secrets: Record<string, string>): string[] {
  const found = (value: string): boolean =>
    encodings(Buffer.from(value)).some((form) => output.includes(form.subarray(0, Math.ceil(form.length * 0.75))));
  return Object.entries(secrets).flatMap(([name, value]) => (found(value) ? [name] : []));
}

async function expectNoLeak(): Promise<Record<string, Buffer>> {
  const all = await outputs();
  const leaked = Object.entries(all).flatMap(([way, output]) =>
    leaks(output, { ...VALUES, ...SHAPES, ...OWN }).map((name) => `${name} in ${way}`),
  );
  expect(leaked).toEqual([]);
  // The key travels to WorldFlux in its header, and nothing else does.
  const { syncKey: _, ...others } = { ...VALUES, ...SHAPES, ...OWN };
  expect(leaks(worldflux.received(), others)).toEqual([]);
  return all;
}

const settled = (reason: string) => (run: WorldRun) => condition(run, 'Synced')?.reason === reason;

test('a Job prints, names and commands with secrets, and WorldFlux repeats its key: nothing of it comes out', async () => {
  const { kit } = world;
  const lines = careless()
    .map((line) => `'${line.replaceAll("'", '')}'`)
    .join(' ');
  const script = [
    `printf '%s\\n' ${lines}`,
    'echo "raw $OPAQUE end"; echo "user:$OPAQUE" | base64 | tr -d "\\n"; echo; echo "broken ${OPAQUE}" >&2',
    'printf "%s" "$OPAQUE" | od -An -tx1 | tr -d " \\n"; echo',
    'cd /worldflux/output',
    `echo '{"loss": 0.5, "password=${SHAPES.metric}": 2}' > metrics.json`,
    `echo '{"step":1,"name":"token=${SHAPES.metric}","value":0.5}' > metrics.jsonl`,
  ].join('; ');
  worldflux.faults.add({
    on: 'runs',
    answer: { status: 500, headers: { 'x-echo': VALUES.syncKey }, body: { detail: indiscreet(VALUES.syncKey) } },
  });
  const spec = {
    forwardProviderEnv: ['OPAQUE'],
    env: [{ name: 'LITERAL', value: OWN.literal }],
    args: ['--api-token', SHAPES.flag, `https://u:${SHAPES.userinfo}@host/?sig=${SHAPES.signed}`],
  };
  await kit.apply(
    kit.shell('prints', 'canary-local', script, spec),
    kit.shell('fails', 'canary-local', `${script}; exit 3`, spec),
  );
  const run = await kit.until('prints', settled('Synced'), 120);
  await kit.until('fails', settled('Synced'), 120);
  expect(run.status).toMatchObject({ manifest: { metrics: { loss: 0.5 } } });

  const all = await expectNoLeak();
  expect(all['the run store']!.includes(MARK)).toBe(true);
  expect(worldflux.received().includes(MARK)).toBe(true);
  expect(all['statuses of runs']!.includes('NonZeroExit')).toBe(true);
  expect(all['events']!.includes('NonZeroExit')).toBe(true);
}, 300_000);

test('a vendor repeats its token in answers, errors, logs and names: nothing of it comes out', async () => {
  await openVendor();
  const { kit } = world;
  const ask = {
    acknowledgeExperimental: true,
    runtimeProfileRef: { name: 'canary-replicate' },
    request: { prompt: OWN.prompt, options: { api_key: OWN.option, steps: 2 } },
    timeouts: { runSeconds: 600 },
  };
  const told = indiscreet(VALUES.vendorToken);
  replicate.state.behaviour = {
    ...replicate.state.behaviour,
    queueMs: 0,
    runMs: 500,
    outcome: 'fail',
    error: told,
    logs: [...careless(), `token ${VALUES.vendorToken}`, `b64 ${Buffer.from(VALUES.vendorToken).toString('base64')}`],
    metrics: { [`password=${SHAPES.metric}`]: 1, [VALUES.vendorToken]: 2, note: told },
  };
  // The first look at it fails, in the vendor's own words.
  replicate.faults.add({
    on: 'get',
    times: 2,
    answer: { status: 500, headers: { 'x-echo': told }, body: { detail: told } },
  });
  await kit.apply(kit.run('vendor-fails', ask));
  const failed = await kit.finished('vendor-fails', 120);
  expect(condition(failed, 'Succeeded')).toMatchObject({ status: 'False' });

  replicate.faults.add({ on: 'create', answer: { status: 422, body: { title: told, detail: told } } });
  await kit.apply(kit.run('vendor-refuses', { ...ask, task: 'refused' }));
  await kit.finished('vendor-refuses', 120);

  replicate.state.behaviour = {
    ...replicate.state.behaviour,
    outcome: 'succeed',
    output: [{ $file: 'out.txt', type: 'text/plain', text: 'frames' }],
  };
  await kit.apply(kit.run('vendor-succeeds', { ...ask, task: 'succeeds' }));
  const succeeded = await kit.finished('vendor-succeeds', 120);
  expect(condition(succeeded, 'Succeeded')).toMatchObject({ status: 'True' });
  await kit.until('vendor-succeeds', settled('Synced'), 120);

  // Spans leave in batches, and the lines about a run when it is over.
  await expect.poll(() => receiver.spans.length, { timeout: 30_000 }).toBeGreaterThan(3);
  const events = async (): Promise<boolean> =>
    Buffer.concat(await stored(world.operator.storeDir)).includes('prediction create');
  await expect.poll(events, { timeout: 60_000 }).toBe(true);

  const all = await expectNoLeak();
  // The vendor did hear its token and what the user asked: the search would have found them.
  expect(leaks(Buffer.from(JSON.stringify(replicate.log)), { ...VALUES, ...OWN }).toSorted()).toEqual([
    'option',
    'prompt',
    'vendorToken',
  ]);
  expect(all['statuses of runs']!.includes(MARK)).toBe(true);
  expect(replicate.violations).toEqual([]);
}, 300_000);
