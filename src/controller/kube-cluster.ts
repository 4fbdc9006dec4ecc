import type { V1ConfigMap, V1Job, V1Pod, V1Service } from '@kubernetes/client-node';
import type { DoctorLine } from '../crds/runtime-profile.ts';
import { API_VERSION } from '../crds/common.ts';
import type { WorldRunStatus } from '../crds/world-run-status.ts';
import type { KubeClient } from '../kube/client.ts';
import { EVENTS } from '../kube/events.ts';
import { isKubeError } from '../kube/errors.ts';
import { CONFIG_MAPS, JOBS, PODS, resourceType, SERVICES, type Wire } from '../kube/resource.ts';
import { withoutSecrets } from '../telemetry/secrets-in-use.ts';
import { FINALIZER, MANAGER } from './identity.ts';
import type { Cluster, Ref } from './run/ports.ts';
import type { ProfileCluster } from './profile/controller.ts';
import { RUNTIME_PROFILES, WORLD_RUNS, type RuntimeProfile, type WorldRun } from './run/view.ts';

const PRIORITY_CLASSES = resourceType({
  group: 'scheduling.k8s.io',
  version: 'v1',
  plural: 'priorityclasses',
  namespaced: false,
  kind: 'PriorityClass',
});
const ADMISSION_POLICY_BINDINGS = resourceType({
  group: 'admissionregistration.k8s.io',
  version: 'v1',
  plural: 'validatingadmissionpolicybindings',
  namespaced: false,
  kind: 'ValidatingAdmissionPolicyBinding',
});
const RUNTIME_CLASSES = resourceType({
  group: 'node.k8s.io',
  version: 'v1',
  plural: 'runtimeclasses',
  namespaced: false,
  kind: 'RuntimeClass',
});

/** {@link Cluster} on a real API server. Every write asks first whether this process still leads. */
export class KubeCluster implements Cluster, ProfileCluster {
  readonly #client: KubeClient;
  readonly #assertLeader: () => unknown;

  constructor(client: KubeClient, assertLeader: () => unknown) {
    this.#client = client;
    this.#assertLeader = assertLeader;
  }

  async applyRunStatus(run: Ref & { uid: string }, status: WorldRunStatus): Promise<WorldRun> {
    this.#assertLeader();
    const body = {
      apiVersion: API_VERSION,
      kind: 'WorldRun',
      metadata: { namespace: run.namespace, name: run.name, uid: run.uid },
      status: withoutSecrets(status),
    } as unknown as WorldRun;
    return this.#client.apply(WORLD_RUNS, body, { subresource: 'status', fieldManager: MANAGER, force: true });
  }

  async deleteRun(run: Ref & { uid: string }): Promise<void> {
    this.#assertLeader();
    await this.#client.delete(WORLD_RUNS, run, { uid: run.uid, propagationPolicy: 'Background' });
  }

  async setFinalizer(run: Ref & { uid: string }, present: boolean): Promise<WorldRun> {
    this.#assertLeader();
    const { namespace, name, uid } = run;
    const metadata = { namespace, name, uid, ...(present && { finalizers: [FINALIZER] }) };
    // Its own field manager: what the status is applied with must not take it away. The uid keeps an apply from making
    // a new object where the run is gone.
    const body = { apiVersion: API_VERSION, kind: 'WorldRun', metadata } as unknown as WorldRun;
    return this.#client.apply(WORLD_RUNS, body, { fieldManager: `${MANAGER}-finalizer`, force: true });
  }

  async readConfigMap(ref: Ref): Promise<Wire<V1ConfigMap>> {
    return this.#client.get(CONFIG_MAPS, ref);
  }

  async createJob(job: Wire<V1Job>): Promise<Wire<V1Job>> {
    this.#assertLeader();
    return this.#client.create(JOBS, job, { fieldManager: MANAGER });
  }

  async readJob(ref: Ref): Promise<Wire<V1Job>> {
    return this.#client.get(JOBS, ref);
  }

  listJobs(labels: Readonly<Record<string, string>>): AsyncIterable<Wire<V1Job>> {
    const labelSelector = Object.entries(labels)
      .map(([name, value]) => `${name}=${value}`)
      .join(',');
    return this.#client.list(JOBS, { labelSelector });
  }

