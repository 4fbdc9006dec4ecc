import { WORLD_RUNS, type WorldRun } from '../../src/controller/run/view.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { Meter } from './accounting.ts';
import { Driver } from './driver.ts';
import { NAMESPACE, worldRun } from './objects.ts';
import type { Entry } from './operator-process.ts';
import { openStage } from './stage.ts';

/** What one write of a terminal status costs, by how it is written. */
export interface StatusWriteResult {
  how: string;
  writes: number;
  apiServerCpuMsPerWrite: number;
  etcdCpuMsPerWrite: number;
  writesPerSecond: number;
}

type Status = NonNullable<WorldRun['status']>;
type Write = (client: KubeClient, run: WorldRun, status: Status) => Promise<unknown>;

const STATUS = { subresource: 'status', fieldManager: 'worldflux-operator' } as const;

const WAYS: Record<string, Write> = {
  'server-side apply': (client, run, status) => {
    const { namespace, name, uid } = run.metadata!;
    const object = { metadata: { namespace, name, uid }, status } as WorldRun;
    return client.apply(WORLD_RUNS, object, { ...STATUS, force: true });
  },
  'merge patch': (client, run, status) => client.patch(WORLD_RUNS, refOf(run), { merge: { status } }, STATUS),
  'JSON patch': (client, run, status) =>
    client.patch(WORLD_RUNS, refOf(run), { json: [{ op: 'add', path: '/status', value: status }] }, STATUS),
  update: (client, run, status) => client.replace(WORLD_RUNS, { ...run, status }, STATUS),
};

const BATCH = 400;
/** Every way in turn, and again: the API server gets slower with what it holds. */
const ROUNDS = 3;
const WIDTH = 8;

export async function measureStatusWrites(entry: Entry): Promise<StatusWriteResult[]> {
  const stage = await openStage({ form: 'nojob', who: 'operator without policies', entry });
  const { client } = stage;
  try {
    const status = await realStatus(client);
    await stage.operator!.stop();
    stage.operator = undefined;
    const results: StatusWriteResult[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [how, write] of Object.entries(WAYS)) {
        const prefix = `${how.toLowerCase().replaceAll(/[^a-z]+/g, '-')}-${round}`;
        const names = Array.from({ length: BATCH }, (_, i) => `${prefix}-${i}`);
        const runs = await parallel(names, (name) => client.create(WORLD_RUNS, worldRun(name)));
        const meter = new Meter(stage.pids());
        await parallel(runs, (run) => write(client, run, status));
        const { cpuMs, seconds } = meter.stop();
        results.push({
          how,
          writes: BATCH,
          apiServerCpuMsPerWrite: cpuMs['kube-apiserver']! / BATCH,
          etcdCpuMsPerWrite: cpuMs['etcd']! / BATCH,
          writesPerSecond: BATCH / seconds,
        });
      }
    }
    return results;
  } finally {
    await stage.close();
  }
}

/** A status as the operator writes it, so that what is measured is what is written. */
async function realStatus(client: KubeClient): Promise<Status> {
  const driver = new Driver(client, { who: 'operator', endJobs: true });
  await driver.watch();
  await driver.put({ burst: 1 }, 'sample');
  driver.stop();
  const { status } = await client.get(WORLD_RUNS, { namespace: NAMESPACE, name: 'sample-00000' });
  return status!;
}

const refOf = (run: WorldRun) => ({ namespace: NAMESPACE, name: run.metadata!.name! });

async function parallel<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const queue = [...items.entries()].toReversed();
  await Promise.all(
    Array.from({ length: WIDTH }, async () => {
      for (let next = queue.pop(); next !== undefined; next = queue.pop()) results[next[0]] = await work(next[1]);
    }),
  );
  return results;
}
