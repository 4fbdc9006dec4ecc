import { clientRunId, inputDigest } from '../../../src/controller/identity.ts';
import { aProfile, type ProfileBuilder } from '../../../src/controller/testing/a-profile.ts';
import { aRun, type RunBuilder } from '../../../src/controller/testing/a-run.ts';
import type { WorldRun } from '../../../src/controller/run/view.ts';
import type { Manifest } from '../../../src/crds/manifest.ts';
import { keyOf } from '../../../src/kube/store.ts';
import type { ApiServer } from './api-server.ts';
import type { Workload } from './kubelet.ts';
import { INSTALLATION, type Scene } from './simulation.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** What must come of it, whatever goes wrong on the way. */
export interface Expected {
  /** By run: phase and reason; `gone` for a run that its TTL took. */
  ends: Record<string, string>;
  /** Names of attempts' ends, of all runs together. */
  attempts: readonly string[];
  /** `ResultsStored` of the first run. */
  results?: string;
  /** Also right when the process died: the log went with a pod that somebody else deleted meanwhile. */
  resultsAfterCrash?: string;
}

export interface Scenario {
  name: string;
  scene: Scene;
  expected: Expected;
}

const profile = aProfile().allowing({ nodes: { max: 4 }, queueName: true });
const base = aRun().within({ uploadSeconds: 60, runSeconds: 600 });
const ok: Workload = { seconds: 5 };
const forever: Workload = {};

function scene(
  more: { run?: RunBuilder; profile?: ProfileBuilder; workload?: Scene['workload'] } & Omit<
    Partial<Scene>,
    'run' | 'profile' | 'workload'
  > = {},
): Scene {
  const { run = base, profile: on = profile, workload = () => ok, ...rest } = more;
  return { ...rest, workload, profile: on.spec(), run: (name) => fresh(run.named(name).build()) };
}

/** As a user would send it. */
export function fresh(run: WorldRun): WorldRun {
  return {
    ...run,
    metadata: {
      namespace: run.metadata!.namespace!,
      name: run.metadata!.name!,
      annotations: run.metadata?.annotations ?? {},
    },
  };
}

const runIs = (api: ApiServer, reason: string, name = 'run') =>
  api.get('runs', `team/${name}`)?.status?.conditions?.some((c) => c.type === 'Ready' && c.reason === reason) ?? false;
const runningPods = (api: ApiServer) =>
  api.list('pods').filter((p) => p.status?.containerStatuses?.[0]?.state?.running !== undefined);
const isRunning = (api: ApiServer) => runningPods(api).length > 0;
const spec =
  (change: (spec: WorldRun['spec']) => void, name = 'run') =>
  (api: ApiServer) =>
    api.updateSpec(`team/${name}`, change);
const cancel = spec((s) => (s.cancel = true));
const suspend = spec((s) => (s.suspend = true));
const resume = spec((s) => (s.suspend = false));

const disrupt = (reason: string) => (api: ApiServer, clock: VirtualClock) => {
  for (const pod of runningPods(api)) {
    api.update('pods', keyOf(pod), (p) => {
      p.status!.conditions = [
        ...(p.status!.conditions ?? []),
        { type: 'DisruptionTarget', status: 'True', reason, message: 'on its way out' },
      ];
      p.metadata!.deletionTimestamp = clock.stamp();
    });
  }
};
const nodeDown = (api: ApiServer, clock: VirtualClock) => {
  const name = runningPods(api)[0]!.spec!.nodeName!;
  api.update(
    'nodes',
    name,
    (n) => (n.status!.conditions = [{ type: 'Ready', status: 'Unknown', lastTransitionTime: clock.stamp() }]),
  );
};
const queueSays = (suspended: boolean) => (api: ApiServer) => {
  for (const job of api.list('jobs')) api.update('jobs', keyOf(job), (j) => (j.spec!.suspend = suspended));
};

