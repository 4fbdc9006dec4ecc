import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { Cluster, ClusterOptions } from './cluster.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import { clusterDir } from './paths.ts';
import { Authority } from './pki.ts';
import { run } from './process.ts';
import type { ClusterKind } from './state.ts';

/** The same cluster through kind: one node that is control plane and worker, with a default StorageClass and DNS of its own. */
const NODE_DIR = '/var/worldflux';

interface KindState {
  kind: ClusterKind;
  audit: boolean;
  apiServer: string;
  hostAddress: string;
}

export async function whyNotKind(): Promise<string | undefined> {
  for (const argv of [
    ['docker', 'info'],
    ['kind', 'version'],
    ['kubectl', 'version', '--client'],
  ]) {
    const failure = await run(argv, { timeoutMs: 20_000 }).then(
      () => undefined,
      (error: Error) => error.message,
    );
    if (failure !== undefined) return failure;
  }
  return undefined;
}

export async function startKind(o: ClusterOptions): Promise<Cluster> {
  const dir = clusterDir(o.name);
  await run(['kind', 'delete', 'cluster', '--name', o.name], { timeoutMs: 120_000 });
  await rm(dir, { recursive: true, force: true });
  await mkdir(join(dir, 'node'), { recursive: true });
  const kubeconfig = join(dir, 'admin.kubeconfig');
  const rules = [{ level: 'Metadata' }];
  const policy = { apiVersion: 'audit.k8s.io/v1', kind: 'Policy', omitStages: ['RequestReceived'], rules };
  await writeFile(join(dir, 'node', 'audit-policy.yaml'), stringify(policy));
  await writeFile(join(dir, 'kind.yaml'), stringify(kindConfig(o, dir)));
  const argv = [
    'kind',
    'create',
    'cluster',
    '--name',
    o.name,
    '--config',
    join(dir, 'kind.yaml'),
    '--kubeconfig',
    kubeconfig,
    '--wait',
    '180s',
  ];
  await run(argv, { timeoutMs: 600_000, signal: o.signal });

  const node = nodeOf(o.name);
  for (const file of ['ca.crt', 'ca.key'])
    await run(['docker', 'cp', `${node}:/etc/kubernetes/pki/${file}`, join(dir, file)]);
  const server = await run([
    'kubectl',
    `--kubeconfig=${kubeconfig}`,
    'config',
    'view',
    '-o',
    'jsonpath={.clusters[0].cluster.server}',
  ]);
  const gateways = await run([
    'docker',
    'network',
    'inspect',
    'kind',
    '-f',
    '{{range .IPAM.Config}}{{.Gateway}} {{end}}',
  ]);
  const state: KindState = {
    kind: o.kind,
    audit: o.audit ?? false,
    apiServer: server,
    hostAddress: gateways.split(' ').find((address) => /^\d+\.\d+\.\d+\.\d+$/.test(address)) ?? '',
  };
  await writeFile(join(dir, 'kind-state.json'), JSON.stringify(state));
  return describe(o.name, state);
}

export async function attachKind(name: string): Promise<Cluster | undefined> {
  const file = join(clusterDir(name), 'kind-state.json');
  return existsSync(file) ? describe(name, JSON.parse(await readFile(file, 'utf8')) as KindState) : undefined;
}

function kindConfig(o: ClusterOptions, dir: string): object {
  const audit = o.audit
    ? [
        { name: 'audit-policy-file', value: `${NODE_DIR}/audit-policy.yaml` },
        { name: 'audit-log-path', value: `${NODE_DIR}/audit.jsonl` },
      ]
    : [];
  const clusterConfiguration = {
    kind: 'ClusterConfiguration',
    apiServer: {
      extraArgs: [...audit, ...flags(o.apiServerArgs)],
      extraVolumes: [{ name: 'worldflux', hostPath: NODE_DIR, mountPath: NODE_DIR, pathType: 'DirectoryOrCreate' }],
    },
    controllerManager: { extraArgs: flags(o.controllerManagerArgs) },
  };
  return {
    kind: 'Cluster',
    apiVersion: 'kind.x-k8s.io/v1alpha4',
    nodes: [{ role: 'control-plane', extraMounts: [{ hostPath: join(dir, 'node'), containerPath: NODE_DIR }] }],
    kubeadmConfigPatches: [stringify(clusterConfiguration)],
  };
}

/** `--name=value` as kubeadm writes it. */
function flags(args: readonly string[] = []): { name: string; value: string }[] {
  return args.map((arg) => {
    const [name = '', ...value] = arg.replace(/^--/, '').split('=');
    return { name, value: value.join('=') || 'true' };
  });
}

function nodeOf(name: string): string {
  return `${name}-control-plane`;
}

function describe(name: string, state: KindState): Cluster {
  const dir = clusterDir(name);
  const kubeconfig = join(dir, 'admin.kubeconfig');
  const kubectl: Cluster['kubectl'] = (args, options = {}) =>
    run(['kubectl', `--kubeconfig=${kubeconfig}`, ...args], options);
  const systemctl = async (verb: string): Promise<void> => {
    await run(['docker', 'exec', nodeOf(name), 'systemctl', verb, 'kubelet']);
  };
  const patch = async (resource: string, count: number): Promise<void> => {
    const escaped = resource.replaceAll('~', '~0').replaceAll('/', '~1');
    const operations = ['capacity', 'allocatable'].map((field) => ({
      op: 'add',
      path: `/status/${field}/${escaped}`,
      value: String(count),
    }));
    await kubectl([
      'patch',
      'node',
      nodeOf(name),
      '--subresource=status',
      '--type=json',
      '-p',
      JSON.stringify(operations),
    ]);
  };
  const capacity = new Map<string, number>();
  return {
    name,
    kind: state.kind,
    kubeconfig,
    dir,
    apiServer: state.apiServer,
    auditLog: state.audit ? join(dir, 'node', 'audit.jsonl') : undefined,
    caFile: join(dir, 'ca.crt'),
    hostAddress: state.hostAddress,
    pids: {},
    kubectl,
    loadImage: async (archive) => {
      await run(['kind', 'load', 'image-archive', archive, '--name', name], { timeoutMs: 300_000 });
    },
    patchNodeCapacity: async (resource, count) => {
      await patch(resource, count);
      capacity.set(resource, count);
    },
    userKubeconfig: async (user) => {
      const [cert, key] = await Promise.all([
        readFile(join(dir, 'ca.crt'), 'utf8'),
        readFile(join(dir, 'ca.key'), 'utf8'),
      ]);
      const authority = await Authority.load({ cert, key });
      const credentials = await authority.issue({
        commonName: user.name,
        ...(user.groups && { organizations: user.groups }),
      });
      const path = join(dir, `user-${encodeURIComponent(user.name)}.kubeconfig`);
      await writeKubeconfig(path, { server: state.apiServer, ca: cert, user: user.name, credentials });
      return path;
    },
    stopNode: () => systemctl('stop'),
    startNode: async () => {
      await systemctl('start');
      await kubectl(['wait', '--for=condition=Ready', `node/${nodeOf(name)}`, '--timeout=120s'], {
        timeoutMs: 130_000,
      });
      for (const [resource, count] of capacity) await patch(resource, count);
    },
    down: async () => {
      await run(['kind', 'delete', 'cluster', '--name', name], { timeoutMs: 120_000 });
      await rm(dir, { recursive: true, force: true });
    },
  };
}
