import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { stringify } from 'yaml';
import { ApiClient } from './api-client.ts';
import { component, kubeconfigOf, nodeName, pki } from './control-plane.ts';
import { clusterDir } from './paths.ts';
import { childOf, run, until } from './process.ts';
import { inside } from './sandbox.ts';
import {
  assertAlive,
  controlGroup,
  controlGroupRoots,
  startComponent,
  type ClusterState,
  type NodeNetwork,
} from './state.ts';

export const SANDBOX_IMAGE = 'localhost/worldflux/pause:1';
const STORAGE_CLASS = 'standard';
const CNI_BINARIES = '/usr/lib/cni';

/** Starts the container runtime; it needs no API server, so it may come up beside it. */
export async function startRuntime(state: ClusterState): Promise<void> {
  const network = networkOf(state);
  const dir = clusterDir(state.name);
  await writeFile(
    await path(dir, 'cni/10-ptp.conflist'),
    JSON.stringify(cniConfig(network, join(dir, 'cni-addresses'))),
  );
  await writeFile(await path(dir, 'containerd.toml'), containerdConfig(dir));
  const argv = inside(state, ['containerd', '--config', join(dir, 'containerd.toml')]);
  await startComponent(state, 'containerd', argv, { env: { PATH: process.env['PATH'], HOME: dir }, find: childOf });
  await until(
    'containerd to answer',
    async () => {
      assertAlive(state, 'containerd');
      if (!existsSync(containerdSocket(state.name))) return undefined;
      return ctr(state.name, ['version']).then(
        () => true,
        () => undefined,
      );
    },
    { timeoutMs: 30_000, intervalMs: 50 },
  );
}

/** Loads a docker or OCI archive into the node's images. */
export async function loadImageInto(name: string, archive: string): Promise<void> {
  await ctr(name, ['images', 'import', archive], 300_000);
}

/** Starts everything on the node that talks to the API server; resolves when the node takes Pods. */
export async function startNodeComponents(state: ClusterState, signal: AbortSignal | undefined): Promise<void> {
  const network = networkOf(state);
  const dir = clusterDir(state.name);
  await prepareControlGroup(state.name);
  await writeFile(join(dir, 'resolv.conf'), `nameserver ${network.nodeAddress}\n`);
  await writeFile(join(dir, 'kubelet.yaml'), stringify(kubeletConfig(state)));
  await writeFile(join(dir, 'kube-proxy.yaml'), stringify(proxyConfig(state)));
  await writeFile(join(dir, 'Corefile'), corefile(state));
  await Promise.all([
    startKubelet(state),
    component(state, 'kube-proxy', [`--config=${join(dir, 'kube-proxy.yaml')}`]),
    component(state, 'coredns', ['-conf', join(dir, 'Corefile')]),
    startStorage(state),
  ]);
  await waitForNode(state, { signal });
}

export async function startKubelet(state: ClusterState): Promise<void> {
  const dir = clusterDir(state.name);
  await component(state, 'kubelet', [
    `--config=${join(dir, 'kubelet.yaml')}`,
    `--kubeconfig=${kubeconfigOf(state, 'kubelet')}`,
    `--hostname-override=${nodeName(state)}`,
    `--node-ip=${networkOf(state).nodeAddress}`,
    `--root-dir=${join(dir, 'kubelet')}`,
    `--cert-dir=${join(dir, 'kubelet-pki')}`,
  ]);
}

/**
 * Resolves when the node is Ready, no taint keeps Pods away, and the kubelet has said so later than `after`, its last word before it was
 * started: until the control plane notices, a stopped node still looks Ready.
 */
