import type { V1Pod } from '@kubernetes/client-node';
import { runtimeProfileSpec } from '../../src/crds/runtime-profile.ts';
import { worldRunSpec } from '../../src/crds/world-run.ts';
import type { KubeError } from '../../src/kube/errors.ts';
import type { Wire } from '../../src/kube/resource.ts';
import type { CollectedResult } from '../../src/results/contract.ts';
import type { RuntimeIo } from '../../src/runtime/contract.ts';
import { JOB_LABELS } from '../../src/runtime/local/names.ts';
import { LocalRuntime, type LocalRuntimeOptions } from '../../src/runtime/local/runtime.ts';
import { ApiServer, fails } from '../faults/run/api-server.ts';
import { clusterOn } from '../faults/run/cluster.ts';
import { Calls as PlainCalls } from '../faults/run/faults.ts';
import { startJobController } from '../faults/run/job-controller.ts';
import { startKubelet } from '../faults/run/kubelet.ts';
import type { VirtualClock } from '../faults/run/virtual-clock.ts';
import type { Calls, Fault } from './calls.ts';
import type { Harness } from './harness.ts';
import { INSTALLATION } from './play.ts';
import { conformance } from './suite.ts';

/** What an API server does to a call; its keys are not the profile's. */
const READ: readonly Fault[] = [
  'the process dies before it',
  'the process dies after its effect',
  'the connection is lost before it',
  'throttled, with Retry-After',
  '503, nothing done',
];
const WRITE: readonly Fault[] = [...READ, 'it takes effect and the connection is lost', '500 after its effect'];

function errorOf(fault: Fault): KubeError {
  if (fault === 'throttled, with Retry-After')
    return fails({ kind: 'tooManyRequests', retryAfterMs: 7000 }, 'slow down');
  if (fault === '500 after its effect') return fails({ kind: 'serverError' }, 'internal error');
  return fails({ kind: 'unavailable' }, 'the connection was lost');
}

async function befallen<T>(calls: Calls, name: string, faults: readonly Fault[], effect: () => Promise<T>): Promise<T> {
  const fault = calls.begin(name, faults);
  if (fault === 'the process dies before it') throw calls.die();
  const isAfter = fault?.includes('effect') === true;
  if (fault !== undefined && !isAfter) throw errorOf(fault);
  const answer = await effect();
  if (fault === 'the process dies after its effect') throw calls.die();
  if (fault !== undefined) throw errorOf(fault);
  return answer;
}

function clusterThrough(api: ApiServer, calls: Calls): LocalRuntimeOptions['cluster'] {
  const plain = clusterOn(api, new PlainCalls(() => api.log.length));
  return {
    createJob: (job) => befallen(calls, 'create job', WRITE, () => plain.createJob(job)),
    createService: (service) => befallen(calls, 'create service', WRITE, () => plain.createService(service)),
    readJob: (ref) => befallen(calls, 'read job', READ, () => plain.readJob(ref)),
    readPods: (job) => befallen(calls, 'read pods', READ, () => plain.readPods(job)),
    deleteJob: (job) => befallen(calls, 'delete job', WRITE, () => plain.deleteJob(job)),
    hastenPod: (pod) => befallen(calls, 'hasten pod', WRITE, () => plain.hastenPod(pod)),
    async *listJobs(labels) {
      const all = await befallen(calls, 'list jobs', READ, async () => api.list('jobs'));
      yield* all.filter(({ metadata }) =>
        Object.entries(labels).every(([name, value]) => metadata?.labels?.[name] === value),
      );
    },
  };
}

/** As a kubelet does with `activeDeadlineSeconds`. */
function endAtDeadline(api: ApiServer, clock: VirtualClock, pod: Wire<V1Pod>): void {
  const key = `${pod.metadata!.namespace}/${pod.metadata!.name}`;
  clock.after(pod.spec!.activeDeadlineSeconds! * 1000, () => {
    if (api.get('pods', key)?.status?.phase !== 'Running') return;
    api.update('pods', key, ({ status }) => {
      status!.phase = 'Failed';
      status!.reason = 'DeadlineExceeded';
      const [run] = status!.containerStatuses!;
      const { startedAt } = run!.state!.running!;
      run!.state = { terminated: { exitCode: 143, reason: 'Error', startedAt: startedAt!, finishedAt: clock.stamp() } };
    });
  });
}

