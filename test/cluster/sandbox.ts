import { mkdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { clusterDir } from './paths.ts';
import { childOf, run } from './process.ts';
import { startComponent, writeState, type ClusterState, type NodeNetwork } from './state.ts';

/**
 * A node lives in namespaces of its own: processes, mounts and network. So any number of nodes stand side by side with their usual ports and
 * rule tables, and when process 1 dies the kernel takes every pod, mount, device and rule with it; there is no clearing up to get wrong.
 */
export async function createSandbox(state: ClusterState): Promise<NodeNetwork> {
  const namespaces = [
    '--mount',
    '--pid',
    '--net',
    '--fork',
    '--kill-child=SIGKILL',
    '--mount-proc',
    '--propagation',
    'private',
  ];
  state.init = await startComponent(state, 'sandbox', ['unshare', ...namespaces, state.binary, 'init'], {
    find: childOf,
  });
  writeState(state);
  await mountPrivately(state);
  const network = await connect(state, state.init.pid);
  state.network = network;
  writeState(state);
  return network;
}

/** The command line that runs `argv` inside the node. */
export function inside(state: ClusterState, argv: readonly string[]): string[] {
  if (state.init === undefined) throw new Error(`cluster ${state.name} has no node`);
  return ['nsenter', '--target', String(state.init.pid), '--mount', '--pid', '--net', '--', ...argv];
}

/** Kernel settings the kubelet insists on. It gets files that hold these values, and the host keeps its own. */
const SYSCTLS = {
  'vm/overcommit_memory': '1',
  'vm/panic_on_oom': '0',
  'kernel/panic': '10',
  'kernel/panic_on_oops': '1',
  'kernel/keys/root_maxkeys': '1000000',
  'kernel/keys/root_maxbytes': '25000000',
};

/** Fresh file systems over the fixed paths that container runtimes write to, so that nodes do not meet there and the host stays clean. */
async function mountPrivately(state: ClusterState): Promise<void> {
  const lines = ['set -e', 'mount --make-rshared /'];
  for (const path of ['/run', '/var/log', '/var/lib/cni']) {
    mkdirSync(path, { recursive: true });
    lines.push(`mount -t tmpfs -o mode=755 tmpfs ${path}`);
  }
  for (const [key, value] of Object.entries(SYSCTLS)) {
    const file = join(clusterDir(state.name), `sysctl.${key.replaceAll('/', '.')}`);
    await writeFile(file, `${value}\n`);
    lines.push(`mount --bind ${file} /proc/sys/${key}`);
  }
  lines.push('echo 1 > /proc/sys/net/ipv4/ip_forward', 'ip link set lo up');
  await run(inside(state, ['sh', '-c', lines.join('\n')]));
}

const FIRST_NETWORK = 200;
const NETWORKS = 50;

/** Connects the node to the host by a cable with one 10.x.0.0/16 for its addresses, Pods and Services, all routed from the host. */
async function connect(state: ClusterState, init: number): Promise<NodeNetwork> {
  const taken = await run(['ip', '-4', 'route', 'show']);
  const first = [...state.name].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % NETWORKS, 7);
  for (let attempt = 0; attempt < NETWORKS; attempt += 1) {
    const octet = FIRST_NETWORK + ((first + attempt) % NETWORKS);
    if (taken.includes(`10.${octet}.`)) continue;
    const device = `worldflux${octet}`;
    // Making the device is the claim on the network: of two clusters that start at once, one succeeds.
    const claimed = await run([
      'ip',
      'link',
      'add',
      device,
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      String(init),
    ]).then(
      () => true,
      (error: Error) => {
        if (error.message.includes('File exists')) return false;
        throw error;
      },
    );
    if (!claimed) continue;
    const network: NodeNetwork = {
      device,
      hostAddress: `10.${octet}.255.1`,
      nodeAddress: `10.${octet}.255.2`,
      cidr: `10.${octet}.0.0/16`,
      podCidr: `10.${octet}.0.0/24`,
      podGateway: `10.${octet}.0.1`,
      serviceCidr: `10.${octet}.128.0/20`,
    };
    await run(inside(state, ['ip', 'addr', 'add', `${network.nodeAddress}/30`, 'dev', 'eth0']));
    await run(inside(state, ['ip', 'link', 'set', 'eth0', 'up']));
    await run(['ip', 'addr', 'add', `${network.hostAddress}/30`, 'dev', device]);
    await run(['ip', 'link', 'set', device, 'up']);
    await run(['ip', 'route', 'add', network.cidr, 'via', network.nodeAddress]);
    await run(inside(state, ['ip', 'route', 'add', 'default', 'via', network.hostAddress]));
    return network;
  }
  throw new Error(`no free network between 10.${FIRST_NETWORK}.0.0/16 and 10.${FIRST_NETWORK + NETWORKS - 1}.0.0/16`);
}