export async function waitForNode(
  state: ClusterState,
  o: { after?: string; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const api = await ApiClient.open(state);
  try {
    await until(
      `node ${nodeName(state)} to be Ready`,
      async () => {
        for (const name of Object.keys(state.processes)) assertAlive(state, name);
        const answer = await api.get(`/api/v1/nodes/${nodeName(state)}`).catch(() => undefined);
        return answer?.status === 200 && takesPods(answer.body as NodeObject, o.after ?? '') ? true : undefined;
      },
      { timeoutMs: 120_000, intervalMs: 50, signal: o.signal },
    );
  } finally {
    await api.close();
  }
}

/** Writes a capacity into the node's status, as a device plugin would through the kubelet. */
export async function patchCapacity(state: ClusterState, resource: string, count: number): Promise<void> {
  const escaped = resource.replaceAll('~', '~0').replaceAll('/', '~1');
  const api = await ApiClient.open(state);
  try {
    const operations = ['capacity', 'allocatable'].map((field) => ({
      op: 'add',
      path: `/status/${field}/${escaped}`,
      value: String(count),
    }));
    const answer = await api.patchJson(`/api/v1/nodes/${nodeName(state)}/status`, operations);
    if (answer.status !== 200)
      throw new Error(`cannot set ${resource} of ${nodeName(state)}: ${JSON.stringify(answer.body)}`);
  } finally {
    await api.close();
  }
}

interface NodeObject {
  spec: { taints?: { effect: string }[] };
  status: { conditions?: { type: string; status: string; lastHeartbeatTime: string }[] };
}

function takesPods(node: NodeObject, after: string): boolean {
  const ready = node.status.conditions?.find((c) => c.type === 'Ready');
  return ready?.status === 'True' && ready.lastHeartbeatTime > after && (node.spec.taints ?? []).length === 0;
}

/** When the kubelet last reported, as the API server has it. */
export async function lastHeartbeat(state: ClusterState): Promise<string> {
  const api = await ApiClient.open(state);
  try {
    const { body } = await api.get(`/api/v1/nodes/${nodeName(state)}`);
    return (body as NodeObject).status.conditions?.find((c) => c.type === 'Ready')?.lastHeartbeatTime ?? '';
  } finally {
    await api.close();
  }
}

async function startStorage(state: ClusterState): Promise<void> {
  const volumes = join(clusterDir(state.name), 'volumes');
  await mkdir(volumes, { recursive: true, mode: 0o755 });
  const admin = kubeconfigOf(state, 'admin');
  const storageClass = {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: STORAGE_CLASS, annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' } },
    provisioner: 'worldflux.ai/local-directory',
    reclaimPolicy: 'Delete',
    volumeBindingMode: 'Immediate',
  };
  await run([state.binary, 'kubectl', `--kubeconfig=${admin}`, 'apply', '-f', '-'], {
    input: stringify(storageClass),
    env: { PATH: process.env['PATH'], HOME: clusterDir(state.name), NO_PROXY: '*' },
  });
  await component(state, 'storage', [
    `--kubeconfig=${admin}`,
    `--class=${STORAGE_CLASS}`,
    `--dir=${volumes}`,
    `--node=${nodeName(state)}`,
  ]);
}

function networkOf(state: ClusterState): NodeNetwork {
  if (state.network === undefined) throw new Error(`cluster ${state.name} has no node`);
  return state.network;
}

async function path(dir: string, file: string): Promise<string> {
  await mkdir(dirname(join(dir, file)), { recursive: true });
  return join(dir, file);
}

function containerdSocket(name: string): string {
  return join(clusterDir(name), 'containerd.sock');
}

function ctr(name: string, args: readonly string[], timeoutMs = 20_000): Promise<string> {
  return run(['ctr', '--address', containerdSocket(name), '--namespace', 'k8s.io', ...args], { timeoutMs });
}

/** Point-to-point links, not a bridge: every packet is routed, so Services work without the kernel's bridge filter. */
function cniConfig(network: NodeNetwork, addresses: string): object {
  const ranges = [[{ subnet: network.podCidr, gateway: network.podGateway }]];
  const ipam = { type: 'host-local', dataDir: addresses, ranges, routes: [{ dst: '0.0.0.0/0' }] };
  return { cniVersion: '1.0.0', name: 'pods', plugins: [{ type: 'ptp', ipMasq: false, ipam }] };
}

function containerdConfig(dir: string): string {
  return `version = 2
root = "${dir}/containerd"
state = "${dir}/containerd-state"
oom_score = 0
[grpc]
  address = "${dir}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${SANDBOX_IMAGE}"
  # Without CAP_SYS_RESOURCE, which many build machines withhold, runc may not lower a score and dies.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    discard_unpacked_layers = false
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${CNI_BINARIES}"
    conf_dir = "${dir}/cni"
`;
}

function kubeletConfig(state: ClusterState): object {
  const dir = clusterDir(state.name);
  const network = networkOf(state);
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    address: network.nodeAddress,
    readOnlyPort: 0,
    tlsCertFile: pki(state, 'kubelet.crt'),
    tlsPrivateKeyFile: pki(state, 'kubelet.key'),
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: pki(state, 'ca.crt') },
    },
    authorization: { mode: 'Webhook' },
    clusterDomain: 'cluster.local',
    clusterDNS: [network.nodeAddress],
    resolvConf: join(dir, 'resolv.conf'),
    containerRuntimeEndpoint: `unix://${dir}/containerd.sock`,
    cgroupDriver: 'cgroupfs',
    cgroupRoot: `/${controlGroup(state.name)}`,
    enforceNodeAllocatable: [],
    failCgroupV1: false,
    failSwapOn: false,
    makeIPTablesUtilChains: false,
    podLogsDir: join(dir, 'pod-logs'),
    volumePluginDir: join(dir, 'volume-plugins'),
    // A developer's disk may be fuller than a server's: never delete the images that a test loaded, nor evict for the host's sake.
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
    evictionHard: {
      'memory.available': '50Mi',
      'nodefs.available': '1%',
      'nodefs.inodesFree': '1%',
      'imagefs.available': '1%',
    },
    nodeStatusUpdateFrequency: '2s',
    syncFrequency: '10s',
    volumeStatsAggPeriod: '5s',
    serializeImagePulls: false,
  };
}

