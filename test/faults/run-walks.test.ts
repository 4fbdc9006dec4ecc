import * as fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { aProfile } from '../../src/controller/testing/a-profile.ts';
import { aRun } from '../../src/controller/testing/a-run.ts';
import type { WorldRun } from '../../src/controller/run/view.ts';
import { keyOf } from '../../src/kube/store.ts';
import type { ApiServer } from './run/api-server.ts';
import type { Workload } from './run/kubelet.ts';
import { allSettled, violations } from './run/outcome.ts';
import { Simulation, type Scene } from './run/simulation.ts';
import type { VirtualClock } from './run/virtual-clock.ts';

/** Random walks: people, nodes and crashes do whatever they like, whenever. */

type Act = (api: ApiServer, clock: VirtualClock, simulation: Simulation) => void;

const spec =
  (change: (spec: WorldRun['spec']) => void): Act =>
  (api) =>
    api.updateSpec('team/run', change);
const ACTS: Record<string, Act> = {
  suspend: spec((s) => (s.suspend = true)),
  resume: spec((s) => (s.suspend = false)),
  cancel: spec((s) => (s.cancel = true)),
  deletePods: (api, clock) => {
    for (const pod of api.list('pods'))
      api.update('pods', keyOf(pod), (p) => (p.metadata!.deletionTimestamp ??= clock.stamp()));
  },
  // A Job that the status does not name yet may be made again: nothing says that it was ever there.
  deleteJobs: (api) => {
    const recorded = api.get('runs', 'team/run')?.status?.attempts?.map((a) => a.jobUID);
    for (const job of api.list('jobs')) if (recorded?.includes(job.metadata?.uid)) api.remove('jobs', keyOf(job));
  },
  nodeDown: (api, clock) => setNode(api, clock, 'node-1', 'Unknown'),
  nodeUp: (api, clock) => setNode(api, clock, 'node-1', 'True'),
  die: (_, __, simulation) => simulation.die(),
  // As far as the API server lets anybody: no end is taken back, no count falls.
  editStatus: (api) => {
    if (allSettled(api, ['run'])) return;
    api.update('runs', 'team/run', (run) => {
      const { epoch, attemptCount } = run.status ?? {};
      run.status = {
        phase: 'Pending',
        ...(epoch !== undefined && { epoch }),
        ...(attemptCount !== undefined && { attemptCount }),
      };
    });
  },
};

function setNode(api: ApiServer, clock: VirtualClock, name: string, status: string): void {
  api.update(
    'nodes',
    name,
    (node) => (node.status!.conditions = [{ type: 'Ready', status, lastTransitionTime: clock.stamp() }]),
  );
}

const acts = fc.array(
  fc.record({ act: fc.constantFrom(...Object.keys(ACTS)), afterSeconds: fc.constantFrom(0, 1, 3, 10, 40, 400) }),
  { maxLength: 10 },
);
const workload: fc.Arbitrary<Workload> = fc.constantFrom(
  { seconds: 5 },
  { seconds: 60 },
  { seconds: 5, exitCode: 3 },
  {},
  { unschedulable: true },
  { noImage: true },
);
const latency = fc.constantFrom(0, 100, 2500);
const nodes = fc.constantFrom(1, 2);

let walks = 0;
afterAll(() => console.log(`run controller: ${walks} random walks`));

const QUEUE = 900;
const RUN = 300;
const UPLOAD = 30;

test('whatever happens to a run, it ends or says what it waits for; nothing is left at work, nothing is started twice', async () => {
  await fc.assert(
    fc.asyncProperty(
      acts,
      fc.array(workload, { minLength: 1, maxLength: 4 }),
      latency,
      nodes,
      fc.boolean(),
      async (walk, works, ms, count, collects) => {
        walks += 1;
        const run = aRun('run')
          .onNodes(count)
          .retrying(3, 'NodeLost', 'NonZeroExit', 'Preempted')
          .within({ queueSeconds: QUEUE, startupSeconds: 120, runSeconds: RUN, uploadSeconds: UPLOAD })
          .build();
        const profile = aProfile().allowing({ nodes: { max: 2 } });
        const scene: Scene = {
          run: () => ({ ...run, metadata: { namespace: 'team', name: 'run' } }),
          profile: (collects ? profile : profile.withoutCollector()).spec(),
          workload: (attempt) => works[(attempt - 1) % works.length]!,
        };
        const simulation = new Simulation(scene, undefined, { latency: (_, index) => (index % 3) * ms });
        for (const { act, afterSeconds } of walk) {
          await simulation.run(afterSeconds);
          ACTS[act]!(simulation.api, simulation.clock, simulation);
        }
        // Whoever suspended it lets it go on, and the node comes back: now it must come to an end by itself.
        await simulation.run(60);
        ACTS['resume']!(simulation.api, simulation.clock, simulation);
        ACTS['nodeUp']!(simulation.api, simulation.clock, simulation);
        const began = simulation.clock.now;
        await simulation.run(4 * 3600, () => allSettled(simulation.api, ['run']));
        const { status } = simulation.api.get('runs', 'team/run')!;
        expect(status?.conditions?.find((c) => c.type === 'Finished')?.status, JSON.stringify(status)).toBe('True');
        expect(simulation.clock.now - began).toBeLessThanOrEqual((QUEUE + RUN + 3 * (120 + 60) + 600) * 1000);
        await simulation.run(900);
        expect(violations(simulation, ['run'])).toEqual([]);
        expect(status?.clocks?.runSeconds ?? 0).toBeLessThanOrEqual(RUN + UPLOAD + 5);
        const before = simulation.calls.writes.length;
        await simulation.lookAgain(3);
        expect(simulation.calls.writes.slice(before)).toEqual([]);
      },
    ),
    { numRuns: 400 },
  );
}, 120_000);
