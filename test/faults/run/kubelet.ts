import type { V1ContainerState, V1ContainerStatus, V1Pod } from '@kubernetes/client-node';
import type { Wire } from '../../../src/kube/resource.ts';
import { keyOf } from '../../../src/kube/store.ts';
import { CONFIG_VARIABLE, type CollectorConfig } from '../../../src/results/collector/config.ts';
import type { ApiServer } from './api-server.ts';
import { isOver } from './job-controller.ts';
import type { VirtualClock } from './virtual-clock.ts';

type Pod = Wire<V1Pod>;

/** What the user's container of one attempt and rank does. */
export interface Workload {
  /** Seconds that it runs; absent: until somebody stops it. */
  seconds?: number;
  exitCode?: number;
  reason?: string;
  /** No node takes the pod. */
  unschedulable?: boolean;
  /** The image is not there. */
  noImage?: boolean;
}

export interface Collectors {
  /** Takes a result of the pod; `later`: nobody is there, or nobody knows the pod yet. */
  post(config: CollectorConfig, pod: Pod, rank: number): 'taken' | 'later' | 'over';
  collectNow(config: CollectorConfig): boolean;
}

const containerStatus = (name: string, state: Wire<V1ContainerState>): Wire<V1ContainerStatus> => ({
  name,
  image: '',
  imageID: `x@sha256:${'a'.repeat(64)}`,
  ready: false,
  restartCount: 0,
  state,
});

const SECOND = 1000;

/** Scheduler and kubelets, with the collector beside the user's container. */
export const startKubelet = (...of: ConstructorParameters<typeof Kubelet>): Kubelet => new Kubelet(...of);

class Kubelet {
  readonly #api: ApiServer;
  readonly #clock: VirtualClock;
  readonly #workload: (attempt: number, rank: number) => Workload;
  readonly #collectors: Collectors;
  readonly #dying = new Set<string>();
  readonly #posted = new Set<string>();

  constructor(
    api: ApiServer,
    clock: VirtualClock,
    workload: (attempt: number, rank: number) => Workload,
    collectors: Collectors,
  ) {
    this.#api = api;
    this.#clock = clock;
    this.#workload = workload;
    this.#collectors = collectors;
    api.subscribe(({ kind, type, object }) => {
      if (kind !== 'pods') return;
      if (type === 'ADDED') this.#later(object as Pod, 0.3, (pod) => this.#schedule(pod));
      if (
        type === 'MODIFIED' &&
        object.metadata?.deletionTimestamp !== undefined &&
        !this.#dying.has(object.metadata.uid!)
      ) {
        this.#dying.add(object.metadata.uid!);
        this.#later(object as Pod, 0.5, (pod) => this.#kill(pod));
      }
    });
  }

