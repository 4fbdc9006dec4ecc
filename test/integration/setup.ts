import type { TestProject } from 'vitest/node';
import { startCluster, whyNot } from '../cluster/index.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Path of an administrator's kubeconfig. */
    kubeconfig: string;
    /** Name of the cluster, for `attachCluster`. */
    cluster: string;
  }
}

/** One API server, with controllers but no node, for the whole layer. Test files keep apart by namespace. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const reason = await whyNot('api');
  if (reason !== undefined)
    throw new Error(`the integration tests need a Kubernetes API server, and this host cannot run one: ${reason}`);
  const cluster = await startCluster({ name: `integration-${process.pid}`, kind: 'api', audit: true });
  project.provide('kubeconfig', cluster.kubeconfig);
  project.provide('cluster', cluster.name);
  return () => cluster.down();
}
