import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Writable } from 'node:stream';
import { KubeClient } from '../kube/client.ts';
import { loadClusterConfig, loadKubeconfigs, type ClusterConfig } from '../kube/config.ts';
import { isKubeError } from '../kube/errors.ts';
import { WORLD_RUNS, type WorldRun } from '../results/api/world-run.ts';
import { VERSION } from '../version.ts';
import { CliError } from './errors.ts';

/** Options that every command takes, named as kubectl names them. */
export interface GlobalOptions {
  kubeconfig?: string;
  context?: string;
  namespace?: string;
  json?: boolean;
}

/** One command's connection to the cluster that its user's kubeconfig names. */
export interface Session {
  client: KubeClient;
  namespace: string;
  /** Where the bytes of logs go as they come. */
  stdout: Writable;
  json: boolean;
  signal: AbortSignal;
}

/** Which cluster: as kubectl finds it, because a person asks for their own current context. */
export function userCluster({ kubeconfig, context }: GlobalOptions, env: NodeJS.ProcessEnv): ClusterConfig {
  if (kubeconfig !== undefined) return loadKubeconfigs([kubeconfig], context);
  const listed = (env['KUBECONFIG'] ?? '').split(delimiter).filter((file) => file !== '');
  const files = listed.length > 0 ? listed : [join(env['HOME'] ?? homedir(), '.kube', 'config')];
  // Inside a Pod there is no kubeconfig, and kubectl takes its service account.
  const inPod = env['KUBERNETES_SERVICE_HOST'] !== undefined && !files.some((file) => existsSync(file));
  return inPod ? loadClusterConfig({ inCluster: true }) : loadKubeconfigs(files, context);
}

export function openSession(
  options: GlobalOptions,
  io: { env: NodeJS.ProcessEnv; stdout: Writable; signal: AbortSignal },
): Session {
  const config = userCluster(options, io.env);
  return {
    client: KubeClient.connect(config, { userAgent: `kubectl-worldflux/${VERSION}`, connections: 8 }),
    namespace: options.namespace ?? config.namespace ?? 'default',
    stdout: io.stdout,
    json: options.json ?? false,
    signal: io.signal,
  };
}

/** The run, or an error that says where to look. */
export async function getRun({ client, namespace, signal }: Session, name: string): Promise<WorldRun> {
  try {
    return await client.get(WORLD_RUNS, { namespace, name }, { signal });
  } catch (error) {
    if (!isKubeError(error, 'notFound')) throw error;
    if (error.reason === '')
      throw new CliError('notFound', 'this cluster does not know WorldRuns', 'kubectl worldflux doctor', error);
    throw new CliError(
      'notFound',
      `there is no WorldRun ${name} in namespace ${namespace}`,
      `kubectl worldflux runs list -n ${namespace}`,
      error,
    );
  }
}

export const refOf = (run: WorldRun): { namespace: string; name: string } => ({
  namespace: run.metadata?.namespace ?? '',
  name: run.metadata?.name ?? '',
});

export const isFinished = ({ status }: WorldRun): boolean =>
  status?.conditions?.some((c) => c.type === 'Finished' && c.status === 'True') ?? false;
