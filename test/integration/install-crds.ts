import { join } from 'node:path';
import type { Cluster } from '../cluster/index.ts';

const CRDS = join(import.meta.dirname, '../../manifests/crds');

/** Applies the generated CRDs as strictly as the API server can, and waits until they are served. */
export async function installCrds(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['apply', '--server-side', '--force-conflicts', '--validate=strict', '-f', CRDS]);
  await cluster.kubectl([
    'wait',
    '--for=condition=Established',
    'crd/worldruns.worldflux.ai',
    'crd/runtimeprofiles.worldflux.ai',
    '--timeout=30s',
  ]);
}
