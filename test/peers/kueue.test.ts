import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { WorldRun } from '../../src/controller/run/view.ts';
import { JOBS } from '../../src/kube/resource.ts';
import { OPERATOR_IMAGE } from '../cluster/operator-image.ts';
import { fixture } from '../e2e/fixture.ts';
import { condition, type RunSpec } from '../e2e/kit.ts';
import { storedFile } from '../e2e/store.ts';
import { Gates } from './gates.ts';
import { flavor, installKueue, queueWith, removeKueue, scaleKueue } from './kueue.ts';

/** Runs whose place Kueue gives and takes, on real Pods. */

const world = fixture('kueue');
let gates: Gates;

beforeAll(async () => {
  const { kit } = world;
  await installKueue(kit.cluster);
  gates = await Gates.listen(kit.cluster);
  await kit.cluster.patchNodeCapacity('nvidia.com/gpu', 32);
  const local = {
    image: OPERATOR_IMAGE,
    outputSizeLimit: '64Mi',
    gpu: { resourceName: 'nvidia.com/gpu', count: 1 },
    overrides: { queueName: true, nodes: { max: 2 } },
  };
  await kit.apply(
    flavor,
    { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata: { name: 'kueue-urgent' }, value: 1000 },
    kit.profile('kueue-usual', local),
    kit.profile('kueue-urgent', { ...local, priorityClassName: 'kueue-urgent' }),
  );
});

afterAll(async () => {
  const { cluster, namespace } = world.kit;
  gates?.close();
  await cluster.kubectl(['delete', 'worldruns', '--all', '-n', namespace, '--timeout=60s'], { timeoutMs: 70_000 });
  await cluster.kubectl(['delete', 'localqueues', '--all', '-n', namespace, '--timeout=60s'], { timeoutMs: 70_000 });
  await cluster.kubectl(['delete', 'clusterqueues', '-l', `worldflux-test=${namespace}`, '--timeout=60s'], {
    timeoutMs: 70_000,
  });
  await cluster.kubectl(['delete', 'resourceflavor', flavor.metadata.name, '--timeout=60s'], { timeoutMs: 70_000 });
  await cluster.kubectl(['delete', 'priorityclass', 'kueue-urgent']);
  await removeKueue(cluster);
});

const reasonIs = (reason: string) => (run: WorldRun) => condition(run, 'Ready')?.reason === reason;

/** A run of this queue that waits for its gate, which has its name. */
async function apply(name: string, queueName: string, more: RunSpec & { urgent?: boolean } = {}): Promise<void> {
  const { urgent = false, timeouts, ...spec } = more;
  await world.kit.apply(
    world.kit.run(name, {
      runtimeProfileRef: { name: urgent ? 'kueue-urgent' : 'kueue-usual' },
      command: gates.command(name),
      queueName,
      ...spec,
      timeouts: { uploadSeconds: 5, ...(timeouts as object | undefined) },
    }),
  );
}

async function jobsOf(run: WorldRun) {
  const jobs = [];
  const { client, namespace } = world.kit;
  for await (const job of client.list(JOBS, { namespace, labelSelector: `worldflux.ai/run-uid=${run.metadata!.uid}` }))
    jobs.push(job);
  return jobs;
}

/** Nothing of the run is left in Kueue's queue once its Jobs are gone: Kueue's Workloads belong to them. */
async function leftTheQueue(run: WorldRun): Promise<void> {
  const { cluster, namespace } = world.kit;
  const selector = `worldflux.ai/run-uid=${run.metadata!.uid}`;
  await cluster.kubectl(['-n', namespace, 'wait', '--for=delete', 'jobs', '-l', selector, '--timeout=60s'], {
    timeoutMs: 70_000,
  });
}