function proxyConfig(state: ClusterState): object {
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: 'nftables',
    hostnameOverride: nodeName(state),
    clientConnection: { kubeconfig: kubeconfigOf(state, 'kube-proxy') },
    clusterCIDR: networkOf(state).podCidr,
    detectLocalMode: 'ClusterCIDR',
    // The table's size is the host's setting, shared with all else that runs on it.
    conntrack: { maxPerCore: 0, min: 0 },
    nftables: { minSyncPeriod: '100ms', syncPeriod: '30s' },
  };
}

/** Serves the cluster's names only. There is no way out of the node, so any other name does not exist, and the answer comes at once. */
function corefile(state: ClusterState): string {
  const { nodeAddress } = networkOf(state);
  return `cluster.local:53 in-addr.arpa:53 {
  bind ${nodeAddress}
  errors
  health ${nodeAddress}:8080
  kubernetes cluster.local in-addr.arpa {
    kubeconfig ${kubeconfigOf(state, 'admin')}
    pods insecure
    ttl 1
  }
}
.:53 {
  bind ${nodeAddress}
  template ANY ANY . {
    rcode NXDOMAIN
  }
}
`;
}

async function prepareControlGroup(name: string): Promise<void> {
  for (const root of await controlGroupRoots()) {
    await mkdir(join(root, controlGroup(name)), { recursive: true });
    const control = join(root, 'cgroup.subtree_control');
    if (!existsSync(control)) continue;
    const controllers = (await readFile(join(root, 'cgroup.controllers'), 'utf8')).trim().split(' ');
    // One at a time: a controller that the kernel does not delegate must not keep the others from being enabled.
    for (const controller of controllers) await writeFile(control, `+${controller}`).catch(() => {});
  }
}
