import { setTimeout as pause } from 'node:timers/promises';
import { KubeClient } from '../../src/kube/client.ts';
import { loadClusterConfig } from '../../src/kube/config.ts';
import { startCluster, type Cluster } from '../cluster/index.ts';
import { startKwok } from '../cluster/kwok.ts';
import { AuditLog } from './audit.ts';
import type { Form, Who } from './driver.ts';
import { install, type Users } from './installation.ts';
import { NAMESPACE, PROFILE } from './objects.ts';
import { startOperator, type Entry, type Operator } from './operator-process.ts';

/** A control plane of its own for one measurement: nothing that an earlier one left slows it. */
export interface Stage {
  cluster: Cluster;
  client: KubeClient;
  audit: AuditLog;
  /** Absent for the floor. */
  users: Users | undefined;
  /** May be stopped and replaced. */
  operator: Operator | undefined;
  /** Control plane, simulated nodes and the operator. */
  pids(): Record<string, number>;
  close(): Promise<void>;
}

const KWOK_NODES = 20;
const NODE_CAPACITY = { cpu: '10000', memory: '10000Gi', pods: '1000' };
/** Off in the `nojob` form: what would bring Jobs forward, or take away the driver's own nodes and pods. */
const OFF = [
  'job-controller',
  'node-lifecycle-controller',
  'taint-eviction-controller',
  'pod-garbage-collector-controller',
];
/** A control plane that has just come up is busy with itself. */
const SETTLE_MS = 5000;

export interface StageOptions {
  form: Form;
  who: Who;
  entry: Entry;
}

export async function openStage({ form, who, entry }: StageOptions): Promise<Stage> {
  const cluster = await startCluster({
    name: `bench-${process.pid}`,
    kind: 'api',
    audit: true,
    scheduler: form === 'full',
    controllerManagerArgs: form === 'full' ? [] : [`--controllers=*,${OFF.map((name) => `-${name}`).join(',')}`],
  });
  try {
    if (form === 'full') await startKwok(cluster, { nodes: KWOK_NODES, capacity: NODE_CAPACITY });
    await cluster.kubectl(['create', 'namespace', NAMESPACE]);
    const client = KubeClient.connect(loadClusterConfig({ file: cluster.kubeconfig }), {
      userAgent: 'worldflux-bench',
    });
    let users: Users | undefined;
    let operator: Operator | undefined;
    if (who !== 'raw Job') {
      users = await install(cluster, { policies: who === 'operator' });
      operator = await startOperator(cluster, users.operator, entry);
      const ready = ['wait', '--for=condition=Ready', `runtimeprofile/${PROFILE.metadata.name}`, '--timeout=60s'];
      await cluster.kubectl(ready, { timeoutMs: 70_000 });
    }
    await pause(SETTLE_MS);
    const stage: Stage = {
      cluster,
      client,
      audit: new AuditLog(cluster.auditLog!),
      users,
      operator,
      pids: () => ({ ...cluster.pids, ...(stage.operator !== undefined && { operator: stage.operator.pid }) }),
      async close() {
        await stage.operator?.stop();
        await client.close();
        await cluster.down();
      },
    };
    return stage;
  } catch (error) {
    await cluster.down();
    throw error;
  }
}
