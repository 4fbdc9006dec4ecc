import type { V1ConfigMap, V1Job, V1Namespace, V1Node, V1Pod } from '@kubernetes/client-node';
import type { KubeClient } from '../kube/client.ts';
import { Reflector } from '../kube/reflector.ts';
import {
  CONFIG_MAPS,
  JOBS,
  NAMESPACES,
  NODES,
  PODS,
  type KubeObject,
  type ResourceType,
  type Wire,
} from '../kube/resource.ts';
import { Store, type StoreOptions } from '../kube/store.ts';
import { projectPod, type PodView } from '../runtime/local/pod-state.ts';
import { clientRunId, LABELS, MANAGER } from './identity.ts';
import { openAttempt } from './run/world.ts';
import {
  projectJob,
  projectNamespace,
  projectNode,
  projectPin,
  projectProfile,
  projectRun,
  RUNTIME_PROFILES,
  WORLD_RUNS,
  type JobView,
  type NamespaceView,
  type NodeView,
  type PinView,
  type ProfileView,
  type RunView,
  type RuntimeProfile,
  type WorldRun,
} from './run/view.ts';

/** Everything that the operator watches, each as the projection that deciding needs. */
export interface Caches {
  runs: Store<WorldRun, RunView>;
  profiles: Store<RuntimeProfile, ProfileView>;
  jobs: Store<Wire<V1Job>, JobView>;
  pods: Store<Wire<V1Pod>, PodView>;
  nodes: Store<Wire<V1Node>, NodeView>;
  namespaces: Store<Wire<V1Namespace>, NamespaceView>;
  pins: Store<Wire<V1ConfigMap>, PinView>;
}

/** Index value of runs that name no profile. */
export const DEFAULT_PROFILE = '\u0000default';

export function makeCaches(installation: string, onListenerError: (error: unknown) => void): Caches {
  const store = <T extends KubeObject, P>(options: Omit<StoreOptions<T, P>, 'onListenerError'>) =>
    new Store<T, P>({ ...options, onListenerError });
  return {
    runs: store({
      project: projectRun,
      indexes: {
        uid: (run) => [run.uid],
        // Settled runs are found by name alone: indexing ten thousand of them costs memory for nothing.
        profile: (run) =>
          run.state === 'live'
            ? [
                run.spec.runtimeProfileRef?.name ?? DEFAULT_PROFILE,
                ...(run.spec.fallbackProfileRefs ?? []).map(({ name }) => name),
              ]
            : [],
        namespace: (run) => (run.state === 'live' ? [run.namespace] : []),
        work: (run) => {
          const open = run.state === 'live' ? openAttempt(run) : undefined;
          if (open?.intent === undefined) return [];
          return [open.externalId === undefined ? 'unanswered' : 'open'];
        },
        externalId: (run) =>
          run.state === 'live'
            ? (run.status.attempts ?? []).flatMap((attempt) => attempt.externalId ?? [])
            : [...(run.work?.externalIds ?? [])],
        clientRunId: (run) =>
          run.state === 'live'
            ? [clientRunId(installation, { namespace: run.namespace, uid: run.uid, runKey: run.spec.runKey })]
            : [],
      },
    }),
    profiles: store({ project: projectProfile }),
    jobs: store({ project: projectJob, indexes: { run: (job) => (job.runUid === undefined ? [] : [job.runUid]) } }),
    pods: store({
      project: (pod) => projectPod(pod, { runUid: LABELS.runUid }),
      indexes: {
        run: (pod) => (pod.runUid === undefined ? [] : [pod.runUid]),
        node: (pod) => (pod.node === undefined ? [] : [pod.node]),
      },
    }),
    nodes: store({ project: projectNode }),
    namespaces: store({ project: projectNamespace }),
    pins: store({ project: projectPin, indexes: { digest: (pin) => [pin.digest] } }),
  };
}

/** Reflectors that fill the caches. Start them all, then wait until all have synced. */
export function reflect(
  client: KubeClient,
  caches: Caches,
  operatorNamespace: string,
  onError: (plural: string, error: unknown) => void,
): Reflector<KubeObject>[] {
  const ours = `${LABELS.managedBy}=${MANAGER}`;
  const follow = <T extends KubeObject, P>(
    type: ResourceType<T>,
    target: Store<T, P>,
    selection: { namespace?: string; labelSelector?: string } = {},
  ) =>
    new Reflector<T>({
      client,
      type,
      target,
      selection,
      onError: (error) => onError(type.plural, error),
    }) as unknown as Reflector<KubeObject>;
  return [
    follow(WORLD_RUNS, caches.runs),
    follow(RUNTIME_PROFILES, caches.profiles),
    follow(JOBS, caches.jobs, { labelSelector: ours }),
    follow(PODS, caches.pods, { labelSelector: ours }),
    follow(NODES, caches.nodes),
    follow(NAMESPACES, caches.namespaces),
    follow(CONFIG_MAPS, caches.pins, { namespace: operatorNamespace, labelSelector: `${LABELS.pinnedProfile}=true` }),
  ];
}
