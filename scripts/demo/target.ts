import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { readFile, writeFile } from 'node:fs/promises';
import { attachCluster, startCluster, whyNot, type Cluster } from '../../test/cluster/index.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { loadClusterConfig, loadKubeconfigs } from '../../src/kube/config.ts';
import { run } from '../../test/cluster/process.ts';

export const CLUSTER = 'demo';
const USER_AGENT = 'worldflux-demo';

export interface KubectlOptions {
  input?: string;
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** The cluster that the demo works on. */
export interface Target {
  /** How kubectl and helm are told which cluster: arguments for helm, and what a person types once. */
  helmArgs: readonly string[];
  shellLine: string;
  /** Whether the whole cluster is the demo's, to do with as it likes. */
  own: boolean;
  kubectl(args: readonly string[], options?: KubectlOptions): Promise<string>;
  /** For what kubectl cannot hand on unchanged: bytes. */
  connect(): KubeClient;
  /** Makes an image of this archive available and returns the reference that pods name. */
  load(tag: string, archive: string): Promise<string>;
  /** Makes one node look as if it had GPUs; absent where the nodes are not ours. */
  simulateGpus?(count: number): Promise<void>;
}

/** The demo's cluster if it is up and answers. */
export async function attachOwn(): Promise<Cluster | undefined> {
  const cluster = await attachCluster(CLUSTER);
  if (cluster === undefined) return undefined;
  return cluster.kubectl(['get', '--raw', '/readyz'], { timeoutMs: 10_000 }).then(
    () => cluster,
    // What is left of one whose processes are gone, after a reboot for example: it is started anew.
    () => undefined,
  );
}

export async function ownTarget(signal: AbortSignal): Promise<Target> {
  const reason = await whyNot('node');
  if (reason !== undefined) {
    throw new Error(`this host cannot run a cluster of the demo's own: ${reason}
Install that, or Docker with kind and kubectl, or name a cluster of yours with: npm run demo -- --context NAME`);
  }
  const cluster = (await attachOwn()) ?? (await startCluster({ name: CLUSTER, kind: 'node', detached: true, signal }));
  return {
    own: true,
    helmArgs: [`--kubeconfig=${cluster.kubeconfig}`],
    shellLine: `export KUBECONFIG=${cluster.kubeconfig}`,
    kubectl: (args, options) => cluster.kubectl(args, options),
    connect: () => KubeClient.connect(loadClusterConfig({ file: cluster.kubeconfig }), { userAgent: USER_AGENT }),
    load: async (tag, archive) => {
      const loaded = await readLoaded(cluster);
      // The archive's path holds the digest of what it was built from.
      if (loaded[tag] !== archive) {
        await cluster.loadImage(archive);
        await writeFile(loadedFile(cluster), JSON.stringify({ ...loaded, [tag]: archive }));
      }
      return tag;
    },
    simulateGpus: (count) => cluster.patchNodeCapacity('nvidia.com/gpu', count),
  };
}

/** What was loaded into this cluster: a second run need not do it again. */
const loadedFile = (cluster: Cluster): string => join(cluster.dir, 'demo-images.json');

async function readLoaded(cluster: Cluster): Promise<Record<string, string>> {
  const text = await readFile(loadedFile(cluster), 'utf8').catch(() => '{}');
  return JSON.parse(text) as Record<string, string>;
}

/** A cluster of the user's. Nothing of its nodes is touched, and images go through a registry unless it is kind. */
export async function contextTarget(context: string, registry: string | undefined): Promise<Target> {
  const kubectl: Target['kubectl'] = (args, options = {}) => run(['kubectl', `--context=${context}`, ...args], options);
  await kubectl(['get', '--raw', '/readyz'], { timeoutMs: 20_000 });
  const files = (process.env['KUBECONFIG'] ?? join(homedir(), '.kube', 'config')).split(delimiter);
  const kindName = context.startsWith('kind-') ? context.slice('kind-'.length) : undefined;
  return {
    own: false,
    helmArgs: [`--kube-context=${context}`],
    shellLine: `kubectl config use-context ${context}`,
    kubectl,
    connect: () => KubeClient.connect(loadKubeconfigs(files, context), { userAgent: USER_AGENT }),
    load: async (tag, archive) => {
      if (kindName !== undefined && registry === undefined) {
        await run(['kind', 'load', 'image-archive', archive, '--name', kindName], { timeoutMs: 300_000 });
        return tag;
      }
      if (registry === undefined)
        throw new Error(`--context ${context}: say with --registry where its nodes can pull the images from`);
      const reference = `${registry}/${tag.replace(/^localhost\//, '')}`;
      await run(['docker', 'load', '--input', archive], { timeoutMs: 300_000 });
      await run(['docker', 'tag', tag, reference]);
      await run(['docker', 'push', reference], { timeoutMs: 600_000 });
      return reference;
    },
  };
}
