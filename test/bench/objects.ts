import type { WorldRun } from '../../src/controller/run/view.ts';
import type { V1Job, V1Pod } from '@kubernetes/client-node';
import type { Wire } from '../../src/kube/resource.ts';

/** What the driver writes: the same small container, as a plain Job and as a WorldRun. */

export const NAMESPACE = 'bench';
const IMAGE = 'registry.k8s.io/pause:3.10';
const COMMAND = ['train', '--seed', '7'];

/** Kubernetes' own times have no fractions. */
const now = (): string => new Date().toISOString().replace(/\.\d+Z$/, 'Z');

export const PROFILE = {
  apiVersion: 'worldflux.ai/v1alpha1',
  kind: 'RuntimeProfile',
  metadata: { name: 'bench', annotations: { 'worldflux.ai/is-default-profile': 'true' } },
  spec: { runtime: 'local', local: { image: IMAGE, collect: 'Disabled' } },
};

export const rawJob = (name: string): Wire<V1Job> => ({
  metadata: { name, namespace: NAMESPACE },
  spec: {
    backoffLimit: 0,
    template: { spec: { restartPolicy: 'Never', containers: [{ name: 'run', image: IMAGE, command: COMMAND }] } },
  },
});

export const worldRun = (name: string): WorldRun =>
  ({
    metadata: { name, namespace: NAMESPACE },
    spec: { command: COMMAND, timeouts: { queueSeconds: 86_400 } },
  }) as unknown as WorldRun;

/** What the Job controller would write at the end of a Job whose one pod succeeded. */
export function completeStatus(): Wire<V1Job>['status'] {
  const time = now();
  const condition = (type: string) => ({
    type,
    status: 'True',
    lastProbeTime: time,
    lastTransitionTime: time,
    reason: 'CompletionsReached',
    message: '',
  });
  return {
    startTime: time,
    completionTime: time,
    succeeded: 1,
    ready: 0,
    terminating: 0,
    uncountedTerminatedPods: {},
    conditions: [condition('SuccessCriteriaMet'), condition('Complete')],
  };
}

/** The pod that the Job controller would make, already bound to a node. */
export function podOf(job: Wire<V1Job>, node: string): Wire<V1Pod> {
  const { name, uid } = job.metadata!;
  const { metadata, spec } = job.spec!.template;
  return {
    metadata: {
      name: `${name}-x`,
      namespace: NAMESPACE,
      labels: { ...metadata?.labels, 'batch.kubernetes.io/job-name': name! },
      ownerReferences: [
        { apiVersion: 'batch/v1', kind: 'Job', name: name!, uid: uid!, controller: true, blockOwnerDeletion: false },
      ],
    },
    spec: { ...spec!, nodeName: node },
  };
}

export const runningStatus = (): Wire<V1Pod>['status'] => podStatus('Running', { running: { startedAt: now() } });

export const succeededStatus = (): Wire<V1Pod>['status'] =>
  podStatus('Succeeded', { terminated: { exitCode: 0, reason: 'Completed', startedAt: now(), finishedAt: now() } });

function podStatus(phase: string, state: object): Wire<V1Pod>['status'] {
  const condition = (type: string) => ({ type, status: 'True', lastTransitionTime: now() });
  const running = phase === 'Running';
  return {
    phase,
    startTime: now(),
    conditions: ['PodScheduled', 'Initialized', ...(running ? ['ContainersReady', 'Ready'] : [])].map(condition),
    containerStatuses: [
      { name: 'run', image: IMAGE, imageID: '', ready: running, started: running, restartCount: 0, state },
    ],
  };
}
