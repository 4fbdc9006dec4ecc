import type { Cluster } from '../../cluster/index.ts';
import { until } from '../../cluster/process.ts';

/** Installs these CRDs and waits until they are served. */
export async function installKinds(cluster: Cluster, crds: readonly string[]): Promise<void> {
  const input = crds.join('\n---\n');
  const names = await cluster.kubectl(['apply', '--server-side', '-f', '-', '-o', 'name'], { input });
  const established = ['wait', '--for=condition=Established', '--timeout=30s', ...names.trim().split('\n')];
  // kubectl does not wait for an object that has no conditions at all yet.
  await until('the CRDs to be served', () => cluster.kubectl(established).catch(() => undefined), {
    timeoutMs: 60_000,
  });
}
