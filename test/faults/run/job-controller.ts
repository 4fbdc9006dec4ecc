import type { V1Job, V1Pod } from '@kubernetes/client-node';
import type { Wire } from '../../../src/kube/resource.ts';
import { keyOf } from '../../../src/kube/store.ts';
import type { ApiServer, Event } from './api-server.ts';
import type { VirtualClock } from './virtual-clock.ts';

type Job = Wire<V1Job>;
type Pod = Wire<V1Pod>;

export const isOver = (pod: Pod): boolean => pod.status?.phase === 'Failed' || pod.status?.phase === 'Succeeded';
export const ownerOf = (object: { metadata?: { ownerReferences?: { uid: string }[] } }): string | undefined =>
  object.metadata?.ownerReferences?.[0]?.uid;
const REACTION_MS = 50;

/** As Kubernetes 1.35 words it. */
function whyFailed(pod: Pod): string {
  const name = `${pod.metadata?.namespace}/${pod.metadata?.name}`;
  if (pod.status?.conditions?.some((c) => c.type === 'DisruptionTarget'))
    return `Pod ${name} has condition DisruptionTarget matching FailJob rule at index 0`;
  const code = pod.status?.containerStatuses?.[0]?.state?.terminated?.exitCode;
  return `Container run for pod ${name} failed with exit code ${code} matching FailJob rule at index 1`;
}

/** The Job controller and the garbage collector, as far as Jobs with one try and FailJob rules go. */
export const startJobController = (api: ApiServer, clock: VirtualClock): JobController => new JobController(api, clock);

class JobController {
  readonly #api: ApiServer;
  readonly #clock: VirtualClock;
  /** By Job uid: how each pod of the present start ended. */
  readonly #starts = new Map<string, Map<string, 'alive' | 'Succeeded' | 'Failed'>>();
  /** By Job uid: the words for the first pod that failed. */
  readonly #whys = new Map<string, string>();
  #pods = 0;

  constructor(api: ApiServer, clock: VirtualClock) {
    this.#api = api;
    this.#clock = clock;
    api.subscribe((event) => this.#onEvent(event));
  }

  #onEvent({ kind, type, object }: Event): void {
    if (kind === 'runs' && type === 'DELETED') this.#collectGarbage('jobs', object.metadata!.uid!);
    if (kind === 'jobs' && type === 'DELETED') this.#collectGarbage('pods', object.metadata!.uid!);
    if (kind === 'jobs' && type !== 'DELETED') this.#clock.after(REACTION_MS, () => this.#sync(keyOf(object)));
    if (kind === 'pods') {
      const start = this.#starts.get(ownerOf(object) ?? '');
      const pod = object as Pod;
      if (start?.get(pod.metadata!.uid!) === 'alive') {
        if (isOver(pod)) start.set(pod.metadata!.uid!, pod.status!.phase as 'Succeeded' | 'Failed');
        if (pod.status?.phase === 'Failed' && !this.#whys.has(ownerOf(pod)!))
          this.#whys.set(ownerOf(pod)!, whyFailed(pod));
        else if (type === 'DELETED') start.set(pod.metadata!.uid!, 'Failed');
      }
      const job = this.#api.list('jobs').find((each) => each.metadata?.uid === ownerOf(object));
      if (job !== undefined) this.#clock.after(REACTION_MS, () => this.#sync(keyOf(job)));
    }
  }

  #collectGarbage(kind: 'jobs' | 'pods', owner: string): void {
    this.#clock.after(REACTION_MS, () => {
      for (const object of this.#api.list(kind)) {
        if (ownerOf(object) !== owner) continue;
        if (kind === 'jobs') this.#api.remove('jobs', keyOf(object));
        else this.#delete(object as Pod);
      }
    });
  }

  #delete(pod: Pod): void {
    if (pod.metadata?.deletionTimestamp !== undefined) return;
    this.#api.update('pods', keyOf(pod), (each) => (each.metadata!.deletionTimestamp = this.#clock.stamp()));
  }

  #sync(key: string): void {
    const job = this.#api.get('jobs', key);
    if (job === undefined || job.status?.conditions?.some((c) => c.type === 'Complete' || c.type === 'Failed')) return;
    const uid = job.metadata!.uid!;
    const pods = this.#api.list('pods').filter((pod) => ownerOf(pod) === uid);
    if (job.spec?.suspend === true) {
      // Kubernetes 1.36 holds the policy against the pods that the suspension itself has stopped, too.
      const failed = pods.find((pod) => pod.status?.phase === 'Failed');
      if (failed !== undefined && job.spec.podFailurePolicy !== undefined)
        return this.#end(key, 'Failed', 'PodFailurePolicy', whyFailed(failed));
      this.#starts.delete(uid);
      this.#whys.delete(uid);
      for (const pod of pods) this.#delete(pod);
      if (job.status?.startTime !== undefined) this.#api.update('jobs', key, (each) => delete each.status!.startTime);
      return;
    }
    const start = this.#starts.get(uid);
    if (start === undefined) return this.#start(job, pods);
    const ends = [...start.values()];
    if (ends.includes('Failed')) {
      for (const pod of pods) if (start.get(pod.metadata!.uid!) === 'alive') this.#delete(pod);
      if (ends.includes('alive')) return;
      if (job.spec?.podFailurePolicy === undefined)
        this.#end(key, 'Failed', 'BackoffLimitExceeded', 'Job has reached the specified backoff limit');
      else this.#end(key, 'Failed', 'PodFailurePolicy', this.#whys.get(uid) ?? 'a pod is gone');
    } else if (!ends.includes('alive')) this.#end(key, 'Complete', 'CompletionsReached', '');
  }

  #start(job: Job, leftovers: Pod[]): void {
    // The pods of the start before are waited for: their end makes this run again.
    if (leftovers.length > 0) return;
    const { uid, name, namespace } = job.metadata as { uid: string; name: string; namespace: string };
    const start = new Map<string, 'alive' | 'Succeeded' | 'Failed'>();
    this.#starts.set(uid, start);
    this.#api.update(
      'jobs',
      keyOf(job),
      (each) => (each.status = { ...each.status, startTime: this.#clock.stamp(), active: job.spec!.completions! }),
    );
    for (let rank = 0; rank < job.spec!.completions!; rank += 1) {
      const pod = this.#api.create('pods', {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: {
          name: `${name}-${rank}-${++this.#pods}`,
          namespace,
          labels: { ...job.spec!.template.metadata?.labels },
          ...(job.spec!.completions! > 1 && {
            annotations: { 'batch.kubernetes.io/job-completion-index': String(rank) },
          }),
          ownerReferences: [{ apiVersion: 'batch/v1', kind: 'Job', name, uid, controller: true }],
        },
        spec: job.spec!.template.spec!,
        status: { phase: 'Pending' },
      });
      start.set(pod.metadata!.uid!, 'alive');
    }
  }

  #end(key: string, type: 'Complete' | 'Failed', reason: string, message: string): void {
    this.#api.update('jobs', key, (job) => {
      job.status = {
        ...job.status,
        active: 0,
        conditions: [{ type, status: 'True', reason, message, lastTransitionTime: this.#clock.stamp() }],
      };
    });
  }
}
