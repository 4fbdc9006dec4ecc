import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { ApiClient } from './api-client.ts';
import { clusterDir } from './paths.ts';
import { Authority, writePem, writeServiceAccountKeys, type Subject } from './pki.ts';
import { childOf, isAlive, until } from './process.ts';
import { inside } from './sandbox.ts';
import { assertAlive, startComponent, writeState, type ClusterState } from './state.ts';
import { writeKubeconfig } from './kubeconfig.ts';

export interface ControlPlaneOptions {
  scheduler: boolean;
  apiServerArgs: readonly string[];
  controllerManagerArgs: readonly string[];
  signal: AbortSignal | undefined;
}

const ISSUER = 'https://kubernetes.default.svc.cluster.local';
const API_ONLY_SERVICES = '10.96.0.0/16';

/** Brings up etcd, the API server, the controller manager and, if asked, the scheduler; resolves when the API is ready. */
export async function startControlPlane(state: ClusterState, o: ControlPlaneOptions): Promise<void> {
  const address = state.network?.nodeAddress ?? '127.0.0.1';
  const port = state.network ? 6443 : await freePort();
  state.apiServer = `https://${address}:${port}`;
  writeState(state);
  const services = state.network?.serviceCidr ?? API_ONLY_SERVICES;
  await writeCertificates(state, address, services);

  await component(state, 'etcd', etcdArgs(state));
  await component(state, 'kube-apiserver', [
    ...(await apiServerArgs(state, { address, port, services })),
    ...o.apiServerArgs,
  ]);
  const servers = Object.keys(state.processes);
  const clients: [name: string, args: readonly string[]][] = [
    ['kube-controller-manager', [...controllerManagerArgs(state), ...o.controllerManagerArgs]],
    ...(o.scheduler ? [['kube-scheduler', schedulerArgs(state)] as [string, string[]]] : []),
  ];
  await Promise.all(clients.map(([name, args]) => component(state, name, args)));

  const api = await ApiClient.open(state);
  try {
    await until('the API server to be ready', async () => probe(state, api, '/readyz', servers), {
      timeoutMs: 60_000,
      intervalMs: 50,
      signal: o.signal,
    });
    // They give up ten seconds after their start if the API server is not healthy by then: a busy host needs longer.
    for (const [name, args] of clients) if (!isAlive(state.processes[name]!)) await component(state, name, args);
    // Pods are refused in a namespace without it, and it shows that the controllers are at work.
    const account = '/api/v1/namespaces/default/serviceaccounts/default';
    await until('the default ServiceAccount', async () => probe(state, api, account), {
      timeoutMs: 60_000,
      intervalMs: 50,
      signal: o.signal,
    });
  } finally {
    await api.close();
  }
}

/** Starts a part of the multi-call binary, inside the node where there is one. */
export async function component(state: ClusterState, name: string, args: readonly string[]): Promise<void> {
  const argv = [state.binary, name, ...args];
  const env = { PATH: process.env['PATH'], HOME: clusterDir(state.name), NO_PROXY: '*' };
  if (state.init === undefined) await startComponent(state, name, argv, { env });
  else await startComponent(state, name, inside(state, argv), { env, find: childOf });
}

export function pki(state: ClusterState, file: string): string {
  return join(clusterDir(state.name), 'pki', file);
}

export function kubeconfigOf(state: ClusterState, who: string): string {
  return join(clusterDir(state.name), `${who}.kubeconfig`);
}

async function probe(
  state: ClusterState,
  api: ApiClient,
  path: string,
  needed = Object.keys(state.processes),
): Promise<true | undefined> {
  for (const name of needed) assertAlive(state, name);
  const answer = await api.get(path).catch(() => undefined);
  return answer?.status === 200 ? true : undefined;
}

async function writeCertificates(state: ClusterState, address: string, services: string): Promise<void> {
  const directory = join(clusterDir(state.name), 'pki');
  const authority = await Authority.create('worldflux-test');
  const frontProxy = await Authority.create('worldflux-test-front-proxy');
  const issue = async (name: string, subject: Subject, by = authority): Promise<void> =>
    writePem(directory, name, await by.issue(subject));
  const names = [
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    'kubernetes.default.svc.cluster.local',
    'localhost',
  ];
  const first = services.replace(/\.0\/\d+$/, '.1');
  await Promise.all([
    writePem(directory, 'ca', authority.pem),
    writePem(directory, 'front-proxy-ca', frontProxy.pem),
    writeServiceAccountKeys(directory),
    issue('apiserver', { commonName: 'kube-apiserver', dnsNames: names, addresses: ['127.0.0.1', first, address] }),
    issue('apiserver-kubelet', { commonName: 'kube-apiserver-kubelet-client', organizations: ['system:masters'] }),
    issue('front-proxy', { commonName: 'front-proxy-client' }, frontProxy),
    issue('kubelet', {
      commonName: `system:node:${nodeName(state)}`,
      dnsNames: [nodeName(state)],
      addresses: [address],
    }),
  ]);
  const users: [string, Subject][] = [
    ['admin', { commonName: 'admin', organizations: ['system:masters'] }],
    ['kube-controller-manager', { commonName: 'system:kube-controller-manager' }],
    ['kube-scheduler', { commonName: 'system:kube-scheduler' }],
    ['kube-proxy', { commonName: 'system:kube-proxy' }],
    ['kubelet', { commonName: `system:node:${nodeName(state)}`, organizations: ['system:nodes'] }],
  ];
  await Promise.all(
    users.map(async ([who, subject]) => {
      const credentials = await authority.issue(subject);
      await writeKubeconfig(kubeconfigOf(state, who), {
        server: state.apiServer,
        ca: authority.pem.cert,
        user: subject.commonName,
        credentials,
      });
      if (who === 'admin') await writePem(directory, 'admin', credentials);
    }),
  );
}

