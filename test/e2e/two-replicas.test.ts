import { expect, test } from 'vitest';
import type { WorldRun } from '../../src/controller/run/view.ts';
import { JOBS } from '../../src/kube/resource.ts';
import { condition } from './kit.ts';
import { replicas, type Replica } from './replicas.ts';

/** Two operators, one bucket, real pods: the one that leads dies, sleeps, goes; runs do not notice. */

const world = replicas('two');

const MIB = 2 ** 20;
const METRICS = '/worldflux/output/metrics.json';
const blob = (mib: number): string => `dd if=/dev/urandom of=/worldflux/output/blob bs=1M count=${mib} 2>/dev/null`;
/** Says 200 lines, lasts `seconds`, leaves a number and some bytes. */
const work = (seconds: number, mib: number): string =>
  `for i in $(seq 200); do echo line $i; done; sleep ${seconds}; echo '{"seconds": ${seconds}}' > ${METRICS}; ${blob(mib)}; echo done`;

function train(name: string, seconds: number, mib = 1): object {
  const { kit, profile } = world.current;
  const outputs = { artifacts: [{ name: 'blob', path: 'blob' }] };
  return kit.shell(name, profile, work(seconds, mib), { outputs, timeouts: { uploadSeconds: 120 } });
}

async function jobsOf(run: WorldRun): Promise<number> {
  const { client, namespace } = world.current.kit;
  let count = 0;
  const selection = { namespace, labelSelector: `worldflux.ai/run-uid=${run.metadata!.uid!}` };
  for await (const job of client.list(JOBS, selection)) count += Number(job.metadata !== undefined);
  return count;
}

/** Ended well with one Job, and everything that it left is in the bucket. */
async function expectWhole(name: string, seconds: number, mib = 1): Promise<void> {
  const { kit, store } = world.current;
  const run = await kit.finished(name, 240);
  expect(run.status, name).toMatchObject({
    phase: 'Succeeded',
    attemptCount: 1,
    manifest: { metrics: { seconds } },
    artifacts: [{ name: 'blob', state: 'Stored', sizeBytes: mib * MIB }],
    result: { log: { complete: true, gaps: 0, headLost: false } },
  });
  expect(condition(run, 'ResultsStored'), name).toMatchObject({ status: 'True' });
  expect(await jobsOf(run), name).toBe(1);
  expect((await store.get(run.status!.artifacts![0]!.path))?.size).toBe(mib * MIB);
  const log = await store.get(run.status!.result!.log!.path);
  const text = await log!.open().then((stream) => stream.toArray());
  const lines = Buffer.concat(text as Buffer[])
    .toString()
    .trimEnd()
    .split('\n');
  expect(lines.length, name).toBe(201);
  expect(lines.at(-1), name).toMatch(/done$/);
}

/** Milliseconds until a run that is new has been written to by a leader of a later term. */
async function untilWritten(name: string, after: number): Promise<number> {
  const { kit, profile } = world.current;
  const from = performance.now();
  await kit.apply(kit.shell(name, profile, 'true'));
  await kit.until(name, (run) => (run.status?.epoch ?? 0) > after, 120);
  return performance.now() - from;
}

const epochOf = async (name: string): Promise<number> => (await world.current.kit.get(name)).status!.epoch!;

async function metric(replica: Replica, name: string): Promise<number | undefined> {
  const text = await (await fetch(`${replica.metricsUrl}/metrics`)).text();
  const line = text.split('\n').find((one) => one.startsWith(name));
  return line === undefined ? undefined : Number(line.split(' ').at(-1));
}

test('both are ready, one leads, and pods that reach only the other one miss nothing', async () => {
  const { kit, profile } = world.current;
  const { leader, standbys } = await world.current.roles();
  const [standby] = standbys;
  for (const replica of [leader, standby!]) expect((await fetch(`${replica.metricsUrl}/readyz`)).status).toBe(200);
  expect(await metric(leader, 'leader_election_master_status')).toBe(1);
  expect((await metric(standby!, 'leader_election_master_status')) ?? 0).toBe(0);

  await world.current.serveBy(standby!);
  const progress = '/worldflux/output/progress.json';
  await kit.apply(
    train('by-the-standby', 1),
    kit.shell('slow', profile, `echo '{"percent": 42}' > ${progress}; echo '{"x": 1}' > ${METRICS}; sleep 600`),
  );
  await kit.until('slow', (run) => run.status?.progress?.percent === 42);
  await kit.patch('slow', { cancel: true });
  const cancelled = await kit.finished('slow');
  expect(cancelled.status).toMatchObject({ manifest: { metrics: { x: 1 } } });
  expect(condition(cancelled, 'ResultsStored')).toMatchObject({ status: 'True' });
  await expectWhole('by-the-standby', 1);
  expect((await metric(standby!, 'worldrun_finished_total')) ?? 0).toBe(0);
  await world.current.serveBy(leader, standby!);
});

