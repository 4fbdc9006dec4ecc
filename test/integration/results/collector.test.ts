import { createHash, randomBytes } from 'node:crypto';
import { execFile } from 'node:child_process';
import { mkdir, readFile, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { StoredArtifact } from '../../../src/crds/world-run-status.ts';
import type { CollectTask } from '../../../src/results/contract.ts';
import { readAll } from '../../../src/results/documents.ts';
import { ResultsHub } from '../../../src/results/hub.ts';
import { resultKey } from '../../../src/results/keys.ts';
import { parseTerminationMessage } from '../../../src/results/termination-message.ts';
import { Redactor } from '../../../src/telemetry/redaction.ts';
import { Operator, Pod } from './harness.ts';
import type { StoreUnderTest } from './store-conformance.ts';
import { fileStore, s3Store } from './stores.ts';

const run = promisify(execFile);
const MIB = 2 ** 20;
const STORES: [string, () => Promise<StoreUnderTest>][] = [
  ['files', fileStore],
  ['S3', s3Store],
];
const sha256 = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

function outputs(...artifacts: [name: string, path: string][]): CollectTask['outputs'] {
  return {
    metricsFile: 'metrics.json',
    seriesFile: 'metrics.jsonl',
    artifacts: artifacts.map(([name, path]) => ({ name, path, commit: name === 'public' })),
    ranks: 'Zero',
  };
}

describe.each(STORES)('a collector and a gateway over %s', (kind, start) => {
  let under: StoreUnderTest;
  let operator: Operator;
  beforeAll(async () => {
    under = await start();
    operator = await Operator.start(under.store);
  });
  afterAll(async () => {
    await operator.goDown();
    await under.stop();
  });

  async function podOf(over: Partial<CollectTask> = {}): Promise<Pod> {
    const pod = await Pod.make(operator, operator.run(over));
    onTestFinished(() => pod.remove());
    return pod;
  }

  async function stored(artifact: StoredArtifact | undefined): Promise<Buffer> {
    const object = await under.store.get(artifact?.path ?? 'none');
    const chunks: Buffer[] = [];
    for await (const chunk of await object!.open()) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks);
  }

  it('brings metrics, series and artifacts, with digests that are true', async () => {
    const pod = await podOf({
      outputs: outputs(['model', 'ckpt'], ['public', 'rollout.mp4'], ['logs', 'logs/**/*.txt']),
    });
    const video = randomBytes(300_000);
    await pod.write('metrics.json', '{"loss": 0.5, "steps": 10, "note": "x"}');
    await pod.write('metrics.jsonl', '{"step":1,"name":"loss","value":1}\nbad\n{"step":2,"name":"loss","value":0.5}\n');
    await pod.write('ckpt/1/a.pt', 'weights');
    await pod.write('ckpt/2/b.pt', 'more');
    await pod.write('rollout.mp4', video);
    await pod.write('logs/a/x.txt', 'one');
    expect(await pod.live()).toBe(0);
    const result = await operator.result(pod.task);
    expect(result).toMatchObject({
      rank: 0,
      podUid: `pod-of-${pod.task.clientRunId}`,
      metrics: { loss: 0.5, steps: 10 },
      metricsOmitted: 1,
      series: { lines: 2, dropped: 1 },
      via: 'Gateway',
    });
    const [model, movie, logs] = result.artifacts;
    expect(model).toMatchObject({
      name: 'model',
      state: 'Stored',
      count: 2,
      contentType: 'application/x-tar',
      commit: false,
    });
    expect(movie).toMatchObject({
      name: 'public',
      state: 'Stored',
      count: 1,
      sizeBytes: 300_000,
      sha256: sha256(video),
      contentType: 'video/mp4',
      commit: true,
    });
    expect(logs).toMatchObject({ name: 'logs', state: 'Stored', count: 1 });
    expect((await stored(movie)).equals(video)).toBe(true);
    const tar = await stored(model);
    expect(sha256(tar)).toBe(model?.sha256);
    await writeFile(join(pod.folder, 'out.tar'), tar);
    expect((await run('tar', ['tf', join(pod.folder, 'out.tar')])).stdout).toBe('ckpt/1/a.pt\nckpt/2/b.pt\n');
    expect((await readAll((await under.store.get(result.series?.path ?? ''))!)).toString()).toBe(
      '{"step":1,"name":"loss","value":1}\n{"step":2,"name":"loss","value":0.5}\n',
    );
  });

  it('keeps everything below the output folder where nothing is named, and nothing where nothing is', async () => {
    const pod = await podOf();
    await pod.write('a/b.txt', 'hello');
    await pod.live();
    expect((await operator.result(pod.task)).artifacts).toMatchObject([{ name: 'output', state: 'Stored', count: 1 }]);
    const empty = await podOf();
    await empty.live();
    const result = await operator.result(empty.task);
    expect(result).toMatchObject({ metrics: {}, metricsProblem: 'metrics.json was not written' });
    expect(result.artifacts).toEqual([]);
  });

  it('says in words what it could not take', async () => {
    const pod = await podOf({
      outputs: outputs(
        ['up', '../x'],
        ['link', 'passwd'],
        ['socket', 'pipe'],
        ['gone', 'nothing'],
        ['big', 'big.bin'],
        ['fine', 'fine.txt'],
      ),
      maxArtifactBytes: 1000,
    });
    await symlink('/etc/passwd', join(pod.folder, 'output', 'passwd'));
    await run('mkfifo', [join(pod.folder, 'output', 'pipe')]);
    await pod.write('big.bin', Buffer.alloc(1001));
    await pod.write('fine.txt', 'fine');
    await pod.write('metrics.json', '');
    await truncate(join(pod.folder, 'output', 'metrics.json'), 50_000_000);
    expect(await pod.live()).toBe(0);
    const { artifacts, metricsProblem } = await operator.result(pod.task);
    expect(metricsProblem).toMatch(/holds 50000000 bytes/);
    expect(artifacts).toMatchObject([
      { name: 'up', state: 'Refused', path: '../x', message: 'must stay below the output folder' },
      { name: 'link', state: 'Refused', message: 'is a link that leads out of the output folder' },
      { name: 'socket', state: 'Refused', message: 'is a pipe, not a file' },
      { name: 'gone', state: 'Missing', message: 'nothing is there' },
      { name: 'big', state: 'Refused', message: 'holds 1001 bytes, the limit is 1000' },
      { name: 'fine', state: 'Stored' },
    ]);
  });

  it('brings a large artifact in parts', async () => {
    const pod = await podOf({ outputs: outputs(['big', 'big.bin']) });
    const body = randomBytes(150 * MIB);
    await pod.write('big.bin', body);
    expect(await pod.live()).toBe(0);
    const [big] = (await operator.result(pod.task)).artifacts;
    expect(big).toMatchObject({ state: 'Stored', sizeBytes: 150 * MIB, sha256: sha256(body) });
    expect(sha256(await stored(big))).toBe(big?.sha256);
  });

  it('writes the result before it says so, and finds it again after a restart', async () => {
    const pod = await podOf();
    await pod.write('metrics.json', '{"a": 1}');
    await pod.live();
    const result = await operator.result(pod.task);
    const hub = new ResultsHub(under.store);
    expect((await hub.load(pod.task, 1)).results.get(0)).toEqual(result);
    expect(await under.store.get(resultKey(pod.task, 0))).toBeDefined();
    operator.hub.forget(pod.task.clientRunId);
    expect(operator.hub.get(pod.task).results.size).toBe(0);
  });

  it('waits for a gateway that comes later', async () => {
    const pod = await podOf();
    await pod.write('metrics.json', '{"a": 1}');
    await pod.write('x', 'y');
    pod.start();
    await pod.says('started');
    await operator.goDown();
    pod.endUser();
    await operator.comeBack();
    expect(await pod.exited()).toBe(0);
    expect((await operator.result(pod.task)).artifacts).toMatchObject([{ state: 'Stored' }]);
  });

  it('leaves its metrics in the termination message where no gateway ever answers', async () => {
    const pod = await Pod.make(operator, operator.run({ uploadSeconds: 2 }), { gatewayUrl: 'https://127.0.0.1:9' });
    onTestFinished(() => pod.remove());
    await pod.write('metrics.json', '{"loss": 0.25, "bad": null}');
    expect(await pod.live()).toBe(0);
    const of = { rank: 0, podUid: 'p', collectedAt: 'now' };
    expect(parseTerminationMessage(await pod.terminationMessage(), of)).toMatchObject({
      metrics: { loss: 0.25 },
      metricsOmitted: 1,
      via: 'TerminationMessage',
    });
  });

  it('says which artifacts the time did not suffice for, and still brings the metrics', async () => {
    const pod = await podOf({ uploadSeconds: 3, outputs: outputs(['big', 'big.bin']) });
    await pod.write('metrics.json', '{"a": 1}');
    await pod.write('big.bin', '');
    await truncate(join(pod.folder, 'output', 'big.bin'), 100_000 * MIB);
    await run('chmod', ['600', join(pod.folder, 'output', 'big.bin')]);
    pod.task.maxArtifactBytes = 2 ** 50;
    const config = { ...pod.config, limits: { maxArtifactBytes: 2 ** 50 } };
    Object.assign(pod.config, config);
    expect(await pod.live()).toBe(0);
    const result = await operator.result(pod.task);
    expect(result.metrics).toEqual({ a: 1 });
    expect(result.artifacts).toMatchObject([
      { name: 'big', state: 'Failed', message: 'was not stored within the 3 s for uploads' },
    ]);
  });

  it('tells progress, and collects at once when the operator wants it', async () => {
    const pod = await podOf();
    await pod.write('progress.json', '{"percent": 40, "etaSeconds": 60, "step": 400}');
    await pod.write('metrics.json', '{"a": 1}');
    pod.start();
    while (operator.hub.get(pod.task).progress === undefined) await changed(operator);
    expect(operator.hub.get(pod.task).progress).toMatchObject({ percent: 40, etaSeconds: 60, step: 400 });
    pod.task.collectNow = true;
    expect(await operator.result(pod.task)).toMatchObject({ metrics: { a: 1 } });
    // The user's container still runs: the kubelet starts the collector again, which now waits for the end.
    expect(await pod.exited()).toBe(0);
    pod.start();
    await pod.says('started');
    pod.endUser();
    expect(await pod.exited()).toBe(0);
  });

  it('stores an artifact while the run goes on once it is marked final', async () => {
    const pod = await podOf({ outputs: outputs(['model', 'model.bin'], ['late', 'late.bin']) });
    await pod.write('model.bin', 'weights');
    await pod.write('.final/model', '');
    pod.start();
    await pod.says('"an artifact was stored early","name":"model"');
    await pod.write('late.bin', 'late');
    pod.endUser();
    expect(await pod.exited()).toBe(0);
    expect((await operator.result(pod.task)).artifacts).toMatchObject([
      { name: 'model', state: 'Stored' },
      { name: 'late', state: 'Stored' },
    ]);
  });

  it('stores what is there once the pod is being deleted, and then what the user still wrote', async () => {
    const pod = await podOf({ outputs: outputs(['model', 'model.bin']), stopping: true });
    await pod.write('model.bin', 'early');
    pod.start();
    await pod.says('"an artifact was stored early","name":"model"');
    expect(operator.hub.get(pod.task).results.size).toBe(0);
    await pod.write('model.bin', 'the last checkpoint');
    await pod.write('metrics.json', '{"a": 1}');
    pod.endUser();
    expect(await pod.exited()).toBe(0);
    const { artifacts, metrics } = await operator.result(pod.task);
    expect(metrics).toEqual({ a: 1 });
    expect((await stored(artifacts[0])).toString()).toBe('the last checkpoint');
  });

  it('goes on after it was killed in the middle, and stores nothing twice', async () => {
    const pod = await podOf({ outputs: outputs(['one', 'one.bin'], ['two', 'two.bin']) });
    await pod.write('one.bin', randomBytes(MIB));
    await pod.write('two.bin', randomBytes(130 * MIB));
    await pod.write('.final/one', '');
    pod.start();
    await pod.says('"an artifact was stored early","name":"one"');
    pod.endUser();
    pod.kill();
    await pod.exited();
    expect(await pod.live()).toBe(0);
    expect((await operator.result(pod.task)).artifacts).toMatchObject([{ state: 'Stored' }, { state: 'Stored' }]);
    const state = JSON.parse(await readFile(join(pod.folder, 'state', 'state.json'), 'utf8')) as { posted: boolean };
    expect(state.posted).toBe(true);
  });

  it('hands over fingerprints, also to an operator that has forgotten them, and no value', async () => {
    const pod = await Pod.make(operator, operator.run(), {});
    onTestFinished(() => pod.remove());
    pod.config.secretEnvDir = join(pod.folder, 'secrets');
    await mkdir(join(pod.folder, 'secrets', '..data'), { recursive: true });
    await writeFile(join(pod.folder, 'secrets', 'HF_TOKEN'), 'tea-for-two-at-five');
    pod.start();
    while (operator.hub.fingerprints(pod.task, 0) === undefined)
      await pod.says('started').then(() => new Promise(setImmediate));
    operator.hub.forget(pod.task.clientRunId);
    pod.endUser();
    expect(await pod.exited()).toBe(0);
    const set = operator.hub.fingerprints(pod.task, 0);
    expect(JSON.stringify(set)).not.toContain('tea-for');
    const redactor = new Redactor(set);
    const out = Buffer.concat([redactor.push(Buffer.from('x tea-for-two-at-five y')), redactor.flush()]);
    expect(out.toString()).toBe('x [redacted] y');
  });

  it('sends metrics of rank 0 alone, and artifacts of the ranks that are wanted', async () => {
    const task = operator.run({ nodes: 2, rankOf: () => 1 });
    const pod = await Pod.make(operator, task);
    onTestFinished(() => pod.remove());
    await pod.write('metrics.json', '{"a": 1}');
    await pod.write('x', 'y');
    pod.start(undefined, { JOB_COMPLETION_INDEX: '1' });
    await pod.says('started');
    pod.endUser();
    expect(await pod.exited()).toBe(0);
    expect(await operator.result(task, 1)).toMatchObject({ rank: 1, metrics: {}, artifacts: [] });
  });

  // The gateway asks, whatever the store: once is enough.
  if (kind === 'files') {
    it('asks the API server about a token once', async () => {
      const asked = operator.tokens.asked;
      const pod = await podOf();
      await pod.live();
      expect(operator.tokens.asked - asked).toBe(1);
    });
  }
});

async function changed(operator: Operator): Promise<void> {
  await new Promise<void>((resolve) => {
    const end = operator.hub.onChange(() => {
      end();
      resolve();
    });
  });
}
