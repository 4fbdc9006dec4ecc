import { afterAll, beforeAll, expect, test } from 'vitest';
import { startWorldFlux, TEST_KEY, type FakeWorldFlux } from '../fakes/worldflux/server.ts';
import { BUSYBOX_IMAGE } from '../cluster/small-images.ts';
import type { WorldRun } from '../../src/controller/run/view.ts';
import { fixture } from './fixture.ts';
import { letOperatorRead } from './rights.ts';
import { condition } from './kit.ts';

/** From a real Pod through the collector and the run store to the stand-in for WorldFlux. */

const world = fixture('sync');
let fake: FakeWorldFlux;

beforeAll(async () => {
  fake = await startWorldFlux();
  const { kit } = world;
  await letOperatorRead(kit.cluster, { namespace: kit.namespace, name: 'worldflux' });
  await kit.apply(
    { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'worldflux' }, stringData: { apiKey: TEST_KEY } },
    kit.profile(
      'sync-e2e',
      { image: BUSYBOX_IMAGE, outputSizeLimit: '256Mi' },
      {
        sync: {
          mode: 'OnCompletion',
          baseURL: fake.url,
          allowedProjects: ['demo-box'],
          apiKeySecretRef: { name: 'worldflux' },
        },
        network: { allowPlainHTTP: true, allowPrivateEndpoints: true },
      },
    ),
  );
  await kit.untilProfile('sync-e2e', (p) => condition(p, 'Ready')?.status === 'True');
});
afterAll(() => fake?.close());

const is = (reason: string) => (run: WorldRun) => condition(run, 'Synced')?.reason === reason;
const outputs = {
  artifacts: [
    { name: 'checkpoint', path: 'model.bin', commit: true },
    { name: 'video', path: 'rollout.mp4' },
  ],
};
const script =
  'cd /worldflux/output && echo training && echo token wfx_canary00000000000000 && head -c 20000000 /dev/zero > model.bin && echo frames > rollout.mp4 && echo \'{"loss": 0.25}\' > metrics.json';

test('a run of a real Pod arrives with metrics, redacted log and its committed artifact alone', async () => {
  const { kit } = world;
  await kit.apply(kit.shell('arrives', 'sync-e2e', script, { outputs }));
  const run = await kit.until('arrives', is('Synced'), 120);
  const there = [...fake.state.runs.values()].find(({ clientRunId }) => clientRunId === run.status?.clientRunId);
  expect(there).toMatchObject({ metrics: { loss: 0.25 }, logLines: ['training', 'token [redacted]'] });
  const artifacts = [...fake.state.artifacts.values()].filter(({ runId }) => runId === there?.id);
  const recorded = run.status?.artifacts?.find(({ name }) => name === 'checkpoint');
  expect(artifacts).toMatchObject([
    {
      name: 'checkpoint',
      state: 'committed',
      received: { size: 20_000_000, sha256: recorded?.sha256?.replace('sha256:', '') },
    },
  ]);
  expect(fake.traffic.violations).toEqual([]);
});

test('an operator that is killed in mid-upload leaves one run and one copy', async () => {
  const { kit } = world;
  fake.faults.add({ on: 'upload', hang: true });
  const before = fake.traffic.of('upload').length;
  await kit.apply(kit.shell('killed', 'sync-e2e', script, { outputs }));
  await expect.poll(() => fake.traffic.of('upload').length, { timeout: 90_000 }).toBe(before + 1);
  await world.restart();
  const run = await kit.until('killed', is('Synced'), 120);
  const runs = [...fake.state.runs.values()].filter(({ clientRunId }) => clientRunId === run.status?.clientRunId);
  expect(runs).toHaveLength(1);
  const states = [...fake.state.artifacts.values()]
    .filter(({ runId }) => runId === runs[0]?.id)
    .map(({ state }) => state);
  expect(states.toSorted()).toEqual(['aborted', 'committed']);
});

test('a run that is deleted while no operator runs has its upload taken back', async () => {
  const { kit } = world;
  fake.faults.add({ on: 'upload', hang: true });
  const before = fake.traffic.of('upload').length;
  await kit.apply(kit.shell('deleted', 'sync-e2e', script, { outputs }));
  await expect.poll(() => fake.traffic.of('upload').length, { timeout: 90_000 }).toBe(before + 1);
  const { clientRunId } = (await kit.get('deleted')).status ?? {};
  await world.operator.kill();
  await kit.cluster.kubectl(['-n', kit.namespace, 'delete', 'worldrun', 'deleted', '--wait=true']);
  await world.restart();
  const run = [...fake.state.runs.values()].find((r) => r.clientRunId === clientRunId);
  const states = () =>
    [...fake.state.artifacts.values()].filter(({ runId }) => runId === run?.id).map(({ state }) => state);
  await expect.poll(states, { timeout: 60_000 }).toEqual(['aborted']);
});
