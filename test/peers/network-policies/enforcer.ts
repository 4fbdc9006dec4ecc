import type { V1NetworkPolicy } from '@kubernetes/client-node';
import { setTimeout as sleep } from 'node:timers/promises';
import { KubeClient } from '../../../src/kube/client.ts';
import { loadClusterConfig } from '../../../src/kube/config.ts';
import { NAMESPACES, PODS, resourceType, type Wire } from '../../../src/kube/resource.ts';
import type { Cluster } from '../../cluster/index.ts';
import { run } from '../../cluster/process.ts';
import { inside } from '../../cluster/sandbox.ts';
import { readState } from '../../cluster/state.ts';
import { ruleset, type Namespace, type Pod, type Policy } from './rules.ts';

const NETWORK_POLICIES = resourceType<Wire<V1NetworkPolicy>>({
  group: 'networking.k8s.io',
  version: 'v1',
  plural: 'networkpolicies',
  namespaced: true,
  kind: 'NetworkPolicy',
});

/** Runs a command in the namespaces of the cluster's node. */
export function onNode(cluster: Cluster, argv: readonly string[], input = ''): Promise<string> {
  return run(inside(readState(cluster.name)!, argv), { input });
}

async function all<T>(list: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const one of list) found.push(one);
  return found;
}

/** Keeps the kernel of a node of this host to what the cluster's NetworkPolicies say. The rules go with the node's network namespace. */
export class Enforcer {
  readonly #cluster: Cluster;
  readonly #client: KubeClient;
  readonly #stopped = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #last = '';

  private constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.#client = KubeClient.connect(loadClusterConfig({ file: cluster.kubeconfig }), { userAgent: 'policies' });
  }

  static start(cluster: Cluster): Enforcer {
    const enforcer = new Enforcer(cluster);
    enforcer.#running = enforcer.#keep();
    return enforcer;
  }

  /** Once more, from what is there now; resolves when the kernel has it. */
  async look(): Promise<void> {
    const [policies, pods, namespaces] = await Promise.all([
      all(this.#client.list(NETWORK_POLICIES)),
      all(this.#client.list(PODS)),
      all(this.#client.list(NAMESPACES)),
    ]);
    // The API server has filled in what these types call optional.
    const world = { policies: policies as Policy[], pods: pods as Pod[], namespaces: namespaces as Namespace[] };
    const rules = ruleset(world);
    if (rules === this.#last) return;
    await onNode(this.#cluster, ['nft', '-f', '-'], rules);
    this.#last = rules;
  }

  /** Leaves no rule behind. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#running;
    await onNode(this.#cluster, ['nft', '-f', '-'], ruleset({ policies: [], pods: [], namespaces: [] }));
    await this.#client.close();
  }

  async #keep(): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      await this.look();
      await sleep(300, undefined, { signal }).catch(() => {});
    }
  }
}
