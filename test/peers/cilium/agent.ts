import { copyFile, cp, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cached } from '../../cluster/build.ts';
import type { Cluster } from '../../cluster/index.ts';
import { hasTool } from '../../cluster/host-cluster.ts';
import { childOf, run, until } from '../../cluster/process.ts';
import { inside } from '../../cluster/sandbox.ts';
import { assertAlive, readState, startComponent, type ClusterState } from '../../cluster/state.ts';
import { moduleDirectory } from '../../../scripts/tools/go-tool.ts';

/**
 * Cilium itself, as the network of a node of this host: its agent gives Pods their addresses and enforces NetworkPolicies in the kernel.
 * All of it lies in the node's own namespaces, and goes with them.
 */

/** The newest whose modules the Go proxy carries. */
const VERSION = 'v1.15.19';
const CLANG = 'clang-19';
const CRDS = {
  v2: [
    'ciliumnetworkpolicies',
    'ciliumclusterwidenetworkpolicies',
    'ciliumnodes',
    'ciliumidentities',
    'ciliumendpoints',
  ],
  v2alpha1: ['ciliumcidrgroups', 'ciliumpodippools', 'ciliumloadbalancerippools', 'ciliuml2announcementpolicies'],
};

/** The host-wide ones of those that it sets. It gets files in their place: the last cannot even be set back. */
const HOST_SETTINGS = ['kernel/timer_migration', 'kernel/unprivileged_bpf_disabled'];

/** To be called before the first Pod. Resolves when Pods get their network from it. */
export async function startCilium(cluster: Cluster, folder: string): Promise<void> {
  for (const tool of [CLANG, 'bpftool'])
    if (!(await hasTool(tool))) throw new Error(`${tool} is not installed (Debian package ${tool})`);
  const installed = await ciliumInstalled();
  const state = readState(cluster.name)!;
  const network = state.network!;
  const crds = Object.entries(CRDS).flatMap(([version, kinds]) =>
    kinds.flatMap((kind) => ['-f', join(installed, 'crds', version, `${kind}.yaml`)]),
  );
  const names = await cluster.kubectl(['create', ...crds, '-o', 'name'], { timeoutMs: 60_000 });
  await cluster.kubectl(['wait', '--for=condition=Established', '--timeout=60s', ...names.trim().split('\n')], {
    timeoutMs: 70_000,
  });
  const node = `node-${cluster.name}`;
  const ranges = JSON.stringify({ spec: { podCIDR: network.podCidr, podCIDRs: [network.podCidr] } });
  await cluster.kubectl(['patch', 'node', node, '--type=merge', '-p', ranges]);

  await prepareNode(state, installed, folder);
  const flags = Object.entries(settings(cluster, state, folder)).map(([name, value]) => `--${name}=${value}`);
  const argv = ['unshare', '--mount', 'sh', join(folder, 'start'), join(installed, 'daemon'), ...flags];
  const env = {
    PATH: `${folder}/bin:${process.env['PATH']}`,
    HOME: folder,
    NO_PROXY: '*',
    K8S_NODE_NAME: node,
    CILIUM_K8S_NAMESPACE: 'kube-system',
  };
  await startComponent(state, 'cilium', inside(state, argv), { env, find: childOf });
  const ready = () => run(inside(state, ['test', '-S', '/run/cilium/cilium.sock', '-a', '-f', cniFile(cluster)]));
  await until(
    'Cilium to be ready',
    () => {
      assertAlive(state, 'cilium');
      return ready().then(
        () => true,
        () => undefined,
      );
    },
    { timeoutMs: 300_000, intervalMs: 500 },
  );
  await leaveItTheNetwork(cluster);
}

/** Two configurations would give each Pod two networks. */
async function leaveItTheNetwork(cluster: Cluster): Promise<void> {
  const folder = join(cluster.dir, 'cni');
  for (const file of await readdir(folder)) if (join(folder, file) !== cniFile(cluster)) await rm(join(folder, file));
}

/** Runs a shell script in the namespaces of the cluster's node. */
export function onNode(cluster: Cluster, script: string): Promise<string> {
  return run(inside(readState(cluster.name)!, ['sh', '-c', script]));
}

