import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { isBuilt, kubernetesBinary } from './build.ts';
import type { Cluster, ClusterOptions } from './cluster.ts';
import { auditLog, kubeconfigOf, pki, startControlPlane } from './control-plane.ts';
import { pauseImage } from './small-images.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import {
  lastHeartbeat,
  loadImageInto,
  patchCapacity,
  startKubelet,
  startNodeComponents,
  startRuntime,
  waitForNode,
} from './node.ts';
import { clusterDir } from './paths.ts';
import { Authority, readPem } from './pki.ts';
import { identify, isAlive, run, stop } from './process.ts';
import { createSandbox } from './sandbox.ts';
import {
  destroy,
  makeDirectories,
  readState,
  sweep,
  writeState,
  type ClusterKind,
  type ClusterState,
} from './state.ts';

/** What a node and its images need beyond Kubernetes itself, and the Debian package it comes from. */
export const NODE_TOOLS = {
  containerd: 'containerd',
  ctr: 'containerd',
  runc: 'runc',
  nft: 'nftables',
  ip: 'iproute2',
  unshare: 'util-linux',
  nsenter: 'util-linux',
  '/usr/lib/cni/ptp': 'containernetworking-plugins',
  buildah: 'buildah',
  mmdebstrap: 'mmdebstrap',
  '/bin/busybox': 'busybox-static',
} as const;

/** The reason this host cannot run a cluster of this kind from source, or undefined. */
export async function whyNotOnHost(kind: ClusterKind): Promise<string | undefined> {
  if (process.platform !== 'linux') return `not Linux but ${process.platform}`;
  if (!(await hasTool('setpriv'))) return 'setpriv (util-linux) is not installed';
  if (!(await isBuilt()) && !(await hasTool('go')))
    return 'Go is not installed, and the Kubernetes binary has not been built';
  if (kind === 'api') return undefined;
  if (process.getuid?.() !== 0) return 'a node needs root';
  for (const [tool, from] of Object.entries(NODE_TOOLS)) {
    if (!(await hasTool(tool))) return `${tool} is not installed (Debian package ${from})`;
  }
  return run(['unshare', '--mount', '--pid', '--net', '--fork', 'true'], { timeoutMs: 10_000 }).then(
    () => undefined,
    (error: Error) => `this host refuses new namespaces: ${error.message}`,
  );
}

export async function hasTool(name: string): Promise<boolean> {
  const directories = name.startsWith('/') ? [''] : (process.env['PATH'] ?? '').split(':');
  const found = await Promise.all(
    directories.map((directory) =>
      access(join(directory, name), constants.X_OK).then(
        () => true,
        () => false,
      ),
    ),
  );
  return found.includes(true);
}

export async function startOnHost(o: ClusterOptions): Promise<Cluster> {
  const binary = await kubernetesBinary(o.signal);
  await sweep();
  await destroy(o.name);
  await makeDirectories(o.name);
  const state: ClusterState = {
    name: o.name,
    kind: o.kind,
    detached: o.detached ?? false,
    owner: identify(process.pid),
    audit: o.audit ?? false,
    binary,
    apiServer: '',
    processes: {},
    capacity: {},
  };
  writeState(state);
  const options = {
    scheduler: o.kind === 'node' || (o.scheduler ?? false),
    apiServerArgs: o.apiServerArgs ?? [],
    controllerManagerArgs: o.controllerManagerArgs ?? [],
    signal: o.signal,
  };
  try {
    if (o.kind === 'api') await startControlPlane(state, options);
    else {
      await createSandbox(state);
      const runtime = startRuntime(state).then(async () => loadImageInto(state.name, await pauseImage(o.signal)));
      await Promise.all([runtime, startControlPlane(state, options)]);
      await startNodeComponents(state, o.signal);
    }
  } catch (error) {
    await destroy(o.name);
    throw error;
  }
  return new HostCluster(state);
}

export function attachOnHost(name: string): Cluster | undefined {
  const state = readState(name);
  return state === undefined ? undefined : new HostCluster(state);
}

class HostCluster implements Cluster {
  readonly name: string;
  readonly kind: ClusterKind;
  readonly kubeconfig: string;
  readonly dir: string;
  readonly apiServer: string;
  readonly auditLog: string | undefined;
  readonly caFile: string;
  readonly hostAddress: string;
  readonly #state: ClusterState;

  constructor(state: ClusterState) {
    this.name = state.name;
    this.kind = state.kind;
    this.kubeconfig = kubeconfigOf(state, 'admin');
    this.dir = clusterDir(state.name);
    this.apiServer = state.apiServer;
    this.auditLog = state.audit ? auditLog(state) : undefined;
    this.caFile = pki(state, 'ca.crt');
    this.hostAddress = state.network?.hostAddress ?? '127.0.0.1';
    this.#state = state;
  }

  get pids(): Record<string, number> {
    return Object.fromEntries(
      Object.entries(this.#state.processes)
        .filter(([, process]) => isAlive(process))
        .map(([name, { pid }]) => [name, pid]),
    );
  }

  kubectl(
    args: readonly string[],
    options: { input?: string; timeoutMs?: number; signal?: AbortSignal } = {},
  ): Promise<string> {
    const env = { PATH: process.env['PATH'], HOME: this.dir, NO_PROXY: '*' };
    return run([this.#state.binary, 'kubectl', `--kubeconfig=${this.kubeconfig}`, ...args], { ...options, env });
  }

  loadImage(archive: string): Promise<void> {
    return loadImageInto(this.name, archive);
  }

  async patchNodeCapacity(resource: string, count: number): Promise<void> {
    await patchCapacity(this.#state, resource, count);
    this.#state.capacity[resource] = count;
    writeState(this.#state);
  }

  async userKubeconfig(user: { name: string; groups?: readonly string[] }): Promise<string> {
    const authority = await Authority.load(await readPem(join(this.dir, 'pki'), 'ca'));
    const credentials = await authority.issue({
      commonName: user.name,
      ...(user.groups && { organizations: user.groups }),
    });
    const path = join(this.dir, `user-${encodeURIComponent(user.name)}.kubeconfig`);
    await writeKubeconfig(path, { server: this.apiServer, ca: authority.pem.cert, user: user.name, credentials });
    return path;
  }

  async stopNode(): Promise<void> {
    const kubelet = this.#state.processes['kubelet'];
    if (kubelet === undefined) throw new Error(`cluster ${this.name} has no running node`);
    await stop(kubelet);
    delete this.#state.processes['kubelet'];
    writeState(this.#state);
  }

  async startNode(): Promise<void> {
    const after = await lastHeartbeat(this.#state);
    await startKubelet(this.#state);
    await waitForNode(this.#state, { after });
    for (const [resource, count] of Object.entries(this.#state.capacity))
      await patchCapacity(this.#state, resource, count);
  }

  async down(): Promise<void> {
    await destroy(this.name);
  }
}
