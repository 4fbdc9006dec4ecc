import { readFileSync, existsSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { dirname, isAbsolute, join } from 'node:path';
// The parts of client-node that parse a kubeconfig, imported by file: its index and its `KubeConfig` pull in every
// generated model, which costs 60 MB of resident memory in each process.
import { newClusters, newContexts, newUsers } from '@kubernetes/client-node/dist/config_types.js';
import type { Cluster, User } from '@kubernetes/client-node/dist/config_types.js';
import { parse } from 'yaml';

/** Where a cluster is and who we are there, as the caller asked for it. */
export interface ClusterSource {
  /** Path of a kubeconfig. */
  readonly file?: string | undefined;
  /** A context of that file; its current-context when absent. */
  readonly context?: string | undefined;
  /** Insist on the Pod's own service account. */
  readonly inCluster?: boolean | undefined;
}

export interface ClusterConfig {
  readonly cluster: Cluster;
  readonly user: User;
  /** Holds the bearer token; read again regularly, because it is rotated. */
  readonly tokenFile?: string;
  /** The namespace of the context or of the Pod. */
  readonly namespace?: string;
  /** For people: which file and context, or that it is the Pod's service account. */
  readonly origin: string;
}

/** What a Pod is given; replaced in tests. */
export interface PodEnvironment {
  readonly host: string | undefined;
  readonly port: string | undefined;
  readonly serviceAccountDir: string;
}

/** No usable configuration; the message says what to pass. */
export class ClusterConfigError extends Error {
  override readonly name = 'ClusterConfigError';
}

const processEnvironment = (): PodEnvironment => ({
  host: process.env['KUBERNETES_SERVICE_HOST'],
  port: process.env['KUBERNETES_SERVICE_PORT'],
  serviceAccountDir: '/var/run/secrets/kubernetes.io/serviceaccount',
});

/**
 * The kubeconfig file that was named, else the Pod's service account. Never `$KUBECONFIG` or `~/.kube/config` on its
 * own: a controller started by mistake on a laptop must not act on whatever cluster its user last looked at.
 */
export function loadClusterConfig(source: ClusterSource, pod = processEnvironment()): ClusterConfig {
  if (source.file !== undefined) {
    if (source.inCluster === true) throw new ClusterConfigError('pass either a kubeconfig file or inCluster, not both');
    return fromKubeconfig(source.file, source.context);
  }
  if (source.context !== undefined) {
    throw new ClusterConfigError(
      `context ${source.context} was given without a kubeconfig file; name the file as well`,
    );
  }
  if (pod.host === undefined || pod.port === undefined || !existsSync(join(pod.serviceAccountDir, 'token'))) {
    throw new ClusterConfigError(
      'no cluster to talk to: this is not a Pod with a service account, so pass a kubeconfig file (and, if need be, a context)',
    );
  }
  return fromPod(pod.host, pod.port, pod.serviceAccountDir);
}

function fromPod(host: string, port: string, dir: string): ClusterConfig {
  const namespaceFile = join(dir, 'namespace');
  const cluster = {
    name: 'in-cluster',
    server: `https://${isIPv6(host) ? `[${host}]` : host}:${port}`,
    caFile: join(dir, 'ca.crt'),
    skipTLSVerify: false,
  };
  return {
    cluster,
    user: { name: 'service-account' },
    tokenFile: join(dir, 'token'),
    ...(existsSync(namespaceFile) ? { namespace: readFileSync(namespaceFile, 'utf8').trim() } : {}),
    origin: "the Pod's service account",
  };
}

interface Kubeconfig {
  clusters?: unknown;
  contexts?: unknown;
  users?: { name?: string; user?: { tokenFile?: string } }[];
  'current-context'?: string;
}

function fromKubeconfig(file: string, wanted: string | undefined): ClusterConfig {
  const kubeconfig = readKubeconfig(file);
  const contextName = wanted ?? kubeconfig['current-context'];
  if (contextName === undefined || contextName === '') {
    throw new ClusterConfigError(`${file} has no current-context; pass a context`);
  }
  const context = find(file, 'context', contextName, () => newContexts(kubeconfig.contexts));
  const cluster = find(file, 'cluster', context.cluster, () => newClusters(kubeconfig.clusters));
  const user = find(file, 'user', context.user, () => newUsers(kubeconfig.users));
  // Read here because client-node looks for it under a name that kubeconfigs do not use.
  const tokenFile = kubeconfig.users?.find((entry) => entry.name === user.name)?.user?.tokenFile;
  const dir = dirname(file);

  if (cluster.proxyUrl !== undefined) {
    throw new ClusterConfigError(`${file}: cluster ${cluster.name} has a proxy-url, which is not supported`);
  }
  if (user.authProvider) {
    throw new ClusterConfigError(
      `${file}: user ${user.name} has an auth-provider; use an exec credential plugin instead`,
    );
  }
  if (user.username !== undefined) {
    throw new ClusterConfigError(`${file}: user ${user.name} has a password, which Kubernetes no longer accepts`);
  }
  return {
    cluster: { ...cluster, ...absolute(dir, 'caFile', cluster.caFile) },
    user: {
      ...user,
      ...absolute(dir, 'certFile', user.certFile),
      ...absolute(dir, 'keyFile', user.keyFile),
    },
    ...absolute(dir, 'tokenFile', tokenFile),
    ...(context.namespace === undefined ? {} : { namespace: context.namespace }),
    origin: `context ${contextName} of ${file}`,
  };
}

function readKubeconfig(file: string): Kubeconfig {
  const parsed: unknown = attempt(file, () => parse(readFileSync(file, 'utf8')) as unknown);
  if (typeof parsed === 'object' && parsed !== null) return parsed;
  throw new ClusterConfigError(`${file} is not a kubeconfig`);
}

function find<T extends { name: string }>(file: string, kind: string, name: string, parseAll: () => T[]): T {
  const all = attempt(file, parseAll);
  const found = all.find((entry) => entry.name === name);
  if (found !== undefined) return found;
  const known = all.map((entry) => entry.name).join(', ') || 'none';
  throw new ClusterConfigError(`${file} has no ${kind} ${name}; it has: ${known}`);
}

function attempt<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new ClusterConfigError(`cannot read kubeconfig ${file}: ${(cause as Error).message}`, { cause });
  }
}

function absolute<K extends string>(dir: string, key: K, file: string | undefined): { [P in K]?: string } {
  return file === undefined ? {} : ({ [key]: isAbsolute(file) ? file : join(dir, file) } as { [P in K]: string });
}
