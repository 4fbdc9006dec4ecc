import { join } from 'node:path';
import { stringify } from 'yaml';
import { moduleFiles } from '../../../scripts/tools/go-tool.ts';
import type { Cluster } from '../../cluster/index.ts';
import { start, stop } from '../../cluster/process.ts';
import { freePort } from '../../e2e/operator-process.ts';
import { installKinds } from './kinds.ts';
import { kustomizeController, MODULES } from './programs.ts';

/** Flux itself, as far as it applies, waits and prunes: a process of this host with the rights that Flux has. */

const NAMESPACE = 'flux-system';
const NAME = 'kustomize-controller';

export interface Flux {
  stop(): Promise<void>;
}

export async function startFlux(cluster: Cluster, folder: string): Promise<Flux> {
  const program = await kustomizeController();
  const kinds = [
    ...(await moduleFiles(
      MODULES['source-controller'],
      SOURCES.map((kind) => `${CRDS}/source.toolkit.fluxcd.io_${kind}.yaml`),
    )),
    ...(await moduleFiles(MODULES[NAME], [`${CRDS}/kustomize.toolkit.fluxcd.io_kustomizations.yaml`])),
  ];
  await installKinds(cluster, kinds);
  await cluster.kubectl(['create', '-f', '-'], { input: INSTALLED.map((object) => stringify(object)).join('---\n') });
  const argv = [
    program,
    `--metrics-addr=127.0.0.1:${await freePort()}`,
    `--health-addr=127.0.0.1:${await freePort()}`,
    // Flux's own installation says 5 s.
    '--requeue-dependency=1s',
  ];
  const env = {
    PATH: process.env['PATH'],
    HOME: folder,
    NO_PROXY: '*',
    RUNTIME_NAMESPACE: NAMESPACE,
    KUBECONFIG: await cluster.userKubeconfig({ name: `system:serviceaccount:${NAMESPACE}:${NAME}` }),
  };
  const controller = await start(argv, { log: join(folder, `${NAME}.log`), detached: false, env });
  return { stop: () => stop(controller) };
}

const CRDS = 'config/crd/bases';
/** It does not begin before all of these are there. */
const SOURCES = ['gitrepositories', 'ocirepositories', 'buckets', 'externalartifacts'];
const INSTALLED = [
  { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } },
  {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name: 'flux' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
    subjects: [{ kind: 'ServiceAccount', name: NAME, namespace: NAMESPACE }],
  },
];
