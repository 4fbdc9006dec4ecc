import type { TestProject } from 'vitest/node';
import { askedBy, PROCESS_ROLES, unusedRights } from './rights.ts';
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
    await tellUnusedRights(cluster);
    if (reuse === undefined) await cluster.down();
  };
}

/** What all files together did not need of what the chart grants; of the whole layer it is nothing. */
async function tellUnusedRights(cluster: Cluster): Promise<void> {
  const roles = PROCESS_ROLES.map((role) => [...role]);
  const exists = await cluster.kubectl(['get', ...roles[0]!, '--ignore-not-found', '-o', 'name']);
  if (cluster.auditLog === undefined || exists === '') return;
  const { used } = await askedBy(cluster, () => true);
  const unused = await unusedRights(cluster, roles, used);
  if (unused.length > 0) console.log(`rights of the chart that no test of this run needed: ${unused.join(', ')}`);
}

async function start(): Promise<Cluster> {
  const reason = await whyNot('node');
  if (reason !== undefined)
    throw new Error(`the end-to-end tests need a node that runs Pods, and this host cannot run one: ${reason}`);
  // The default of 50 s would be most of what a test of a lost node takes.
  const controllerManagerArgs = ['--node-monitor-grace-period=20s', '--node-monitor-period=2s'];
  return startCluster({ name: `e2e-${process.pid}`, kind: 'node', audit: true, controllerManagerArgs });
}