const cniFile = (cluster: Cluster): string => join(cluster.dir, 'cni', '05-cilium.conflist');

async function prepareNode(state: ClusterState, installed: string, folder: string): Promise<void> {
  // It writes what the kernel can do among its own sources, and compiles them as Pods come.
  await cp(join(installed, 'bpf'), join(folder, 'lib', 'bpf'), { recursive: true });
  await mkdir(join(folder, 'bin'), { recursive: true });
  // Written for an older clang: what the newer one warns of is no error of ours.
  await writeFile(join(folder, 'bin', 'clang'), `#!/bin/sh\nexec ${CLANG} "$@" -Wno-error\n`, { mode: 0o755 });
  await writeFile(join(folder, 'start'), withModules(join(folder, 'proc')));
  const plugins = join(folder, 'plugins');
  await cp('/usr/lib/cni', plugins, { recursive: true });
  await copyFile(join(installed, 'cilium-cni'), join(plugins, 'cilium-cni'));
  const lines = ['set -e', `mount --bind ${plugins} /usr/lib/cni`, 'mount -t bpf bpf /sys/fs/bpf'];
  for (const setting of HOST_SETTINGS) {
    const file = join(folder, setting.replaceAll('/', '.'));
    lines.push(`cat /proc/sys/${setting} > ${file}`, `mount --bind ${file} /proc/sys/${setting}`);
  }
  await run(inside(state, ['sh', '-c', lines.join('\n')]));
}

/** It wants the list of the kernel's modules, and a kernel without any has no such file, nor can one be made in /proc. */
const withModules = (proc: string): string => `set -e
mkdir -p ${proc}
mount --rbind /proc ${proc}
mount -t tmpfs tmpfs /proc
for entry in ${proc}/[!0-9]* ${proc}/1 ${proc}/$$; do ln -s $entry /proc/; done
[ -e /proc/modules ] || : > /proc/modules
exec "$@"
`;

function settings(cluster: Cluster, state: ClusterState, folder: string): Record<string, string> {
  const { cidr } = state.network!;
  return {
    'k8s-kubeconfig-path': cluster.kubeconfig,
    'lib-dir': join(folder, 'lib'),
    'state-dir': '/run/cilium',
    'write-cni-conf-when-ready': cniFile(cluster),
    'cni-exclusive': 'false',
    devices: 'eth0',
    ipam: 'kubernetes',
    'enable-ipv6': 'false',
    'routing-mode': 'native',
    'ipv4-native-routing-cidr': cidr,
    'enable-ipv4-masquerade': 'false',
    'enable-endpoint-routes': 'true',
    'identity-allocation-mode': 'crd',
    // Services stay with kube-proxy, as in most clusters.
    'kube-proxy-replacement': 'false',
    'enable-l7-proxy': 'false',
    'enable-health-checking': 'false',
    'enable-endpoint-health-checking': 'false',
    'enable-well-known-identities': 'false',
    'bpf-ct-global-tcp-max': '16384',
    'bpf-ct-global-any-max': '16384',
    'bpf-lb-map-max': '4096',
    'bpf-policy-map-max': '1024',
    'preallocate-bpf-maps': 'false',
  };
}

/** The agent, the plugin, the sources of what it loads into the kernel, and its kinds. */
function ciliumInstalled(): Promise<string> {
  return cached(`cilium-${VERSION}`, async (into) => {
    const source = await moduleDirectory(`github.com/cilium/cilium@${VERSION}`, undefined);
    const env = { ...process.env, CGO_ENABLED: '0', GOWORK: 'off' };
    const argv = ['go', 'build', '-C', source, '-mod=readonly', '-trimpath', '-ldflags', '-s -w', '-o', `${into}/`];
    await run([...argv, './daemon', './plugins/cilium-cni'], { env, timeoutMs: 40 * 60_000 });
    // Go's module cache is read-only, and a plain copy would stay so.
    await run(['cp', '-r', '--no-preserve=mode', join(source, 'bpf'), join(into, 'bpf')]);
    await run([
      'cp',
      '-r',
      '--no-preserve=mode',
      join(source, 'pkg/k8s/apis/cilium.io/client/crds'),
      join(into, 'crds'),
    ]);
  });
}