/** As far as it is read again. */
const EARLIER = {
  exit_code: 0,
  duration_seconds: 8,
  cost_estimate_usd: null,
  metrics: { loss: 0.25 },
} as unknown as Manifest;

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'happy',
    scene: scene(),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['Completed'], results: 'Stored' },
  },
  {
    name: 'no collector',
    scene: scene({ profile: profile.withoutCollector() }),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['Completed'], results: 'CollectionDisabled' },
  },
  {
    name: 'exit code 3',
    scene: scene({ workload: () => ({ seconds: 5, exitCode: 3 }) }),
    expected: { ends: { run: 'Failed NonZeroExit' }, attempts: ['NonZeroExit'], results: 'Stored' },
  },
  {
    name: 'fails until it may not again',
    scene: scene({ run: base.retrying(2, 'NonZeroExit'), workload: () => ({ seconds: 5, exitCode: 3 }) }),
    expected: { ends: { run: 'Failed NonZeroExit' }, attempts: ['NonZeroExit', 'NonZeroExit'], results: 'Stored' },
  },
  {
    name: 'preempted, then well',
    scene: scene({
      run: base.retrying(3),
      workload: (attempt) => (attempt === 1 ? forever : ok),
      steps: [
        {
          when: (api) => isRunning(api) && runIs(api, 'Running'),
          afterMs: 2000,
          does: disrupt('PreemptionByScheduler'),
        },
      ],
    }),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['Preempted', 'Completed'], results: 'Stored' },
  },
  {
    name: 'cancelled while it runs',
    scene: scene({ workload: () => forever, steps: [{ when: isRunning, afterMs: 5000, does: cancel }] }),
    expected: { ends: { run: 'Cancelled Cancelled' }, attempts: ['Cancelled'], results: 'Stored' },
  },
  {
    name: 'cancelled while it waits',
    scene: scene({
      workload: () => ({ unschedulable: true }),
      steps: [{ when: (api) => runIs(api, 'Unschedulable'), does: cancel }],
    }),
    expected: { ends: { run: 'Cancelled Cancelled' }, attempts: ['Cancelled'], results: 'NothingProduced' },
  },
  {
    name: 'suspended and resumed',
    scene: scene({
      workload: (attempt) => (attempt === 1 ? forever : ok),
      steps: [
        { when: (api) => isRunning(api) && runIs(api, 'Running'), afterMs: 5000, does: suspend },
        { when: (api) => runIs(api, 'Suspended') && api.list('pods').length === 0, afterMs: 7_200_000, does: resume },
      ],
    }),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['Suspended', 'Completed'], results: 'Stored' },
  },
  {
    name: 'suspended, then cancelled',
    scene: scene({
      workload: () => forever,
      steps: [
        { when: (api) => isRunning(api) && runIs(api, 'Running'), afterMs: 5000, does: suspend },
        { when: (api) => runIs(api, 'Suspended'), afterMs: 60_000, does: cancel },
      ],
    }),
    expected: { ends: { run: 'Cancelled Cancelled' }, attempts: ['Suspended'], results: 'Stored' },
  },
  {
    name: 'created suspended',
    scene: scene({
      run: base.asking({ suspend: true }).within({ queueSeconds: 600 }),
      steps: [{ when: (api) => runIs(api, 'Suspended'), afterMs: 7_200_000, does: resume }],
    }),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['Completed'], results: 'Stored' },
  },
  {
    name: 'longer than it may run',
    scene: scene({ run: base.within({ runSeconds: 30 }), workload: () => forever }),
    expected: { ends: { run: 'Failed RunDeadlineExceeded' }, attempts: ['RunDeadlineExceeded'], results: 'Stored' },
  },
  {
    name: 'an image that never comes',
    scene: scene({ run: base.within({ startupSeconds: 60 }), workload: () => ({ noImage: true }) }),
    expected: { ends: { run: 'Failed ImagePullFailed' }, attempts: ['ImagePullFailed'], results: 'NothingProduced' },
  },
  {
    name: 'no node for it',
    scene: scene({ run: base.within({ queueSeconds: 60 }), workload: () => ({ unschedulable: true }) }),
    expected: {
      ends: { run: 'Failed QueueDeadlineExceeded' },
      attempts: ['QueueDeadlineExceeded'],
      results: 'NothingProduced',
    },
  },
  {
    name: 'its node is lost, then well',
    scene: scene({
      run: base.retrying(2).within({ runSeconds: 3600 }),
      workload: (attempt) => (attempt === 1 ? forever : ok),
      steps: [{ when: (api) => isRunning(api) && runIs(api, 'Running'), afterMs: 5000, does: nodeDown }],
    }),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['NodeLost', 'Completed'], results: 'Stored' },
  },
  {
    name: 'two nodes',
    scene: scene({ run: base.onNodes(2).asking({ outputs: { ranks: 'All' } }) }),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['Completed'], results: 'Stored' },
  },
  {
    name: 'one of two nodes fails',
    scene: scene({ run: base.onNodes(2), workload: (_, rank) => (rank === 1 ? { seconds: 5, exitCode: 3 } : forever) }),
    expected: {
      ends: { run: 'Failed NonZeroExit' },
      attempts: ['NonZeroExit'],
      results: 'Stored',
      resultsAfterCrash: 'PartlyStored',
    },
  },
  {
    name: 'out of memory',
    scene: scene({ workload: () => ({ seconds: 5, exitCode: 137, reason: 'OOMKilled' }) }),
    expected: { ends: { run: 'Failed OOMKilled' }, attempts: ['OOMKilled'], results: 'Stored' },
  },
  {
    name: 'its pod is deleted by hand',
    scene: scene({
      workload: () => forever,
      steps: [
        {
          when: (api) => isRunning(api) && runIs(api, 'Running'),
          afterMs: 3000,
          does: (api, clock) =>
            api
              .list('pods')
              .forEach((p) => api.update('pods', keyOf(p), (x) => (x.metadata!.deletionTimestamp = clock.stamp()))),
        },
      ],
    }),
    expected: {
      ends: { run: 'Failed ChildDeleted' },
      attempts: ['ChildDeleted'],
      results: 'Stored',
      resultsAfterCrash: 'PartlyStored',
    },
  },
  {
    name: 'its Job is deleted by hand',
    scene: scene({
      run: base.retrying(5),
      workload: () => forever,
      steps: [
        {
          when: (api) => isRunning(api) && runIs(api, 'Running'),
          afterMs: 3000,
          does: (api) => api.list('jobs').forEach((j) => api.remove('jobs', keyOf(j))),
        },
      ],
    }),
    expected: {
      ends: { run: 'Failed ChildDeleted' },
      attempts: ['ChildDeleted'],
      results: 'Stored',
      resultsAfterCrash: 'PartlyStored',
    },
  },
  {
    name: 'a queue admits it, evicts it, admits it again',
    scene: scene({
      run: base.asking({ queueName: 'q' }),
      workload: () => ({ seconds: 30 }),
      steps: [
        { when: (api) => runIs(api, 'Queued'), afterMs: 5000, does: queueSays(false) },
        { when: (api) => isRunning(api) && runIs(api, 'Running'), afterMs: 5000, does: queueSays(true) },
        { when: (api) => runIs(api, 'Queued') && api.list('pods').length === 0, afterMs: 5000, does: queueSays(false) },
      ],
    }),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['Requeued', 'Completed'], results: 'Stored' },
  },
  {
    name: 'a queue evicts it, and it is cancelled while it waits again: what the first start left is what it has',
    scene: scene({
      run: base.asking({ queueName: 'q' }),
      workload: () => forever,
      steps: [
        { when: (api) => runIs(api, 'Queued'), afterMs: 5000, does: queueSays(false) },
        { when: (api) => isRunning(api) && runIs(api, 'Running'), afterMs: 5000, does: queueSays(true) },
        { when: (api) => runIs(api, 'Queued') && api.list('pods').length === 0, afterMs: 5000, does: cancel },
      ],
    }),
    expected: {
      ends: { run: 'Cancelled Cancelled' },
      attempts: ['Requeued', 'Cancelled'],
      results: 'Stored',
      resultsAfterCrash: 'PartlyStored',
    },
  },
  { name: 'dry run', scene: scene({ run: base.dry() }), expected: { ends: { run: 'Succeeded DryRun' }, attempts: [] } },
  {
    name: 'refused',
    scene: scene({ run: base.asking({ image: 'other' }) }),
    expected: { ends: { run: 'Refused OverrideNotAllowed' }, attempts: [] },
  },
  {
    name: 'recorded before under its runKey',
    scene: scene({
      run: base.keyed('seed-7'),
      prepare: (_, store) => {
        const id = clientRunId(INSTALLATION, { namespace: 'team', uid: '', runKey: 'seed-7' });
        const status = {
          runId: 'earlier',
          conditions: [
            {
              type: 'Succeeded',
              status: 'True' as const,
              reason: 'Completed',
              lastTransitionTime: '2026-11-19T10:00:00Z',
            },
          ],
        };
        store.records.set(id, {
          version: 1,
          clientRunId: id,
          namespace: 'team',
          namespaceUid: 'namespaces-1',
          name: 'run',
          uid: 'earlier',
          state: 'Finished',
          status,
          manifest: EARLIER,
          finishedAt: '2026-11-19T10:00:00Z',
        });
      },
    }),
    expected: { ends: { run: 'Succeeded AlreadyRecorded' }, attempts: [], results: 'Stored' },
  },
  {
    name: 'approved by somebody',
    scene: scene({
      profile: profile.asking({ approval: { required: true } }),
      steps: [
        {
          when: (api) => runIs(api, 'AwaitingApproval'),
          afterMs: 60_000,
          does: (api) =>
            api.update('runs', 'team/run', (run) => {
              run.metadata!.annotations = {
                ...run.metadata!.annotations,
                'worldflux.ai/approve': inputDigest(run.spec),
                'worldflux.ai/approved-by': 'ada',
              };
            }),
        },
      ],
    }),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['Completed'], results: 'Stored' },
  },
  {
    name: 'forgotten after its TTL',
    scene: scene({ run: base.asking({ ttlSecondsAfterFinished: 60 }) }),
    expected: { ends: { run: 'gone' }, attempts: [] },
  },
  {
    name: 'one place for two',
    scene: scene({ runs: ['run', 'other'], profile: profile.limited({ maxConcurrentRuns: 1 }) }),
    expected: {
      ends: { run: 'Succeeded Completed', other: 'Succeeded Completed' },
      attempts: ['Completed', 'Completed'],
      results: 'Stored',
    },
  },
  {
    name: 'two runs of one runKey',
    scene: scene({ runs: ['run', 'other'], run: base.keyed('seed-7') }),
    expected: {
      ends: { run: 'Succeeded Completed', other: 'Succeeded AlreadyRecorded' },
      attempts: ['Completed'],
      results: 'Stored',
    },
  },
];
