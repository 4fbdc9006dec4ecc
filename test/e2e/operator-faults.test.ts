import { expect, test } from 'vitest';
import { JOBS } from '../../src/kube/resource.ts';
import { condition } from './kit.ts';
import { fixture } from './fixture.ts';
import { freePort, startOperator } from './operator-process.ts';

/** The operator dies, sleeps, and meets another one; runs do not notice. */

const world = fixture('operator-faults');

async function jobCount(uid: string): Promise<number> {
  let count = 0;
  for await (const job of world.kit.client.list(JOBS, {
    namespace: world.kit.namespace,
    labelSelector: `worldflux.ai/run-uid=${uid}`,
  }))
    count += Number(job.metadata !== undefined);
  return count;
}

test('killed while runs are at every stage, the next one ends them all, with one Job each', async () => {
  const { kit, profile } = world;
  const names = Array.from({ length: 8 }, (_, i) => `stage-${i}`);
  for (const [i, name] of names.entries())
    await kit.apply(kit.shell(name, profile, `sleep ${i}; echo '{"i": ${i}}' > /worldflux/output/metrics.json`));
  for (let kill = 0; kill < 4; kill += 1) {
    await kit.until(names[kill]!, (r) => (r.status?.attempts ?? []).length > 0);
    await world.restart();
  }
  for (const [i, name] of names.entries()) {
    const run = await kit.finished(name, 180);
    expect(run.status, name).toMatchObject({ phase: 'Succeeded', attemptCount: 1, manifest: { metrics: { i } } });
    expect(await jobCount(run.metadata!.uid!)).toBe(1);
  }
});

test('away while a run uploads, it finds the results when it is back', async () => {
  const { kit, profile } = world;
  await kit.apply(
    kit.shell(
      'upload-later',
      profile,
      `echo '{"x": 1}' > /worldflux/output/metrics.json; dd if=/dev/urandom of=/worldflux/output/blob bs=1M count=20 2>/dev/null; sleep 3`,
      { timeouts: { uploadSeconds: 120 } },
    ),
  );
  await kit.until('upload-later', (r) => condition(r, 'Ready')?.reason === 'Running');
  await world.operator.kill();
  await kit.cluster.kubectl(
    [
      '-n',
      kit.namespace,
      'wait',
      'pod',
      '-l',
      'worldflux.ai/run=upload-later',
      '--for=jsonpath={.status.containerStatuses[0].state.terminated.exitCode}=0',
      '--timeout=60s',
    ],
    { timeoutMs: 70_000 },
  );
  world.operator = await startOperator(world.settings);
  const run = await kit.finished('upload-later', 120);
  expect(condition(run, 'ResultsStored')).toMatchObject({ status: 'True' });
  expect(run.status!.manifest).toMatchObject({ metrics: { x: 1 } });
});

test('never back in time, the metrics still come through the termination message', async () => {
  const { kit, profile } = world;
  await kit.apply(
    kit.shell('no-gateway', profile, `echo '{"x": 2}' > /worldflux/output/metrics.json; sleep 3`, {
      timeouts: { uploadSeconds: 10 },
    }),
  );
  await kit.until('no-gateway', (r) => condition(r, 'Ready')?.reason === 'Running');
  await world.operator.kill();
  await kit.cluster.kubectl(
    [
      '-n',
      kit.namespace,
      'wait',
      'pod',
      '-l',
      'worldflux.ai/run=no-gateway',
      '--for=jsonpath={.status.phase}=Succeeded',
      '--timeout=90s',
    ],
    { timeoutMs: 100_000 },
  );
  world.operator = await startOperator(world.settings);
  const run = await kit.finished('no-gateway', 120);
  expect(run.status!.manifest).toMatchObject({ metrics: { x: 2 }, status: 'succeeded' });
  expect(condition(run, 'ResultsStored')).toMatchObject({ status: 'False', reason: 'GatewayUnreachable' });
});

test('paused past its lease, it finds another leader when it wakes, writes nothing and exits', async () => {
  const { kit, profile } = world;
  const paused = world.operator;
  await kit.apply(kit.shell('handover', profile, 'sleep 25', { timeouts: { uploadSeconds: 10 } }));
  await kit.until('handover', (r) => condition(r, 'Ready')?.reason === 'Running');
  const second = await startOperator({ ...world.settings, gatewayPort: await freePort() });
  paused.pause();
  try {
    await kit.apply(kit.shell('under-the-second', profile, 'true'));
    const run = await kit.until('under-the-second', (r) => (r.status?.epoch ?? 0) > 0, 60);
    paused.resume();
    expect(await paused.ended).toBe(1);
    const epoch = run.status!.epoch!;
    expect((await kit.finished('handover')).status!.epoch).toBe(epoch);
  } finally {
    paused.resume();
    await second.stop();
  }
  world.operator = await startOperator(world.settings);
  expect((await kit.finished('under-the-second', 120)).status!.phase).toBe('Succeeded');
});