const logOf = (run: WorldRun, attempt: number) =>
  readFile(
    storedFile(
      world.operator.storeDir,
      run.status!.result!.log!.path.replace(/\/attempts\/\d+\//, `/attempts/${attempt}/`),
    ),
    'utf8',
  );

describe.concurrent('under Kueue, a run', () => {
  test('waits suspended while its queue is full, and starts when a place is free', async ({ expect }) => {
    const { kit } = world;
    await kit.apply(...queueWith('one', kit.namespace, 1));
    await apply('first', 'one');
    await kit.until('first', reasonIs('Running'));
    await apply('second', 'one');
    const queued = await kit.until('second', reasonIs('Queued'));
    expect(queued.status).toMatchObject({ phase: 'Admitted' });
    expect(await jobsOf(queued)).toMatchObject([{ spec: { suspend: true } }]);
    gates.open('first');
    gates.open('second');
    expect((await kit.finished('first')).status).toMatchObject({ phase: 'Succeeded' });
    expect((await kit.finished('second')).status).toMatchObject({ phase: 'Succeeded', attemptCount: 1 });
  });

  test('that is preempted for one of higher priority waits again without losing a try, and finishes later', async ({
    expect,
  }) => {
    const { kit } = world;
    await kit.apply(...queueWith('contested', kit.namespace, 1));
    await apply('low', 'contested', { retry: { maxAttempts: 1 } });
    await kit.until('low', reasonIs('Running'));
    await apply('urgent', 'contested', { urgent: true });
    const requeued = await kit.until('low', reasonIs('Queued'));
    expect(requeued.status!.attempts).toMatchObject([{ number: 1, reason: 'Requeued', counted: false }]);
    await kit.until('urgent', reasonIs('Running'));
    gates.open('urgent');
    gates.open('low');
    const done = await kit.finished('low');
    expect(done.status).toMatchObject({
      phase: 'Succeeded',
      attempts: [
        { number: 1, reason: 'Requeued', counted: false },
        { number: 2, reason: 'Completed' },
      ],
    });
    expect(done.status!.manifest).toMatchObject({ attempt_count: 2 });
    expect(await jobsOf(done)).toHaveLength(1);
    // The same Job started twice, so its variables still name the attempt that it was made for.
    expect(await logOf(done, 1)).toMatch(/^start \S+ of 1\n$/);
    expect(await logOf(done, 2)).toMatch(/^start \S+ of 1\nend\n$/);
  });

  test('over two nodes starts only when there is room for both, and survives an eviction of both', async ({
    expect,
  }) => {
    const { kit } = world;
    await kit.apply(...queueWith('gang', kit.namespace, 1));
    await apply('pair', 'gang', { nodes: 2 });
    const queued = await kit.until('pair', reasonIs('Queued'));
    expect(await jobsOf(queued)).toMatchObject([{ spec: { suspend: true, parallelism: 2 } }]);
    await kit.apply(...queueWith('gang', kit.namespace, 2));
    await kit.until('pair', reasonIs('Running'));
    await apply('intruder', 'gang', { urgent: true });
    const requeued = await kit.until('pair', reasonIs('Queued'));
    expect(requeued.status!.attempts).toMatchObject([{ number: 1, reason: 'Requeued', counted: false }]);
    gates.open('intruder');
    gates.open('pair');
    expect((await kit.finished('pair')).status).toMatchObject({
      phase: 'Succeeded',
      attempts: [{ reason: 'Requeued' }, { number: 2, reason: 'Completed' }],
    });
  });

  test('that waits may be cancelled, deleted, or suspended and resumed', async ({ expect }) => {
    const { kit } = world;
    await kit.apply(...queueWith('busy', kit.namespace, 1));
    await apply('holder', 'busy');
    await kit.until('holder', reasonIs('Running'));
    const waiting = ['cancelled', 'deleted', 'paused'];
    await Promise.all(waiting.map((name) => apply(name, 'busy')));
    const runs = await Promise.all(waiting.map((name) => kit.until(name, reasonIs('Queued'))));
    await kit.patch('cancelled', { cancel: true });
    await kit.patch('paused', { suspend: true });
    await kit.cluster.kubectl(['-n', kit.namespace, 'delete', 'worldrun', 'deleted', '--timeout=30s']);
    expect((await kit.finished('cancelled')).status).toMatchObject({ phase: 'Cancelled' });
    await kit.until('paused', (run) => run.status?.phase === 'Suspended');
    await Promise.all(runs.map(leftTheQueue));
    await kit.patch('paused', { suspend: false });
    await kit.until('paused', reasonIs('Queued'));
    gates.open('holder');
    gates.open('paused');
    expect((await kit.finished('paused')).status).toMatchObject({ phase: 'Succeeded' });
  });

  test.for<[string, RegExp]>([
    ['whose queue does not exist', /doesn't exist/],
    ['whose queue has no quota for all that it asks for', /cpu/],
  ])('%s waits, shows where Kueue says so, and is ended by its own clock', async ([what, words], { expect }) => {
    const { kit } = world;
    const name = what.endsWith('exist') ? 'nowhere' : 'gpu-only';
    if (name === 'gpu-only') await kit.apply(...queueWith(name, kit.namespace, 1, {}));
    await apply(name, name, { timeouts: { queueSeconds: 15 } });
    const queued = await kit.until(name, reasonIs('Queued'));
    const [, command = ''] = /kubectl (.*)$/.exec(condition(queued, 'Ready')!.message!) ?? [];
    await expect.poll(() => kit.cluster.kubectl(command.split(' ')), { timeout: 12_000 }).toMatch(words);
    const run = await kit.finished(name);
    expect(condition(run, 'Succeeded')).toMatchObject({ status: 'False', reason: 'QueueDeadlineExceeded' });
    expect(condition(run, 'Succeeded')?.message).toContain('its queue did not admit it');
    await leftTheQueue(run);
  });
});

test('a run of a namespace whose default queue takes every Job waits in it too', async () => {
  const { kit } = world;
  await kit.apply(...queueWith('default', kit.namespace, 0));
  await kit.apply(kit.shell('unasked', 'kueue-usual', 'true', { timeouts: { uploadSeconds: 5 } }));
  await kit.until('unasked', reasonIs('Queued'));
  await kit.apply(...queueWith('default', kit.namespace, 1));
  expect((await kit.finished('unasked')).status).toMatchObject({ phase: 'Succeeded' });
  await kit.cluster.kubectl(['-n', kit.namespace, 'delete', 'localqueue', 'default']);
});

test('while Kueue is away its webhook refuses every Job: runs say so, and start when it is back', async () => {
  const { kit } = world;
  await scaleKueue(kit.cluster, 0);
  try {
    await kit.apply(kit.shell('barred', 'kueue-usual', 'true'));
    const refused = await kit.until('barred', reasonIs('JobRefused'));
    expect(condition(refused, 'Ready')?.message).toContain('kueue');
  } finally {
    await scaleKueue(kit.cluster, 1);
  }
  expect((await kit.finished('barred')).status).toMatchObject({ phase: 'Succeeded' });
});