  #later(pod: Pod, seconds: number, then: (pod: Pod) => void): void {
    const { uid } = pod.metadata!;
    this.#clock.after(seconds * SECOND, () => {
      const now = this.#api.get('pods', keyOf(pod));
      if (now === undefined || now.metadata?.uid !== uid) return;
      if (this.#answers(now)) then(now);
      // What was due meanwhile is done when the node is back.
      else this.#later(now, 5, then);
    });
  }

  /** A node that is down does nothing any more, and says nothing. */
  #answers(pod: Pod): boolean {
    const node = pod.spec?.nodeName;
    return node === undefined || this.#api.get('nodes', node)?.status?.conditions?.[0]?.status === 'True';
  }

  #update(pod: Pod, change: (pod: Pod) => void): void {
    this.#api.update('pods', keyOf(pod), change);
  }

  #condition(pod: Pod, status: 'True' | 'False', reason: string): void {
    pod.status!.conditions = [
      { type: 'PodScheduled', status, reason, message: reason, lastTransitionTime: this.#clock.stamp() },
    ];
  }

  #of(pod: Pod): { rank: number; work: Workload; config: CollectorConfig | undefined } {
    const rank = Number(pod.metadata?.annotations?.['batch.kubernetes.io/job-completion-index'] ?? 0);
    const attempt = Number(pod.metadata?.labels?.['worldflux.ai/attempt']);
    const json = pod.spec?.initContainers
      ?.find((c) => c.name === 'collector')
      ?.env?.find((e) => e.name === CONFIG_VARIABLE)?.value;
    return {
      rank,
      work: this.#workload(attempt, rank),
      config: json === undefined ? undefined : (JSON.parse(json) as CollectorConfig),
    };
  }

  #schedule(pod: Pod): void {
    if (pod.metadata?.deletionTimestamp !== undefined) return;
    if (this.#of(pod).work.unschedulable)
      return this.#update(pod, (each) => this.#condition(each, 'False', 'Unschedulable'));
    const node = this.#api.list('nodes').find((each) => each.status?.conditions?.[0]?.status === 'True');
    if (node === undefined) return this.#later(pod, 5, (each) => this.#schedule(each));
    this.#update(pod, (each) => {
      each.spec!.nodeName = node.metadata!.name!;
      this.#condition(each, 'True', '');
    });
    this.#later(pod, 1, (each) => this.#start(each));
  }

  #start(pod: Pod): void {
    const { work, config } = this.#of(pod);
    if (pod.metadata?.deletionTimestamp !== undefined) return;
    if (work.noImage) return this.#state(pod, { waiting: { reason: 'ImagePullBackOff', message: 'no such image' } });
    this.#state(pod, { running: { startedAt: this.#clock.stamp() } });
    if (config !== undefined) this.#later(pod, 2, (each) => this.#watchForCollectNow(each, config));
    if (work.seconds !== undefined)
      this.#later(pod, work.seconds, (each) => this.#end(each, work.exitCode ?? 0, work.reason));
  }

  #state(pod: Pod, state: Wire<V1ContainerState>): void {
    this.#update(pod, (each) => {
      each.status!.containerStatuses = [containerStatus('run', state)];
      if (state.running !== undefined) each.status!.phase = 'Running';
      if (state.running !== undefined && this.#of(each).config !== undefined)
        each.status!.initContainerStatuses = [containerStatus('collector', state)];
    });
  }

  #isRunning(pod: Pod): boolean {
    return pod.status?.containerStatuses?.[0]?.state?.running !== undefined;
  }

  #end(pod: Pod, exitCode: number, reason = exitCode === 0 ? 'Completed' : 'Error'): void {
    if (!this.#isRunning(pod)) return;
    const { startedAt } = pod.status!.containerStatuses![0]!.state!.running!;
    this.#state(pod, { terminated: { exitCode, reason, startedAt: startedAt!, finishedAt: this.#clock.stamp() } });
    const { config, rank } = this.#of(pod);
    const phase = exitCode === 0 ? 'Succeeded' : 'Failed';
    if (config === undefined) return this.#later(pod, 0.1, (each) => this.#over(each, phase));
    this.#later(pod, 0.4, (each) =>
      this.#collect(each, config, rank, this.#clock.now + config.uploadSeconds * SECOND, phase),
    );
  }

  #collect(pod: Pod, config: CollectorConfig, rank: number, until: number, phase: string): void {
    const isPosted = this.#posted.has(pod.metadata!.uid!);
    const answer = isPosted ? 'taken' : this.#collectors.post(config, pod, rank);
    if (answer === 'later' && this.#clock.now < until)
      return this.#later(pod, 1, (each) => this.#collect(each, config, rank, until, phase));
    this.#later(pod, 0.2, (each) => this.#over(each, phase));
  }

  #watchForCollectNow(pod: Pod, config: CollectorConfig): void {
    if (!this.#isRunning(pod)) return;
    const { rank } = this.#of(pod);
    if (this.#collectors.collectNow(config) && this.#collectors.post(config, pod, rank) === 'taken')
      this.#posted.add(pod.metadata!.uid!);
    else this.#later(pod, 2, (each) => this.#watchForCollectNow(each, config));
  }

  #over(pod: Pod, phase: string): void {
    if (!isOver(pod)) this.#update(pod, (each) => (each.status!.phase = phase));
    if (pod.metadata?.deletionTimestamp !== undefined)
      this.#later(pod, 0.1, (each) => this.#api.remove('pods', keyOf(each)));
  }

  #kill(pod: Pod): void {
    if (pod.spec?.nodeName === undefined) return this.#api.remove('pods', keyOf(pod));
    if (isOver(pod)) return this.#over(pod, pod.status!.phase!);
    if (this.#isRunning(pod)) return this.#end(pod, 143);
    // Its container has ended: the collector is at work and brings the pod to its end.
    if (pod.status?.containerStatuses?.[0]?.state?.terminated !== undefined) return;
    this.#over(pod, 'Failed');
  }
}
