import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { stringify, parse } from 'yaml';
import { findHelm } from '../../../scripts/chart/helm.ts';
import { moduleFiles } from '../../../scripts/tools/go-tool.ts';
import type { Cluster } from '../../cluster/index.ts';
import { start, stop, type Started } from '../../cluster/process.ts';
import { freePort } from '../../e2e/operator-process.ts';
import { installKinds } from './kinds.ts';
import { argoCD, MODULES } from './programs.ts';

/** Argo CD itself, without its web server: what reads repositories, what syncs, and the Redis between them, as processes of this host. */

const NAMESPACE = 'argocd';
const OURS = join(import.meta.dirname, '..', '..', '..', 'manifests', 'gitops', 'argocd', 'argocd-cm.yaml');

export interface ArgoCD {
  stop(): Promise<void>;
}

export async function startArgoCD(cluster: Cluster, folder: string): Promise<ArgoCD> {
  const program = await argoCD();
  await install(cluster);
  const [redis, repoServer] = [`127.0.0.1:${await freePort()}`, await freePort()];
  const temporary = join(folder, 'argocd');
  const scripts = join(folder, 'scripts');
  for (const made of [temporary, scripts]) await mkdir(made, { recursive: true });
  const [verify] = await moduleFiles(MODULES['argo-cd'], ['hack/git-verify-wrapper.sh']);
  await writeFile(join(scripts, 'git-verify-wrapper.sh'), verify!, { mode: 0o755 });
  const user = { name: `system:serviceaccount:${NAMESPACE}:argocd-application-controller` };
  const env = {
    PATH: [dirname(await findHelm({ install: true })), scripts, process.env['PATH']].join(':'),
    HOME: temporary,
    TMPDIR: temporary,
    NO_PROXY: '*',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_NOSYSTEM: '1',
    ARGOCD_GPG_ENABLED: 'false',
    KUBECONFIG: await cluster.userKubeconfig(user),
    // It says https://kubernetes.default.svc in every Application, and means the cluster of this kubeconfig.
    ARGOCD_FAKE_IN_CLUSTER: 'true',
  };
  const processes: Record<string, string[]> = {
    redis: ['redis', redis],
    'repo-server': [
      'argocd-repo-server',
      '--address=127.0.0.1',
      `--port=${repoServer}`,
      '--metrics-address=127.0.0.1',
      `--metrics-port=${await freePort()}`,
      `--redis=${redis}`,
      '--disable-tls',
      '--client-ca-path=',
    ],
    'application-controller': [
      'argocd-application-controller',
      `--namespace=${NAMESPACE}`,
      `--metrics-port=${await freePort()}`,
      `--redis=${redis}`,
      `--repo-server=127.0.0.1:${repoServer}`,
      '--repo-server-plaintext',
    ],
  };
  const started: Started[] = [];
  for (const [name, args] of Object.entries(processes))
    started.push(await start([program, ...args], { log: join(folder, `${name}.log`), detached: false, env }));
  return {
    stop: async () => {
      await Promise.all(started.map((process) => stop(process)));
    },
  };
}

/** What `kubectl apply -f install.yaml` of Argo CD leaves, as far as these processes ask for it, with our part merged in. */
async function install(cluster: Cluster): Promise<void> {
  const [applications, projects, settings] = (await moduleFiles(MODULES['argo-cd'], [
    'manifests/crds/application-crd.yaml',
    'manifests/crds/appproject-crd.yaml',
    'manifests/base/config/argocd-cm.yaml',
  ])) as [string, string, string];
  await installKinds(cluster, [applications, projects]);
  const [base, ours] = [settings, await readFile(OURS, 'utf8')].map((text) => parse(text) as ConfigMap);
  const objects = [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'argocd' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
      subjects: [{ kind: 'ServiceAccount', name: 'argocd-application-controller', namespace: NAMESPACE }],
    },
    { ...ours, data: { ...base!.data, ...ours!.data } },
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'argocd-secret', namespace: NAMESPACE, labels: { 'app.kubernetes.io/part-of': 'argocd' } },
      stringData: { 'server.secretkey': 'only-for-this-test' },
    },
    {
      apiVersion: 'argoproj.io/v1alpha1',
      kind: 'AppProject',
      metadata: { name: 'default', namespace: NAMESPACE },
      spec: {
        sourceRepos: ['*'],
        destinations: [{ server: '*', namespace: '*' }],
        clusterResourceWhitelist: [{ group: '*', kind: '*' }],
      },
    },
  ];
  await cluster.kubectl(['create', '-f', '-'], { input: objects.map((object) => stringify(object)).join('---\n') });
}

interface ConfigMap {
  data: Record<string, string>;
}