export function nodeName(state: ClusterState): string {
  return `node-${state.name}`;
}

/** Sockets in place of ports: no clash between clusters, and no other user of the machine gets at the data. */
function etcdArgs(state: ClusterState): string[] {
  return [
    `--data-dir=${join(clusterDir(state.name), 'etcd')}`,
    `--listen-client-urls=unix://${etcdSocket(state)}`,
    `--listen-peer-urls=unix://${join(clusterDir(state.name), 'etcd-peer.sock')}`,
    // A member must tell the others its addresses, and there are no others.
    '--advertise-client-urls=http://localhost:1',
    '--initial-advertise-peer-urls=http://localhost:1',
    '--initial-cluster=default=http://localhost:1',
    '--unsafe-no-fsync',
    '--log-level=warn',
  ];
}

function etcdSocket(state: ClusterState): string {
  return join(clusterDir(state.name), 'etcd.sock');
}

async function apiServerArgs(
  state: ClusterState,
  o: { address: string; port: number; services: string },
): Promise<string[]> {
  return [
    `--etcd-servers=unix://${etcdSocket(state)}`,
    `--secure-port=${o.port}`,
    `--bind-address=${state.network ? '0.0.0.0' : o.address}`,
    ...(state.network
      ? [`--advertise-address=${o.address}`, '--endpoint-reconciler-type=lease']
      : ['--endpoint-reconciler-type=none']),
    `--service-cluster-ip-range=${o.services}`,
    `--tls-cert-file=${pki(state, 'apiserver.crt')}`,
    `--tls-private-key-file=${pki(state, 'apiserver.key')}`,
    `--client-ca-file=${pki(state, 'ca.crt')}`,
    '--authorization-mode=Node,RBAC',
    '--enable-admission-plugins=NodeRestriction',
    '--allow-privileged=true',
    `--kubelet-certificate-authority=${pki(state, 'ca.crt')}`,
    `--kubelet-client-certificate=${pki(state, 'apiserver-kubelet.crt')}`,
    `--kubelet-client-key=${pki(state, 'apiserver-kubelet.key')}`,
    '--kubelet-preferred-address-types=InternalIP',
    `--service-account-issuer=${ISSUER}`,
    `--service-account-key-file=${pki(state, 'sa.pub')}`,
    `--service-account-signing-key-file=${pki(state, 'sa.key')}`,
    `--requestheader-client-ca-file=${pki(state, 'front-proxy-ca.crt')}`,
    '--requestheader-allowed-names=front-proxy-client',
    '--requestheader-username-headers=X-Remote-User',
    '--requestheader-group-headers=X-Remote-Group',
    '--requestheader-extra-headers-prefix=X-Remote-Extra-',
    `--proxy-client-cert-file=${pki(state, 'front-proxy.crt')}`,
    `--proxy-client-key-file=${pki(state, 'front-proxy.key')}`,
    // Webhooks and aggregated APIs are reached at their endpoints, so a test may serve them from a host that no service address leads to.
    '--enable-aggregator-routing=true',
    ...(state.audit ? await auditArgs(state) : []),
  ];
}

export function auditLog(state: ClusterState): string {
  return join(clusterDir(state.name), 'log', 'audit.jsonl');
}

async function auditArgs(state: ClusterState): Promise<string[]> {
  const policy = join(clusterDir(state.name), 'audit-policy.json');
  const rules = [{ level: 'Metadata' }];
  await writeFile(
    policy,
    JSON.stringify({ apiVersion: 'audit.k8s.io/v1', kind: 'Policy', omitStages: ['RequestReceived'], rules }),
  );
  return [`--audit-policy-file=${policy}`, `--audit-log-path=${auditLog(state)}`, '--audit-log-maxsize=4096'];
}

function controllerManagerArgs(state: ClusterState): string[] {
  return [
    `--kubeconfig=${kubeconfigOf(state, 'kube-controller-manager')}`,
    `--root-ca-file=${pki(state, 'ca.crt')}`,
    `--service-account-private-key-file=${pki(state, 'sa.key')}`,
    `--cluster-signing-cert-file=${pki(state, 'ca.crt')}`,
    `--cluster-signing-key-file=${pki(state, 'ca.key')}`,
    '--use-service-account-credentials=true',
    '--leader-elect=false',
    '--secure-port=0',
    '--kube-api-qps=500',
    '--kube-api-burst=1000',
  ];
}

function schedulerArgs(state: ClusterState): string[] {
  const kubeconfig = kubeconfigOf(state, 'kube-scheduler');
  return [
    `--kubeconfig=${kubeconfig}`,
    '--leader-elect=false',
    '--secure-port=0',
    '--kube-api-qps=500',
    '--kube-api-burst=1000',
  ];
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
