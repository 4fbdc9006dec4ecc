import { expect, test } from 'vitest';
import { aProfile } from '../../src/controller/testing/a-profile.ts';
import { aRun, type RunBuilder } from '../../src/controller/testing/a-run.ts';
import { keyOf } from '../../src/kube/store.ts';
import { allSettled, violations } from './run/outcome.ts';
import { Simulation, type Scene } from './run/simulation.ts';

/** Longer stories, each told once. */

const profile = aProfile().allowing({ nodes: { max: 2 } });
const base = aRun().within({ uploadSeconds: 60, runSeconds: 600 });

const fresh = (run: RunBuilder) => {
  const { metadata, ...rest } = run.build();
  return { ...rest, metadata: { namespace: 'team', name: metadata!.name!, annotations: metadata?.annotations ?? {} } };
};
const scene = (more: Partial<Scene> = {}): Scene => ({
  run: (name) => fresh(base.named(name)),
  profile: profile.spec(),
  workload: () => ({ seconds: 5 }),
  ...more,
});
const settled = (simulation: Simulation, ...names: string[]) =>
  simulation.run(3600, () => allSettled(simulation.api, names));
const conditionOf = (simulation: Simulation, name: string, type: string) =>
  simulation.api.get('runs', `team/${name}`)?.status?.conditions?.find((c) => c.type === type);

test('deleting the first run of a runKey takes nothing from the rerun that is at work', async () => {
  const keyed = base
    .keyed('seed-7')
    .onNodes(2)
    .asking({ outputs: { ranks: 'All' } });
  const simulation = new Simulation(
    scene({ run: (name) => fresh(keyed.named(name)), workload: (_, rank) => ({ seconds: rank === 0 ? 5 : 60 }) }),
  );
  await settled(simulation, 'run');
  const { runId } = simulation.api.get('runs', 'team/run')!.status!;
  simulation.api.create('runs', fresh(keyed.named('again').annotated({ 'worldflux.ai/rerun': runId! })));
  // Rank 0 has ended and sent its result; rank 1 still works.
  await simulation.run(20);
  const { clientRunId } = simulation.api.get('runs', 'team/again')!.status!;
  const known = () => simulation.results?.of({ clientRunId: clientRunId!, attempt: 1 }).results.size;
  expect(known()).toBe(1);
  simulation.api.remove('runs', 'team/run');
  // In memory beside it are the fingerprints of its secrets: no store has those.
  expect(known()).toBe(1);
  await settled(simulation, 'again');
  expect(conditionOf(simulation, 'again', 'Succeeded')).toMatchObject({ status: 'True', reason: 'Completed' });
  expect(conditionOf(simulation, 'again', 'ResultsStored')).toMatchObject({ status: 'True' });
  await simulation.run(60);
  expect(violations(simulation, ['again'])).toEqual([]);
});

test('a run that waits behind a refused run of its runKey does not wait for ever', async () => {
  const bad = base.keyed('seed-7').asking({ image: 'other' });
  const simulation = new Simulation(scene({ run: () => fresh(bad.named('run')) }));
  await settled(simulation, 'run');
  simulation.clock.now += 5000;
  simulation.api.create('runs', fresh(base.keyed('seed-7').named('good')));
  await settled(simulation, 'good');
  expect(conditionOf(simulation, 'good', 'Succeeded')).toMatchObject({ status: 'True', reason: 'Completed' });
});

test('somebody else’s Job under the name is said, and waited for', async () => {
  const first = new Simulation(scene());
  await settled(first, 'run');
  const name = first.api.list('jobs')[0]!.metadata!.name!;
  // The same once more, but a stranger's Job has the name.
  const stranger = { metadata: { namespace: 'team', name }, spec: { template: {}, suspend: true, completions: 1 } };
  const simulation = new Simulation(scene({ prepare: (api) => api.create('jobs', stranger) }));
  await simulation.run(60);
  expect(conditionOf(simulation, 'run', 'Ready')).toMatchObject({
    reason: 'JobNameTaken',
    message: expect.stringContaining('was not made by this operator') as string,
  });
  simulation.api.remove('jobs', `team/${name}`);
  await settled(simulation, 'run');
  expect(conditionOf(simulation, 'run', 'Succeeded')).toMatchObject({ status: 'True' });
});

