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
    return fromKubeconfig(readKubeconfig(source.file), source.file, source.context);
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
  clusters?: { name?: string; cluster?: Fields }[];
  contexts?: { name?: string }[];
  users?: { name?: string; user?: Fields & { tokenFile?: string } }[];
  'current-context'?: string;
}
type Fields = Record<string, unknown>;

/**
 * As kubectl reads `$KUBECONFIG`: of several files the first that names a cluster, user, context or the current context
 * wins, and those that do not exist are passed over. For programs that a person starts, on that person's behalf.
 */
export function loadKubeconfigs(files: readonly string[], context?: string): ClusterConfig {
  const there = files.filter((file) => existsSync(file));
  if (there.length === 0) throw new ClusterConfigError(`there is no kubeconfig at ${files.join(' or ')}`);
  const merged = there.map(readKubeconfig).reduce((first, next) => ({
    ...next,
    ...first,
    clusters: [...(first.clusters ?? []), ...(next.clusters ?? [])],
    contexts: [...(first.contexts ?? []), ...(next.contexts ?? [])],
    users: [...(first.users ?? []), ...(next.users ?? [])],
    'current-context': first['current-context'] || (next['current-context'] ?? ''),
  }));
  return fromKubeconfig(merged, there.join(', '), context);
}

function fromKubeconfig(kubeconfig: Kubeconfig, file: string, wanted: string | undefined): ClusterConfig {
  const contextName = wanted ?? kubeconfig['current-context'];
  if (contextName === undefined || contextName === '') {
    throw new ClusterConfigError(`${file} has no current-context; pass a context`);
  }
  const context = find(file, 'context', contextName, () => newContexts(kubeconfig.contexts));
  const cluster = find(file, 'cluster', context.cluster, () => newClusters(kubeconfig.clusters));
  const user = find(file, 'user', context.user, () => newUsers(kubeconfig.users));
  // Read here because client-node looks for it under a name that kubeconfigs do not use.
  const tokenFile = kubeconfig.users?.find((entry) => entry.name === user.name)?.user?.tokenFile;

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
    cluster,
    user,
    ...(tokenFile === undefined ? {} : { tokenFile }),
    ...(context.namespace === undefined ? {} : { namespace: context.namespace }),
    origin: `context ${contextName} of ${file}`,
  };
}

/** Paths in a kubeconfig are relative to it. */
function readKubeconfig(file: string): Kubeconfig {
  const parsed: unknown = attempt(file, () => parse(readFileSync(file, 'utf8')) as unknown);
  if (typeof parsed !== 'object' || parsed === null) throw new ClusterConfigError(`${file} is not a kubeconfig`);
  const kubeconfig: Kubeconfig = parsed;
  const dir = dirname(file);
  for (const entry of listed(kubeconfig.clusters)) makeAbsolute(dir, entry?.cluster, 'certificate-authority');
  for (const entry of listed(kubeconfig.users))
    makeAbsolute(dir, entry?.user, 'client-certificate', 'client-key', 'tokenFile');
  return kubeconfig;
}

/** A wrong kubeconfig is complained about where it is interpreted. */
const listed = <T>(entries: readonly T[] | undefined): readonly (T | undefined)[] =>
  Array.isArray(entries) ? entries : [];

function makeAbsolute(dir: string, fields: Fields | undefined, ...names: string[]): void {
  for (const name of names) {
    const file = fields?.[name];
    if (fields !== undefined && typeof file === 'string' && file !== '' && !isAbsolute(file))
      fields[name] = join(dir, file);
  }
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
