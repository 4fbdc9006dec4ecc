import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { SECRETS } from '../../../src/kube/resource.ts';
import { attachCluster } from '../../cluster/index.ts';
import { condition, Kit, type RunSpec } from '../../e2e/kit.ts';
import {
  freePort,
  startOperator,
  type OperatorProcess,
  type OperatorProcessOptions,
} from '../../e2e/operator-process.ts';
import { startReplicate, TOKEN, VERSION, type FakeReplicate } from '../../fakes/replicate/server.ts';
import { temporaryFolder } from '../../temporary-folder.ts';
import { installCrds } from '../install-crds.ts';

/** What runs may cost, and where they go instead: the real operator on a real API server, vendors made up. */

const dir = await temporaryFolder('money');
const NAMESPACE = 'worldflux-money';
let kit: Kit;
let operator: OperatorProcess;
let settings: OperatorProcessOptions;
let vendor: FakeReplicate;

const profile = (name: string, spec: object) => ({
  apiVersion: 'worldflux.ai/v1alpha1',
  kind: 'RuntimeProfile',
  metadata: { name },
  spec,
});
const mock = (name: string, more: object = {}) =>
  profile(name, { runtime: 'mock', mock: {}, supportLevel: 'Production', ...more });
const replicate = (name: string, more: object = {}) =>
  profile(name, {
    runtime: 'replicate',
    replicate: { endpoint: vendor.url, version: VERSION },
    supportLevel: 'Production',
    credentials: { secretRef: { name: 'money-replicate' } },
    allowedNamespaces: {},
    network: { allowPlainHTTP: true, allowPrivateEndpoints: true },
    pricing: { usdPerRequest: '0.5' },
    limits: { maxCostUSDPerRun: '2', maxRunSeconds: 14_400, maxConcurrentRuns: 5 },
    ...more,
  });
/** A dollar for each request, three a day. */
const counted = (name: string) =>
  replicate(name, {
    credentials: { secretRef: { name: 'money-key' } },
    pricing: { usdPerRequest: '1' },
    limits: {
      maxCostUSDPerRun: '3',
      maxCostUSDPerNamespacePerDay: '3',
      maxRunSeconds: 14_400,
      maxConcurrentRuns: 5,
    },
  });

const asking = (name: string, profileName: string, more: RunSpec = {}) =>
  kit.run(name, {
    runtimeProfileRef: { name: profileName },
    request: { capability: 'generate', prompt: name },
    acknowledgeExperimental: true,
    ...more,
  });
const reasonOf = async (name: string) => condition(await kit.get(name), 'Ready')?.reason;
const saying = (name: string, reason: string) =>
  kit.until(name, (run) => condition(run, 'Ready')?.reason === reason, 30);

beforeAll(async () => {
  const cluster = await attachCluster(inject('cluster'));
  if (cluster === undefined) throw new Error('the layer has no cluster');
  await installCrds(cluster);
  kit = await Kit.open(cluster, 'money');
  await kit.ensureNamespace(NAMESPACE);
  vendor = await startReplicate();
  await kit.client.create(SECRETS, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: 'money-key',
      namespace: NAMESPACE,
      labels: { 'worldflux.ai/credential-for': 'replicate' },
      annotations: { 'worldflux.ai/allowed-hosts': new URL(vendor.url).hostname },
    },
    data: { REPLICATE_API_TOKEN: Buffer.from(TOKEN).toString('base64') },
  });
  settings = { cluster, dir, gatewayPort: await freePort(), namespace: NAMESPACE };
  operator = await startOperator(settings);
});
afterAll(async () => {
  await operator?.stop();
  await vendor?.close();
  await kit.cluster.kubectl(['delete', 'runtimeprofile', '-l', 'test=money', '--wait=false', '--ignore-not-found']);
  await kit.cluster.kubectl(['delete', 'namespace', NAMESPACE, '--wait=false']);
  await kit.close();
});

const create = async (object: ReturnType<typeof profile>): Promise<string> => {
  await kit.apply({ ...object, metadata: { ...object.metadata, labels: { test: 'money' } } });
  return object.metadata.name;
};
const untilDoctor = (name: string, check: string) =>
  kit.untilProfile(name, (p) => p.status?.doctor?.some((line) => line.check === check) === true, 30);

