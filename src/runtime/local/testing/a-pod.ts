import type { V1ContainerStatus, V1Pod } from '@kubernetes/client-node';
import type { Wire } from '../../../kube/resource.ts';
import {
  COLLECTOR_CONTAINER,
  podState,
  projectPod,
  SOURCE_CONTAINER,
  USER_CONTAINER,
  type PodState,
  type PodView,
} from '../pod-state.ts';
import { at } from './clock.ts';

type Pod = Wire<V1Pod>;
type Status = NonNullable<Pod['status']>;
type State = NonNullable<Wire<V1ContainerStatus>['state']>;

const RUN_UID = 'worldflux.ai/run-uid';
const IMAGE_ID = `ghcr.io/acme/wm@sha256:${'a'.repeat(64)}`;

/** A pod as the kubelet, the scheduler and the Job controller would describe it. */
export class PodBuilder {
  readonly #pod: Pod;
  readonly #gone: boolean;

  constructor(pod: Pod, gone = false) {
    this.#pod = pod;
    this.#gone = gone;
  }

  #meta(metadata: object): PodBuilder {
    return new PodBuilder({ ...this.#pod, metadata: { ...this.#pod.metadata, ...metadata } }, this.#gone);
  }

  #status(status: Partial<Status>): PodBuilder {
    return new PodBuilder({ ...this.#pod, status: { ...this.#pod.status, ...status } }, this.#gone);
  }

  #condition(type: string, status: 'True' | 'False', reason: string, message: string, seconds: number): PodBuilder {
    const others = (this.#pod.status?.conditions ?? []).filter((c) => c.type !== type);
    return this.#status({
      conditions: [...others, { type, status, reason, message, lastTransitionTime: at(seconds) }],
    });
  }

  #container(kind: 'containerStatuses' | 'initContainerStatuses', name: string, state: State): PodBuilder {
    const others = (this.#pod.status?.[kind] ?? []).filter((c) => c.name !== name);
    const status: Wire<V1ContainerStatus> = {
      name,
      image: 'image',
      imageID: name === USER_CONTAINER && state.waiting === undefined ? IMAGE_ID : '',
      ready: state.running !== undefined,
      restartCount: 0,
      state,
    };
    return this.#status({ [kind]: [...others, status] });
  }

  /** Its Job was deleted, and it was left. */
  orphaned(): PodBuilder {
    return this.#meta({ ownerReferences: [] });
  }

  ofJob(uid: string): PodBuilder {
    const name = `pod-of-${uid}-${this.rank}`;
    const ownerReferences = [{ apiVersion: 'batch/v1', kind: 'Job', name: uid, uid, controller: true }];
    return this.#meta({ ownerReferences, name, uid: `uid-${name}` });
  }

  get rank(): number {
    return Number(this.#pod.metadata?.annotations?.['batch.kubernetes.io/job-completion-index'] ?? 0);
  }

  ofRank(rank: number): PodBuilder {
    const job = this.#pod.metadata?.ownerReferences?.[0]?.uid ?? 'job-1';
    return this.#meta({ annotations: { 'batch.kubernetes.io/job-completion-index': String(rank) } }).ofJob(job);
  }

  uid(uid: string): PodBuilder {
    return this.#meta({ uid });
  }

  createdAt(seconds: number): PodBuilder {
    return this.#meta({ creationTimestamp: at(seconds) });
  }

  unschedulable(message = '0/3 nodes are available: 3 Insufficient nvidia.com/gpu.'): PodBuilder {
    return this.#condition('PodScheduled', 'False', 'Unschedulable', message, 1);
  }

  scheduled(seconds = 1, node = 'node-1'): PodBuilder {
    const bound = this.#condition('PodScheduled', 'True', '', '', seconds);
    return new PodBuilder({ ...bound.#pod, spec: { ...bound.#pod.spec!, nodeName: node } }, this.#gone);
  }

  /** The user's container waits, as the kubelet says it. */
  waiting(reason: string, message = ''): PodBuilder {
    return this.#onNode().#container('containerStatuses', USER_CONTAINER, { waiting: { reason, message } });
  }

  #onNode(): PodBuilder {
    return this.#pod.spec?.nodeName === undefined ? this.scheduled() : this;
  }

  running(seconds = 2): PodBuilder {
    return this.#onNode()
      .#status({ phase: 'Running' })
      .#container('initContainerStatuses', COLLECTOR_CONTAINER, { running: { startedAt: at(seconds) } })
      .#container('containerStatuses', USER_CONTAINER, { running: { startedAt: at(seconds) } });
  }

  /** The user's container has ended; the collector is still there. */
  exited(
    exitCode: number,
    { at: seconds = 10, reason = exitCode === 0 ? 'Completed' : 'Error', message = '' } = {},
  ): PodBuilder {
    const running = this.#pod.status?.containerStatuses?.find((c) => c.name === USER_CONTAINER)?.state?.running;
    const startedAt = running?.startedAt ?? at(2);
    const terminated = { exitCode, reason, message, startedAt, finishedAt: at(seconds) };
    return this.#onNode().#container('containerStatuses', USER_CONTAINER, { terminated });
  }

  collectorEnded({ at: seconds = 12, message = '' } = {}): PodBuilder {
    const terminated = { exitCode: 0, reason: 'Completed', message, startedAt: at(2), finishedAt: at(seconds) };
    return this.#container('initContainerStatuses', COLLECTOR_CONTAINER, { terminated });
  }

  collectorWaits(reason: string, message = ''): PodBuilder {
    return this.#onNode().#container('initContainerStatuses', COLLECTOR_CONTAINER, { waiting: { reason, message } });
  }

  sourceEnded(exitCode: number, message: string): PodBuilder {
    const terminated = {
      exitCode,
      reason: exitCode === 0 ? 'Completed' : 'Error',
      message,
      startedAt: at(1),
      finishedAt: at(2),
    };
    return this.#onNode().#container('initContainerStatuses', SOURCE_CONTAINER, { terminated });
  }

  phase(phase: 'Failed' | 'Succeeded', reason = '', message = ''): PodBuilder {
    return this.#status({ phase, reason, message });
  }

  disrupted(reason: string, message = 'disrupted'): PodBuilder {
    return this.#condition('DisruptionTarget', 'True', reason, message, 9);
  }

  deleting(): PodBuilder {
    return this.#meta({ deletionTimestamp: at(9) });
  }

  /** Deleted from the API: what is left is how it was last seen. */
  gone(): PodBuilder {
    return new PodBuilder(this.#pod, true);
  }

  build(): Pod {
    return structuredClone(this.#pod);
  }

  view(): PodView & { gone: boolean } {
    return { ...projectPod(this.build(), { runUid: RUN_UID }), gone: this.#gone };
  }

  state(): PodState {
    return podState(this.view());
  }
}

/** A pod of Job `job-1` that has just been created; the scheduler has not seen it. */
export function aPod(): PodBuilder {
  return new PodBuilder({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      namespace: 'team',
      name: 'pod',
      uid: 'pod',
      resourceVersion: '1',
      creationTimestamp: at(0),
      labels: { [RUN_UID]: 'uid-pendulum' },
    },
    spec: { containers: [] },
    status: { phase: 'Pending' },
  }).ofJob('job-1');
}
