import { randomBytes } from 'node:crypto';
import { createServer, type AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { CollectTask, RunStore } from '../../../src/results/contract.ts';
import { fingerprint } from '../../../src/telemetry/fingerprints.ts';
import { Operator, Pod } from './harness.ts';
import type { StoreUnderTest } from './store-conformance.ts';
import { s3Store } from './stores.ts';

/** Two gateways over one bucket: one leads, and pods reach only the other. */

let under: StoreUnderTest;
let leader: Operator;
let standby: Operator;

beforeAll(async () => {
  under = await s3Store();
  leader = await Operator.start(under.store);
  standby = await Operator.start(under.store, leader);
});
afterAll(async () => {
  await Promise.all([leader.goDown(), standby.goDown()]);
  await under.stop();
});
beforeEach(() => {
  leader.leadership = { leads: () => true, leader: () => undefined };
  standby.leadership = { leads: () => false, leader: () => `127.0.0.1:${leader.port}` };
});

/** The same run, as both replicas know it; `collectNow` and the like are the leader's own knowledge. */
function run(): CollectTask {
  const task = leader.run({ outputs: { ...OUTPUTS, artifacts: [{ name: 'model', path: 'model', commit: false }] } });
  standby.tasks.set(task.clientRunId, { ...task });
  return task;
}
const OUTPUTS = { metricsFile: 'metrics.json', seriesFile: 'metrics.jsonl', ranks: 'Zero' } as const;

const pathOf = ({ clientRunId, attempt }: CollectTask, path: string): string =>
  `/v1/runs/${clientRunId}/attempts/${attempt}/${path}`;

/** A pod whose collector knows the standby's address alone. */
const podOf = (task: CollectTask): Promise<Pod> =>
  Pod.make(leader, task, { gatewayUrl: `https://127.0.0.1:${standby.port}` });

async function live(task: CollectTask): Promise<{ exitCode: number | null; log: string }> {
  const pod = await podOf(task);
  await pod.write('metrics.json', '{"loss": 0.5}');
  await pod.write('model', randomBytes(3_000_000));
  const exitCode = await pod.live();
  await pod.remove();
  return { exitCode, log: pod.log.join('') };
}

const artifactIn = async (store: RunStore, path: string): Promise<number | undefined> => (await store.get(path))?.size;

describe('a pod that reaches the standby', () => {
  it('is heard by the leader: progress, result and the artifacts behind it', async () => {
    const task = run();
    const { exitCode, log } = await live(task);
    expect(exitCode, log).toBe(0);
    const { metrics, artifacts } = await leader.result(task);
    expect(metrics).toEqual({ loss: 0.5 });
    expect(artifacts).toMatchObject([{ name: 'model', state: 'Stored', sizeBytes: 3_000_000 }]);
    expect(await artifactIn(under.store, artifacts[0]!.path)).toBe(3_000_000);
    expect(standby.hub.get(task).results.size).toBe(0);
  });

  it('collects as soon as the leader wants it to, though the standby knows nothing of that', async () => {
    const task = run();
    const pod = await podOf(task);
    await pod.write('metrics.json', '{"step": 7}');
    pod.start();
    await pod.says('started');
    task.collectNow = true;
    expect((await leader.result(task)).metrics).toEqual({ step: 7 });
    await pod.remove();
  });

  it('leaves the fingerprints of its secrets with the leader, which reads the log', async () => {
    const task = run();
    const token = leader.tokenFor(task);
    const post = (path: string, body: object) => standby.request(pathOf(task, path), { token, body });
    expect(await post('progress', {})).toMatchObject({ status: 200, body: { fingerprintsWanted: true } });
    expect(await post('fingerprints', fingerprint([Buffer.from('a secret value')]))).toMatchObject({ status: 204 });
    expect(leader.hub.fingerprints(task, 0)).toBeDefined();
    expect(await post('progress', {})).toMatchObject({ body: { fingerprintsWanted: false } });
  });

  it('is told what the leader refuses, in the leader’s words', async () => {
    const task = run();
    leader.tasks.set(task.clientRunId, 'over');
    const token = leader.tokenFor(task);
    expect(await standby.request(pathOf(task, 'progress'), { token })).toMatchObject({ status: 410, code: 'over' });
  });
});

describe('while nobody can be told', () => {
  /** A replica that leads no more than the standby does. */
  let bystander: Operator;
  const silent = createServer(() => {});
  beforeAll(async () => {
    bystander = await Operator.start(under.store, leader);
    bystander.leadership = { leads: () => false, leader: () => `127.0.0.1:${standby.port}` };
    await new Promise<void>((resolve) => {
      silent.listen(0, '127.0.0.1', resolve);
    });
  });
  afterAll(async () => {
    silent.close();
    await bystander.goDown();
  });

  /** What the next leader finds, with nothing in its memory. */
  const found = async (task: CollectTask) => {
    const next = await Operator.start(under.store, leader);
    await next.goDown();
    return (await next.hub.load(task, 1)).results.get(0);
  };

  it.each([
    ['nobody leads', () => undefined],
    ['the leader is gone', closedPort],
    ['the leader hangs', silentPort],
    ['the one that is thought to lead does not', () => `127.0.0.1:${bystander.port}`],
  ])('(%s) the standby takes the result, and the next leader finds it in the store', async (_, address) => {
    const at = await address();
    standby.leadership = { leads: () => false, leader: () => at };
    const task = run();
    bystander.tasks.set(task.clientRunId, { ...task });
    const { exitCode, log } = await live(task);
    expect(exitCode, log).toBe(0);
    expect(leader.hub.get(task).results.size).toBe(0);
    expect(bystander.hub.get(task).results.size).toBe(0);
    expect(await found(task)).toMatchObject({
      metrics: { loss: 0.5 },
      artifacts: [{ name: 'model', state: 'Stored' }],
    });
  });

  async function closedPort(): Promise<string> {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => {
      server.once('listening', resolve);
    });
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => {
      server.close(resolve);
    });
    return `127.0.0.1:${port}`;
  }

  function silentPort(): string {
    return `127.0.0.1:${(silent.address() as AddressInfo).port}`;
  }

  it('a collector’s own authority is no replica’s: another installation’s gateway is told nothing', async () => {
    const stranger = await Operator.start(under.store);
    standby.leadership = { leads: () => false, leader: () => `127.0.0.1:${stranger.port}` };
    const task = run();
    stranger.tasks.set(task.clientRunId, { ...task });
    const token = leader.tokenFor(task);
    const answer = await standby.request(pathOf(task, 'progress'), { token, body: { percent: 5 } });
    expect(answer).toMatchObject({ status: 200 });
    expect(stranger.hub.get(task).progress).toBeUndefined();
    await stranger.goDown();
  });
});

describe('a leader that changes while a pod uploads', () => {
  it('gets the result of an upload that began before its term', async () => {
    const task = run();
    const pod = await podOf(task);
    await pod.write('metrics.json', '{"x": 1}');
    await pod.write('model', randomBytes(150 * 2 ** 20));
    pod.start();
    await pod.says('started');
    pod.endUser();
    // The standby leads from here on; what led goes away, in whatever state the upload is.
    standby.leadership = { leads: () => true, leader: () => undefined };
    leader.leadership = { leads: () => false, leader: () => `127.0.0.1:${standby.port}` };
    expect(await pod.exited(), pod.log.join('')).toBe(0);
    expect(await standby.result(task)).toMatchObject({
      metrics: { x: 1 },
      artifacts: [{ name: 'model', state: 'Stored', sizeBytes: 150 * 2 ** 20 }],
    });
    await pod.remove();
  });
});
