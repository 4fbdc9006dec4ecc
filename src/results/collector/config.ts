import type { CollectTask } from '../contract.ts';

/** In the environment of the collector's container, as JSON. Holds no secret. */
export const CONFIG_VARIABLE = 'WORLDFLUX_COLLECT_CONFIG';

/** What the operator tells a pod's collector. The rank is JOB_COMPLETION_INDEX, 0 without one. */
export interface CollectorConfig {
  /** `https://<service>.<namespace>.svc:<port>` */
  gatewayUrl: string;
  clientRunId: string;
  attempt: number;
  outputs: CollectTask['outputs'];
  limits: { maxArtifactBytes: number };
  /** The pod's termination grace period. */
  uploadSeconds: number;
  /** `/worldflux/output`, shared with the user's container. */
  outputDir: string;
  /** An emptyDir of the collector alone; survives its restarts. */
  stateDir: string;
  /** Projected ServiceAccount token, read again at every request. */
  tokenFile: string;
  /** Trusted for the gateway. */
  caPem: string;
  /** Trusted for a run store with a private CA, besides the public ones. */
  storeCaPem?: string;
  /** A folder with one file a forwarded variable; its values are only ever fingerprinted. */
  secretEnvDir?: string;
  /** Default `/dev/termination-log`. */
  terminationLog?: string;
}

/** Throws with the name of what is missing. The operator wrote it, so nothing more is checked. */
export function readConfig(env: NodeJS.ProcessEnv): { config: CollectorConfig; rank: number } {
  const text = env[CONFIG_VARIABLE];
  if (text === undefined) throw new Error(`${CONFIG_VARIABLE} is not set`);
  const config = JSON.parse(text) as CollectorConfig;
  for (const name of [
    'gatewayUrl',
    'clientRunId',
    'attempt',
    'outputs',
    'limits',
    'uploadSeconds',
    'outputDir',
    'stateDir',
    'tokenFile',
    'caPem',
  ] as const) {
    if (config[name] === undefined) throw new Error(`${CONFIG_VARIABLE}: ${name} is missing`);
  }
  const rank = Number(env['JOB_COMPLETION_INDEX'] ?? 0);
  if (!Number.isInteger(rank) || rank < 0) throw new Error('JOB_COMPLETION_INDEX is no index');
  return { config, rank };
}