describe('what a namespace spends in a day', () => {
  test('is bounded, whatever becomes of the runs and of the operator', async () => {
    const name = await create(counted('money-daily'));
    for (const run of ['first', 'second', 'third']) {
      await kit.apply(asking(run, name));
      const { status } = await kit.finished(run, 30);
      expect(status).toMatchObject({ phase: 'Succeeded', result: { costEstimateUSD: '1.0000' } });
    }
    await kit.apply(asking('fourth', name));
    const waiting = await saying('fourth', 'DailyCostLimit');
    expect(condition(waiting, 'Ready')?.message).toMatch(
      /no room for the \$1\.0000.*money-daily allows one namespace \$3\.0000 a day; it waits for 00:00 UTC/,
    );

    expect(vendor.state.predictions.size).toBe(3);
    await kit.cluster.kubectl(['delete', 'worldrun', '-n', kit.namespace, 'first', 'second', 'third']);
    await operator.kill();
    operator = await startOperator(settings);
    await kit.apply(asking('fifth', name));
    await saying('fifth', 'DailyCostLimit');
    expect(await reasonOf('fourth')).toBe('DailyCostLimit');
    expect(vendor.state.predictions.size).toBe(3);
  });

  test('what a run turned out not to cost is there for the next', async () => {
    const name = await create(counted('money-back'));
    // Three tries could cost it all; it needs one.
    await kit.apply(asking('careful', name, { retry: { maxAttempts: 3, onReasons: ['VendorFailed'] } }));
    await kit.apply(asking('patient', name, { retry: { maxAttempts: 2, onReasons: ['VendorFailed'] } }));
    await kit.finished('careful', 30);
    const { status } = await kit.finished('patient', 30);
    expect(status).toMatchObject({ phase: 'Succeeded' });
  });

  test('a run that could never fit is refused, not kept waiting', async () => {
    const name = await create(
      mock('money-never', { pricing: { usdPerRequest: '4' }, limits: { maxCostUSDPerNamespacePerDay: '3' } }),
    );
    await kit.apply(asking('never', name));
    await saying('never', 'CostLimitExceeded');
  });
});

test('a dry run says what would be bought and at what price, and buys nothing', async () => {
  const name = await create(counted('money-plan'));
  const before = vendor.requests('create').length;
  await kit.apply(asking('planned', name, { dryRun: true, retry: { maxAttempts: 2, onReasons: ['VendorFailed'] } }));
  const { status } = await kit.finished('planned', 30);
  expect(condition({ status }, 'Ready')).toMatchObject({ status: 'True', reason: 'DryRun' });
  expect(status?.plan).toEqual({
    digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
    creates: [expect.stringMatching(/^a prediction with version .* ended by Replicate after \d+ s at the latest$/)],
    // Two tries, a dollar each.
    estimatedCostUSD: '2.0000',
  });
  expect(vendor.requests('create')).toHaveLength(before);
});

test('suspending and resuming buys nothing beyond the run’s own cap', async () => {
  const { limits } = replicate('').spec as { limits: object };
  const name = await create(
    replicate('money-suspend', {
      credentials: { secretRef: { name: 'money-key' } },
      pricing: { usdPerRequest: '1' },
      limits: { ...limits, maxCostUSDPerRun: '2' },
    }),
  );
  vendor.state.behaviour = { ...vendor.state.behaviour, runMs: 600_000 };
  const run = 'again-and-again';
  await kit.apply(asking(run, name));
  await saying(run, 'Running');
  for (const ends of ['Running', 'CostLimitReached']) {
    await kit.patch(run, { suspend: true });
    await saying(run, 'Suspended');
    await kit.patch(run, { suspend: false });
    await saying(run, ends);
  }
  expect((await kit.get(run)).status).toMatchObject({
    phase: 'Failed',
    attempts: [
      { number: 1, reason: 'Suspended', counted: false },
      { number: 2, reason: 'Suspended', counted: false },
    ],
    result: { costEstimateUSD: '2.0000' },
  });
  const bought = [...vendor.state.predictions.values()].filter(({ input }) => JSON.stringify(input).includes(run));
  // The second may take only the time that the first has left.
  const [first = 0, second = 0] = bought.map(({ deadline, createdAt }) => deadline! - createdAt);
  expect(second).toBeLessThan(first);
  expect(bought.map(({ canceledAt }) => canceledAt)).toEqual([expect.any(Number), expect.any(Number)]);
});

