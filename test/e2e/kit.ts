import { stringify } from 'yaml';
import type { Cluster } from '../cluster/index.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { loadClusterConfig } from '../../src/kube/config.ts';
import { RUNTIME_PROFILES, WORLD_RUNS, type RuntimeProfile, type WorldRun } from '../../src/controller/run/view.ts';
import type { Condition } from '../../src/crds/common.ts';
import { isKubeError } from '../../src/kube/errors.ts';
import { NAMESPACES, type KubeObject } from '../../src/kube/resource.ts';
import { BUSYBOX_IMAGE } from '../cluster/small-images.ts';

/** What tests on a real cluster need: apply, wait for a condition, look. */

/** As a user writes it: defaults left out. Wrong specs are wanted too. */
export type RunSpec = Record<string, unknown>;

export class Kit {
  readonly cluster: Cluster;
  readonly client: KubeClient;
  readonly namespace: string;

  private constructor(cluster: Cluster, namespace: string) {
    this.cluster = cluster;
    this.namespace = namespace;
    this.client = KubeClient.connect(loadClusterConfig({ file: cluster.kubeconfig }), { userAgent: 'worldflux-test' });
  }

  /** A namespace of its own, so that files do not meet each other's objects. */
  static async open(cluster: Cluster, namespace: string): Promise<Kit> {
    const kit = new Kit(cluster, namespace);
    await kit.ensureNamespace(namespace);
    return kit;
  }

  async ensureNamespace(name: string, labels: Record<string, string> = {}): Promise<void> {
    await this.client
      .create(NAMESPACES, { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } })
      .catch((error: unknown) => {
        if (!isKubeError(error, 'alreadyExists')) throw error;
      });
  }

  async close(): Promise<void> {
    await this.cluster.kubectl(['delete', 'namespace', this.namespace, '--wait=false']);
    await this.client.close();
  }

  async apply(...objects: object[]): Promise<void> {
    await this.cluster.kubectl(['apply', '-n', this.namespace, '-f', '-'], {
      input: objects.map((o) => stringify(o)).join('---\n'),
    });
  }

  /** What the API server says to an object that it refuses; fails when it takes it. */
  async refusal(object: object): Promise<string> {
    try {
      await this.cluster.kubectl(['create', '-n', this.namespace, '--validate=strict', '-f', '-'], {
        input: stringify(object),
      });
    } catch (error) {
      return String(error instanceof Error ? error.message : error);
    }
    throw new Error('the API server took it');
  }

  profile(name: string, local: object, more: object = {}): object {
    return {
      apiVersion: 'worldflux.ai/v1alpha1',
      kind: 'RuntimeProfile',
      metadata: { name },
      spec: { runtime: 'local', local, ...more },
    };
  }

  run(name: string, spec: RunSpec, metadata: object = {}): object {
    return { apiVersion: 'worldflux.ai/v1alpha1', kind: 'WorldRun', metadata: { name, ...metadata }, spec };
  }

  /** A run whose command is a shell script. */
  shell(name: string, profile: string, script: string, more: RunSpec = {}): object {
    return this.run(name, { runtimeProfileRef: { name: profile }, command: ['sh', '-c', script], ...more });
  }

  async get(name: string): Promise<WorldRun> {
    return this.client.get(WORLD_RUNS, { namespace: this.namespace, name });
  }

  async patch(name: string, spec: object): Promise<void> {
    await this.client.patch(WORLD_RUNS, { namespace: this.namespace, name }, { merge: { spec } });
  }

  /** Resolves with the run once `test` holds; fails with its status when the time is up. */
  async until(name: string, test: (run: WorldRun) => boolean, seconds = 90): Promise<WorldRun> {
    return this.#follow(WORLD_RUNS, { namespace: this.namespace, name }, test, seconds);
  }

  async untilProfile(name: string, test: (profile: RuntimeProfile) => boolean, seconds = 60): Promise<RuntimeProfile> {
    return this.#follow(RUNTIME_PROFILES, { name }, test, seconds);
  }

  async finished(name: string, seconds = 120): Promise<WorldRun> {
    return this.until(name, (run) => condition(run, 'Finished')?.status === 'True', seconds);
  }

  async #follow<T extends KubeObject & { status?: unknown }>(
    type: typeof WORLD_RUNS | typeof RUNTIME_PROFILES,
    ref: { namespace?: string; name: string },
    test: (object: T) => boolean,
    seconds: number,
  ): Promise<T> {
    const until = Date.now() + seconds * 1000;
    let last: T | undefined;
    while (Date.now() < until) {
      last = (await this.client.get(type as never, ref)) as unknown as T;
      if (test(last)) return last;
      const signal = AbortSignal.timeout(Math.max(1, until - Date.now()));
      try {
        const selection = {
          ...(ref.namespace !== undefined && { namespace: ref.namespace }),
          fieldSelector: `metadata.name=${ref.name}`,
          resourceVersion: last.metadata?.resourceVersion,
        };
        for await (const event of this.client.watch(type as never, { ...selection, timeoutSeconds: 20, signal })) {
          if (event.type === 'BOOKMARK') continue;
          last = event.object as unknown as T;
          if (test(last)) return last;
        }
      } catch (error) {
        if (!signal.aborted && !isKubeError(error, 'gone', 'aborted', 'timeout')) throw error;
      }
    }
    throw new Error(
      `${ref.name} did not get there in ${seconds} s; its status is\n${JSON.stringify(last?.status, null, 1)}`,
    );
  }
}

export function condition(
  object: { status?: { conditions?: readonly Condition[] | undefined } | undefined },
  type: string,
): Condition | undefined {
  return object.status?.conditions?.find((c) => c.type === type);
}

/** The profile that most tests use: a shell, no overrides. */
export const SHELL_PROFILE = { image: BUSYBOX_IMAGE, outputSizeLimit: '64Mi' };
