import type { TestProject } from 'vitest/node';
import { attachCluster, startCluster, whyNot, type Cluster } from '../cluster/index.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Path of an administrator's kubeconfig. */
    kubeconfig: string;
    /** Name of the cluster, for `attachCluster`. */
    cluster: string;
  }
}

/** One node that runs Pods, for the whole layer. `WORLDFLUX_CLUSTER` names one that is up already and is left up. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const reuse = process.env['WORLDFLUX_CLUSTER'];
  const cluster = reuse === undefined ? await start() : await attachCluster(reuse);
  if (cluster === undefined)
    throw new Error(`no cluster is called ${reuse}; start it with: npm run cluster -- up --name ${reuse}`);
  project.provide('kubeconfig', cluster.kubeconfig);
  project.provide('cluster', cluster.name);
  return async () => {
    if (reuse === undefined) await cluster.down();
  };
}

async function start(): Promise<Cluster> {
  const reason = await whyNot('node');
  if (reason !== undefined)
    throw new Error(`the end-to-end tests need a node that runs Pods, and this host cannot run one: ${reason}`);
  // The default of 50 s would be most of what a test of a lost node takes.
  const controllerManagerArgs = ['--node-monitor-grace-period=20s', '--node-monitor-period=2s'];
  return startCluster({ name: `e2e-${process.pid}`, kind: 'node', audit: true, controllerManagerArgs });
}
