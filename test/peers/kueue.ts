import { join } from 'node:path';
import { goTool, toolFolder, toolVersion } from '../../scripts/tools/go-tool.ts';
import { fileEntry, writeImage } from '../cluster/archive.ts';
import { cached } from '../cluster/build.ts';
import type { Cluster } from '../cluster/index.ts';
import { helm } from '../integration/chart/helm.ts';

/** Kueue itself, from its own sources and by its own chart, with its webhooks. */

const SYSTEM = 'kueue-system';
const REPOSITORY = 'localhost/worldflux/kueue';

/** The chart's own settings, cut down to what this layer runs: Jobs, and one replica that need not be elected. */
const CONFIGURATION = `
apiVersion: config.kueue.x-k8s.io/v1beta2
kind: Configuration
health: {healthProbeBindAddress: ":8081"}
metrics: {bindAddress: ":8443"}
webhook: {port: 9443}
leaderElection: {leaderElect: false}
integrations: {frameworks: [batch/job]}
`;

export async function installKueue(cluster: Cluster): Promise<void> {
  await cluster.loadImage(await kueueImage());
  const values = {
    controllerManager: {
      manager: {
        image: { repository: REPOSITORY, tag: toolVersion('kueue'), pullPolicy: 'IfNotPresent' },
        resources: { requests: { cpu: '50m', memory: '64Mi' } },
      },
      readinessProbe: { initialDelaySeconds: 0, periodSeconds: 1 },
    },
    managerConfig: { controllerManagerConfigYaml: CONFIGURATION },
  };
  const chart = await toolFolder('kueue', 'charts/kueue');
  const args = ['upgrade', '--install', 'kueue', chart, '--namespace', SYSTEM, '--create-namespace', '--wait'];
  await helm([...args, '--timeout', '100s'], { values, kubeconfig: cluster.kubeconfig });
}

/** Its webhooks would refuse the Jobs of whoever uses the cluster next. Queues must be gone before. */
export async function removeKueue(cluster: Cluster): Promise<void> {
  await helm(['uninstall', 'kueue', '--namespace', SYSTEM, '--ignore-not-found', '--wait', '--timeout', '100s'], {
    kubeconfig: cluster.kubeconfig,
  });
}

/** Kueue is there, or away: with it go its webhooks, which every Job passes. */
export async function scaleKueue(cluster: Cluster, replicas: number): Promise<void> {
  const deployment = ['-n', SYSTEM, 'deployment/kueue-controller-manager'];
  await cluster.kubectl(['scale', `--replicas=${replicas}`, ...deployment]);
  await cluster.kubectl(['rollout', 'status', '--timeout=100s', ...deployment], { timeoutMs: 110_000 });
}

async function kueueImage(): Promise<string> {
  const version = toolVersion('kueue');
  const binary = await goTool('kueue');
  const directory = await cached(`image-kueue-${version}`, async (into) => {
    const entries = [await fileEntry('manager', binary), { path: 'tmp/', mode: 0o1777 }];
    await writeImage(join(into, 'image.tar'), {
      tag: `${REPOSITORY}:${version}`,
      entries,
      config: { Entrypoint: ['/manager'], User: '65532:65532' },
    });
  });
  return join(directory, 'image.tar');
}

const API = 'kueue.x-k8s.io/v1beta2';

/** Kueue admits only what is covered by a quota: the collector beside the command asks for these. */
const COLLECTOR = { cpu: '100', memory: '100Gi' };

/** A queue of the namespace with so many GPUs, which takes lower priorities off for higher ones. */
export function queueWith(name: string, namespace: string, gpus: number, others: object = COLLECTOR): object[] {
  const quotas = Object.entries({ 'nvidia.com/gpu': String(gpus), ...others });
  const resources = quotas.map(([resource, nominalQuota]) => ({ name: resource, nominalQuota }));
  const clusterQueue = `${namespace}-${name}`;
  return [
    {
      apiVersion: API,
      kind: 'ClusterQueue',
      metadata: { name: clusterQueue, labels: { 'worldflux-test': namespace } },
      spec: {
        namespaceSelector: {},
        preemption: { withinClusterQueue: 'LowerPriority' },
        resourceGroups: [
          { coveredResources: resources.map((resource) => resource.name), flavors: [{ name: FLAVOR, resources }] },
        ],
      },
    },
    { apiVersion: API, kind: 'LocalQueue', metadata: { name, namespace }, spec: { clusterQueue } },
  ];
}

const FLAVOR = 'any-node';
export const flavor = { apiVersion: API, kind: 'ResourceFlavor', metadata: { name: FLAVOR }, spec: {} };