test('a run that is deleted while its pod has results to bring does not keep the pod: any replica says that it is over', async () => {
  const { kit, profile } = world.current;
  await world.current.serveBy();
  const spec = { timeouts: { uploadSeconds: 600 } };
  await kit.apply(kit.shell('unwanted', profile, `echo '{"x": 1}' > ${METRICS}`, spec));
  const of = ['-n', kit.namespace, '-l', 'worldflux.ai/run=unwanted'];
  const exitCode = '{.status.containerStatuses[0].state.terminated.exitCode}';
  const waitFor = (what: string) =>
    kit.cluster.kubectl(['wait', 'pods', ...of, `--for=${what}`, '--timeout=120s'], { timeoutMs: 130_000 });
  await kit.until('unwanted', (run) => (run.status?.attempts ?? []).length > 0);
  await waitFor(`jsonpath=${exitCode}=0`);
  await kit.cluster.kubectl(['-n', kit.namespace, 'delete', 'worldrun', 'unwanted']);
  const { standbys } = await world.current.roles();
  await world.current.serveBy(...standbys);
  await waitFor('delete');
  await world.current.serveBy(...world.current.all);
});

test('the leader is killed while runs start, run, upload and end: the standby ends them all', async () => {
  const { kit } = world.current;
  const { leader } = await world.current.roles();
  const lengths = [0, 2, 4, 8, 12, 20];
  for (const seconds of lengths) await kit.apply(train(`killed-${seconds}`, seconds));
  await kit.apply(train('killed-in-upload', 3, 150));
  await kit.until('killed-in-upload', (run) => run.status?.phase === 'Collecting' || run.status?.phase === 'Running');
  await kit.until('killed-0', (run) => condition(run, 'Finished')?.status === 'True');
  const epoch = await epochOf('killed-0');
  await leader.kill();
  const took = await untilWritten('after-the-kill', epoch);
  console.log(`leader killed: the next one's first write came after ${(took / 1000).toFixed(1)} s`);
  for (const seconds of lengths) await expectWhole(`killed-${seconds}`, seconds);
  await expectWhole('killed-in-upload', 3, 150);
  await world.current.start();
});

test('the leader sleeps past its lease: when it wakes it is refused, exits, and has changed nothing', async () => {
  const { kit } = world.current;
  const { leader } = await world.current.roles();
  await kit.apply(train('slept-through', 25), train('slept-in-upload', 2, 100));
  await kit.until('slept-through', (run) => condition(run, 'Ready')?.reason === 'Running');
  const epoch = await epochOf('slept-through');
  leader.pause();
  const took = await untilWritten('after-the-pause', epoch);
  console.log(`leader paused: the next one's first write came after ${(took / 1000).toFixed(1)} s`);
  const later = await epochOf('after-the-pause');
  leader.resume();
  expect(await leader.ended).toBe(1);
  await expectWhole('slept-through', 25);
  await expectWhole('slept-in-upload', 2, 100);
  expect(await epochOf('slept-through')).toBe(later);
  await world.current.start();
});

test('both are replaced one after the other while runs run and upload, and nothing is lost', async () => {
  const { kit } = world.current;
  const names: [string, number, number][] = [];
  const begin = async (name: string, seconds: number, mib = 1) => {
    names.push([name, seconds, mib]);
    await kit.apply(train(name, seconds, mib));
  };
  await begin('rolled-long', 30);
  const before = world.current.all;
  for (const [i, old] of before.entries()) {
    await begin(`rolled-${i}-short`, 1);
    await begin(`rolled-${i}-upload`, 2, 150);
    await kit.until(`rolled-${i}-upload`, (run) => condition(run, 'Ready')?.reason === 'Running');
    await world.current.start();
    const { leader } = await world.current.roles();
    const epoch = await epochOf(`rolled-${i}-upload`);
    expect(await old.stop()).toBe(0);
    if (old !== leader) continue;
    const took = await untilWritten(`after-the-stop-${i}`, epoch);
    console.log(`leader stopped: the next one's first write came after ${(took / 1000).toFixed(1)} s`);
  }
  for (const [name, seconds, mib] of names) await expectWhole(name, seconds, mib);
});
