import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, inject } from 'vitest';
import { KubeClient } from '../../../src/kube/client.ts';
import { loadClusterConfig } from '../../../src/kube/config.ts';
import type { ClusterConfig } from '../../../src/kube/config.ts';
import { NAMESPACES } from '../../../src/kube/resource.ts';

/** The administrator's way into the API server. */
export function clusterConfig(): ClusterConfig {
  return loadClusterConfig({ file: inject('kubeconfig') });
}

/** A client, and a namespace of this test file's own. */
export function useCluster(): { readonly client: KubeClient; readonly namespace: string } {
  const client = KubeClient.connect(clusterConfig(), { userAgent: 'kube-tests', connections: 16 });
  const namespace = `kube-${randomBytes(4).toString('hex')}`;
  beforeAll(async () => {
    await client.create(NAMESPACES, { metadata: { name: namespace } });
  });
  afterAll(async () => {
    await client.delete(NAMESPACES, { name: namespace });
    await client.close();
  });
  return { client, namespace };
}