test('a profile that changes between attempts does not change the run', async () => {
  const simulation = new Simulation(
    scene({
      run: () => fresh(base.retrying(2, 'NonZeroExit').named('run')),
      workload: (attempt) => ({ seconds: 5, exitCode: attempt === 1 ? 3 : 0 }),
      steps: [
        {
          when: (api) => api.get('runs', 'team/run')?.status?.attempts?.[0]?.finishedAt !== undefined,
          does: (api) => api.update('profiles', 'cpu', (p) => (p.spec = profile.local({ image: 'another:1' }).spec())),
        },
      ],
    }),
  );
  await settled(simulation, 'run');
  const images = simulation.api.log
    .filter(({ kind, type }) => kind === 'jobs' && type === 'ADDED')
    .map(
      ({ object }) =>
        (object as { spec: { template: { spec: { containers: { image: string }[] } } } }).spec.template.spec
          .containers[0]!.image,
    );
  expect(images).toHaveLength(2);
  expect(new Set(images).size).toBe(1);
});

test('a deleted profile does not stop the run that started with it', async () => {
  const simulation = new Simulation(
    scene({
      run: () => fresh(base.retrying(2, 'NonZeroExit').named('run')),
      workload: (attempt) => ({ seconds: 5, exitCode: attempt === 1 ? 3 : 0 }),
      steps: [
        {
          when: (api) => api.get('runs', 'team/run')?.status?.phase === 'Running',
          does: (api) => api.remove('profiles', 'cpu'),
        },
      ],
    }),
  );
  await settled(simulation, 'run');
  expect(conditionOf(simulation, 'run', 'Succeeded')).toMatchObject({ status: 'True' });
});

test('two attempts never run at once: the next one waits until the last pod has let go', async () => {
  const simulation = new Simulation(
    scene({
      workload: (attempt) => (attempt === 1 ? {} : { seconds: 5 }),
      steps: [
        {
          when: (api) => api.get('runs', 'team/run')?.status?.phase === 'Running',
          afterMs: 3000,
          does: (api) => api.updateSpec('team/run', (s) => (s.suspend = true)),
        },
        {
          when: (api) => api.get('runs', 'team/run')?.status?.phase === 'Suspended',
          does: (api) => api.updateSpec('team/run', (s) => (s.suspend = false)),
        },
      ],
    }),
  );
  let most = 0;
  simulation.api.subscribe(() => {
    most = Math.max(
      most,
      simulation.api.list('pods').filter((pod) => pod.status?.containerStatuses?.[0]?.state?.running !== undefined)
        .length,
    );
  });
  await settled(simulation, 'run');
  expect(simulation.api.get('runs', 'team/run')?.status?.attempts?.map((a) => a.reason)).toEqual([
    'Suspended',
    'Completed',
  ]);
  expect(most).toBe(1);
});

test('a run deleted at any moment leaves nothing at work', async () => {
  for (let events = 1; events < 30; events += 1) {
    const simulation = new Simulation(scene({ workload: () => ({ seconds: 60 }) }));
    const start = simulation.api.log.length;
    await simulation.run(3600, () => simulation.api.log.length - start >= events);
    simulation.api.remove('runs', 'team/run');
    await simulation.run(600);
    expect(simulation.api.list('jobs').map(keyOf), `after ${events} events`).toEqual([]);
    expect(simulation.api.list('pods').map(keyOf), `after ${events} events`).toEqual([]);
    expect(simulation.listenerErrors).toEqual([]);
  }
});

test('three clocks stop while the run is suspended, and add up over its attempts', async () => {
  const simulation = new Simulation(
    scene({
      workload: (attempt) => (attempt === 3 ? { seconds: 20 } : {}),
      steps: [1, 2].flatMap((attempt) => [
        {
          when: (api) => api.get('runs', 'team/run')?.status?.attempts?.[attempt - 1]?.startedAt !== undefined,
          afterMs: 10_000,
          does: (api) => api.updateSpec('team/run', (s) => (s.suspend = true)),
        },
        {
          when: (api) => api.get('runs', 'team/run')?.status?.phase === 'Suspended' && api.list('pods').length === 0,
          afterMs: 5_000_000,
          does: (api) => api.updateSpec('team/run', (s) => (s.suspend = false)),
        },
      ]) satisfies Scene['steps'],
    }),
  );
  await simulation.run(20_000, () => allSettled(simulation.api, ['run']));
  const { clocks, attempts } = simulation.api.get('runs', 'team/run')!.status!;
  expect(attempts?.map((a) => a.reason)).toEqual(['Suspended', 'Suspended', 'Completed']);
  expect(clocks!.runSeconds).toBeGreaterThanOrEqual(10 + 10 + 20 - 3);
  expect(clocks!.runSeconds).toBeLessThanOrEqual(10 + 10 + 20 + 10);
  expect(clocks!.queueSeconds + clocks!.startupSeconds).toBeLessThanOrEqual(20);
});