const local: Harness = {
  name: 'local',
  has: ['queue', 'loss', 'strangers'],
  async open(clock, calls, { queueSeconds, runSeconds, fails: badly }) {
    const api = new ApiServer(clock);
    const results = new Map<string, CollectedResult>();
    startJobController(api, clock);
    // A node that comes late is what a queue is made of.
    clock.after(queueSeconds * 1000, () =>
      api.create('nodes', {
        metadata: { name: 'node-1' },
        status: { conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: clock.stamp() }] },
      }),
    );
    startKubelet(api, clock, () => ({ seconds: runSeconds, exitCode: badly ? 3 : 0 }), {
      collectNow: () => false,
      post: ({ clientRunId, attempt }, pod, rank) => {
        results.set(`${clientRunId}/${attempt}`, {
          rank,
          podUid: pod.metadata!.uid!,
          metrics: { loss: 0.25 },
          metricsOmitted: 0,
          artifacts: [],
          via: 'Gateway',
          collectedAt: clock.stamp(),
        });
        return 'taken';
      },
    });
    api.subscribe(
      ({ kind, type, object }) =>
        kind === 'pods' && type === 'ADDED' && endAtDeadline(api, clock, object as Wire<V1Pod>),
    );
    const spec = runtimeProfileSpec.parse({ runtime: 'local', local: { image: 'registry.example.com/wm:1' } });
    const profile = { name: 'cpu', digest: `sha256:${'0'.repeat(64)}`, spec };
    const io = (): RuntimeIo => ({
      profile,
      credentials: {},
      http: {
        fetch: () => {
          throw new Error('Jobs need no vendor');
        },
      },
      signal: new AbortController().signal,
      now: () => clock.now,
    });
    const isLive = (pod: { status?: { phase?: string } }) =>
      pod.status?.phase === 'Pending' || pod.status?.phase === 'Running';
    return {
      profile,
      ask: { spec: worldRunSpec.parse({ command: ['python', 'train.py'] }), files: new Map() },
      async start() {
        const runtime = new LocalRuntime({
          installationId: INSTALLATION,
          cluster: clusterThrough(api, calls),
          around: { image: 'operator:1', gatewayUrl: 'https://gateway:8443', caPem: 'PEM' },
          received: async ({ clientRunId, attempt }) => {
            const found = results.get(`${clientRunId}/${attempt}`);
            const log = { path: 'log.txt', bytes: 1, complete: true, headLost: false, gaps: 0, redacted: 0 };
            return { results: new Map(found && [[0, found]]), logs: new Map([[0, log]]) };
          },
          doctor: async () => [{ check: 'image', level: 'ok', message: 'well' }],
        });
        return { runtime, io };
      },
      counts: async () => ({
        created: api.log.filter(
          ({ kind, type, object }) =>
            kind === 'jobs' && type === 'ADDED' && object.metadata?.labels?.[JOB_LABELS.installation] === INSTALLATION,
        ).length,
        live: api.list('pods').filter(isLive).length,
      }),
      loseEverything() {
        for (const job of api.list('jobs')) api.remove('jobs', `${job.metadata!.namespace}/${job.metadata!.name}`);
      },
      async strangers() {
        const made = ['another-installation', undefined].map((installation, i) =>
          api.create('jobs', {
            metadata: {
              namespace: 'team',
              name: `stranger-${i}`,
              labels: installation === undefined ? {} : { [JOB_LABELS.installation]: installation },
            },
            spec: { suspend: true, completions: 1, template: {} },
          }),
        );
        return made.map(({ metadata }) => `team/${metadata!.name}/${metadata!.uid}`);
      },
      secrets: () => [],
      close: async () => undefined,
    };
  },
};

conformance(local);