describe('a run with fallbacks', () => {
  test('goes where it can, and tells who was passed over', async () => {
    const lost = await create(replicate('money-no-secret'));
    const well = await create(mock('money-well'));
    await kit.apply(asking('moved', lost, { fallbackProfileRefs: [{ name: 'money-not-there' }, { name: well }] }));
    const { status } = await kit.finished('moved', 30);
    expect(status).toMatchObject({
      phase: 'Succeeded',
      profile: { name: well },
      attemptCount: 3,
      uncountedAttempts: 2,
      attempts: [
        { number: 1, profile: lost, counted: false, reason: 'CredentialsMissing' },
        { number: 2, profile: 'money-not-there', counted: false, reason: 'ProfileNotFound' },
        { number: 3, profile: well, reason: 'Completed' },
      ],
    });
    expect(status?.attempts?.[0]?.message).toMatch(/^skipped \(missing-config\): Secret money-replicate/);
    expect(status?.manifest).toMatchObject({ runtime_name: 'mock', attempt_count: 3 });
    expect(
      [...vendor.state.predictions.values()].filter(({ input }) => JSON.stringify(input).includes('moved')),
    ).toEqual([]);
  });

  test('waits where a robot is at stake', async () => {
    const well = await create(mock('money-robot-spare'));
    await kit.untilProfile(well, (p) => condition(p, 'Ready')?.status === 'True', 30);
    const fallbackProfileRefs = [{ name: well }];
    await kit.apply(asking('robot', 'money-no-robot', { request: { capability: 'policy' }, fallbackProfileRefs }));
    const run = await saying('robot', 'ProfileNotFound');
    expect(run.status?.attempts).toBeUndefined();
  });

  test('waits for the first that may come back, and starts when it is there', async () => {
    const first = await create(replicate('money-later'));
    await kit.apply(asking('later', first, { fallbackProfileRefs: [{ name: 'money-to-come' }] }));
    await saying('later', 'CredentialsMissing');
    await create(mock('money-to-come'));
    const { status } = await kit.finished('later', 30);
    expect(status).toMatchObject({ phase: 'Succeeded', profile: { name: 'money-to-come' } });
  });
});

describe('the doctor of a vendor’s profile', () => {
  test('names what is missing, and what is configured, never a value', async () => {
    const name = await create(replicate('money-doctor', { limits: {}, supportLevel: undefined }));
    const before = await untilDoctor(name, 'credentials');
    expect(condition(before, 'Ready')).toMatchObject({ status: 'False', reason: 'DoctorFailed' });
    expect(condition(before, 'Configured')?.status).toBe('False');
    expect(before.status?.config).toMatchObject([
      { name: 'REPLICATE_API_TOKEN', present: false, required: true, secret: true, valid: false },
      { name: 'endpoint', present: true, source: 'profile' },
    ]);
    expect(before.status?.doctor?.map(({ check, level }) => `${check}: ${level}`)).toEqual([
      'credentials: error',
      'cost-guards: error',
      'support: info',
    ]);
  });

  test('is satisfied by its Secret, and asks the vendor itself', async () => {
    const name = await create(replicate('money-well-known', { credentials: { secretRef: { name: 'money-key' } } }));
    const profile = await kit.untilProfile(name, (p) => condition(p, 'Ready')?.status === 'True', 90);
    expect(profile.status?.doctor).toContainEqual(expect.objectContaining({ check: 'replicate-account', level: 'ok' }));
    expect(condition(profile, 'Degraded')?.status).toBe('False');
    expect(JSON.stringify(profile.status)).not.toContain(TOKEN);
    const table = await kit.cluster.kubectl(['get', 'runtimeprofile', name, '-o', 'wide']);
    expect(table.split('\n')[0]).toMatch(/RUNTIME +READY +REASON +DEGRADED +SUPPORT/);
    expect(table).toMatch(/replicate +True +DoctorPassed +False +Production/);
  });
});