  async readPods(job: { namespace: string; uid: string }): Promise<Wire<V1Pod>[]> {
    const pods: Wire<V1Pod>[] = [];
    for await (const pod of this.#client.list(PODS, {
      namespace: job.namespace,
      labelSelector: `batch.kubernetes.io/controller-uid=${job.uid}`,
    }))
      pods.push(pod);
    return pods;
  }

  async deleteJob(job: Ref & { uid: string }): Promise<void> {
    this.#assertLeader();
    await this.#client.delete(
      JOBS,
      { namespace: job.namespace, name: job.name },
      { uid: job.uid, propagationPolicy: 'Background' },
    );
  }

  async createService(service: Wire<V1Service>): Promise<void> {
    this.#assertLeader();
    await this.#client.create(SERVICES, service, { fieldManager: MANAGER });
  }

  async hastenPod(pod: Ref & { uid: string }): Promise<void> {
    this.#assertLeader();
    await this.#client.delete(
      PODS,
      { namespace: pod.namespace, name: pod.name },
      { uid: pod.uid, gracePeriodSeconds: 30 },
    );
  }

  async forceDeletePod(pod: Ref & { uid: string }): Promise<void> {
    this.#assertLeader();
    await this.#client.delete(
      PODS,
      { namespace: pod.namespace, name: pod.name },
      { uid: pod.uid, gracePeriodSeconds: 0 },
    );
  }

  async createPin(pin: Wire<V1ConfigMap>): Promise<Wire<V1ConfigMap>> {
    this.#assertLeader();
    return this.#client.create(CONFIG_MAPS, pin, { fieldManager: MANAGER });
  }

  async deletePin(pin: Ref & { uid: string }): Promise<void> {
    this.#assertLeader();
    await this.#client.delete(CONFIG_MAPS, { namespace: pin.namespace, name: pin.name }, { uid: pin.uid });
  }

  async podTrouble(pod: Ref & { uid: string }): Promise<string> {
    return this.#lastWarning(pod, ['Failed', 'FailedMount', 'FailedAttachVolume', 'FailedCreatePodSandBox']);
  }

  async jobTrouble(job: Ref & { uid: string }): Promise<string> {
    return this.#lastWarning(job, ['FailedCreate']);
  }

  async #lastWarning(of: Ref & { uid: string }, reasons: readonly string[]): Promise<string> {
    // events.k8s.io has no field selector on the reason; one object has a handful of events at most.
    let last = { at: '', words: '' };
    for await (const event of this.#client.list(EVENTS, {
      namespace: of.namespace,
      fieldSelector: `regarding.uid=${of.uid}`,
    })) {
      if (!reasons.includes(event.reason ?? '')) continue;
      const at = event.series?.lastObservedTime ?? event.deprecatedLastTimestamp ?? event.eventTime ?? '';
      if (at >= last.at) last = { at, words: event.note ?? '' };
    }
    return last.words;
  }

  async applyProfileStatus(profile: { name: string; uid: string }, status: object): Promise<void> {
    this.#assertLeader();
    const body = {
      apiVersion: API_VERSION,
      kind: 'RuntimeProfile',
      metadata: { name: profile.name, uid: profile.uid },
      status: withoutSecrets(status),
    } as unknown as RuntimeProfile;
    await this.#client.apply(RUNTIME_PROFILES, body, { subresource: 'status', fieldManager: MANAGER, force: true });
  }

  async findApprovalPolicy(): Promise<DoctorLine['level']> {
    try {
      await this.#client.get(ADMISSION_POLICY_BINDINGS, { name: 'approvals.worldflux.ai' });
      return 'ok';
    } catch (error) {
      return isKubeError(error, 'notFound') ? 'error' : 'info';
    }
  }

  async findClass(kind: 'PriorityClass' | 'RuntimeClass', name: string): Promise<DoctorLine['level']> {
    try {
      await this.#client.get(kind === 'PriorityClass' ? PRIORITY_CLASSES : RUNTIME_CLASSES, { name });
      return 'ok';
    } catch (error) {
      if (isKubeError(error, 'notFound')) return 'error';
      // Not being able to look is no reason to hold runs back.
      return 'info';
    }
  }
}
