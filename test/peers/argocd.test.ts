import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { SMOKE_IMAGES } from '../../images/index.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { loadClusterConfig } from '../../src/kube/config.ts';
import { resourceType, type KubeObject } from '../../src/kube/resource.ts';
import { buildImage } from '../cluster/images.ts';
import { startCluster, type Cluster } from '../cluster/index.ts';
import { OPERATOR_IMAGE, operatorImage } from '../cluster/operator-image.ts';
import { until } from '../cluster/process.ts';
import { BUSYBOX_IMAGE, busyboxImage } from '../cluster/small-images.ts';
import { condition, Kit } from '../e2e/kit.ts';
import { temporaryFolder } from '../temporary-folder.ts';
import { startArgoCD, type ArgoCD } from './gitops/argocd.ts';
import { GitRepository } from './gitops/git-repository.ts';
import { mark, writes } from './gitops/watching.ts';

/** Argo CD itself with manifests/gitops/argocd, as a user has it: the repository is another one, and the operator's image too. */

interface Application extends KubeObject {
  spec: { source: { helm?: { valuesObject: object } } };
  status?: {
    sync?: { status: string; revision?: string };
    health?: { status: string };
    operationState?: { phase: string; message?: string; syncResult?: { revision: string }; finishedAt?: string };
    resources?: { kind: string; name: string; status?: string; health?: { status: string; message?: string } }[];
    conditions?: { type: string; message: string }[];
  };
}
const APPLICATIONS = resourceType<Application>({
  group: 'argoproj.io',
  version: 'v1alpha1',
  plural: 'applications',
  namespaced: true,
  kind: 'Application',
});
const ARGOCD = 'argocd';
const SAMPLES = 'manifests/samples';

const folder = await temporaryFolder('argocd');
let cluster: Cluster;
let argocd: ArgoCD;
let repository: GitRepository;
let client: KubeClient;
let kit: Kit;

beforeAll(async () => {
  repository = await GitRepository.serve(folder);
  cluster = await startCluster({ name: `argocd-${process.pid}`, kind: 'node', audit: true });
  client = KubeClient.connect(loadClusterConfig({ file: cluster.kubeconfig }), { userAgent: 'worldflux-test' });
  const cpu = SMOKE_IMAGES.find(({ name }) => name === 'cpu')!;
  for (const image of [operatorImage(), busyboxImage(), buildImage(cpu)]) await cluster.loadImage(await image);
  argocd = await startArgoCD(cluster, folder);
});

afterAll(async () => {
  await kit?.client.close();
  await client?.close();
  await argocd?.stop();
  await cluster?.down();
  repository?.close();
});

async function application(name: string, test: (of: Application) => boolean, seconds = 200): Promise<Application> {
  let last: Application | undefined;
  const look = async (): Promise<Application | undefined> => {
    last = await client.get(APPLICATIONS, { namespace: ARGOCD, name }).catch(() => undefined); // a wave may not have come
    return last !== undefined && test(last) ? last : undefined;
  };
  return until(`Application ${name}`, look, { timeoutMs: seconds * 1000, intervalMs: 200 }).catch((error: Error) => {
    throw new Error(`${error.message}: ${JSON.stringify(gist(last))}`, { cause: error });
  });
}

/** The whole status is pages long. */
function gist(of: Application | undefined): object {
  const { sync, health, conditions, operationState, resources } = of?.status ?? {};
  const unlike = resources?.filter(
    (resource) => resource.status !== 'Synced' || resource.health?.status === 'Degraded',
  );
  return { sync: sync?.status, health: health?.status, conditions, operation: operationState?.message, unlike };
}

const is = (sync: string, health: string) => (of: Application) =>
  of.status?.sync?.status === sync && of.status.health?.status === health;

/** What a person does who presses the button. */
async function refresh(name: string): Promise<void> {
  const merge = { metadata: { annotations: { 'argocd.argoproj.io/refresh': 'hard' } } };
  await client.patch(APPLICATIONS, { namespace: ARGOCD, name }, { merge });
  await application(name, (of) => of.metadata?.annotations?.['argocd.argoproj.io/refresh'] === undefined);
}

/** Commits what was changed, and waits until the runs were compared with it. */
async function pushed(message: string): Promise<void> {
  const revision = await repository.commit(message);
  await refresh('worldruns');
  await application('worldruns', (of) => of.status?.sync?.revision === revision);
}

const write = (file: string, ...objects: object[]): Promise<void> =>
  writeFile(join(repository.tree, SAMPLES, file), objects.map((object) => stringify(object)).join('---\n'));

const PARENT = (url: string): object => ({
  apiVersion: 'argoproj.io/v1alpha1',
  kind: 'Application',
  metadata: { name: 'worldflux', namespace: ARGOCD },
  spec: {
    project: 'default',
    source: {
      repoURL: url,
      targetRevision: 'main',
      path: 'manifests/gitops/argocd',
      directory: { include: 'applications.yaml' },
    },
    destination: { server: 'https://kubernetes.default.svc', namespace: ARGOCD },
    syncPolicy: { automated: { prune: true, selfHeal: true } },
  },
});

test('an Application of the three becomes a finished run, each wave after the one before is healthy', async () => {
  const file = join(repository.tree, 'manifests/gitops/argocd/applications.yaml');
  const text = (await readFile(file, 'utf8')).replaceAll(
    'https://github.com/worldflux/worldflux-operator',
    repository.url,
  );
  const three = parseAllDocuments(text).map((document) => document.toJS() as Application);
  const [image, tag] = OPERATOR_IMAGE.split(/:(?=[^:]*$)/);
  three[0]!.spec.source.helm!.valuesObject = { image: { repository: image, tag } };
  await writeFile(file, three.map((of) => stringify(of)).join('---\n'));
  for (const sample of await readdir(join(repository.tree, SAMPLES)))
    if (sample !== 'cpu.yaml') await rm(join(repository.tree, SAMPLES, sample));
  await repository.commit('our image, and one run to begin with');
  await cluster.kubectl(['create', '-f', '-'], { input: stringify(PARENT(repository.url)) });
  for (const name of ['worldflux-operator', 'worldflux-profiles', 'worldruns', 'worldflux'])
    await application(name, is('Synced', 'Healthy'));
  kit = await Kit.open(cluster, 'team-a');
  expect(condition(await kit.finished('cpu'), 'Succeeded')).toMatchObject({ status: 'True' });
  const written = await writes(cluster, ['argocd-application-controller', 'worldflux-operator'], { leases: true });
  const order = [
    'argocd-application-controller: patch deployments worldflux-operator',
    'worldflux-operator: create leases worldflux-operator',
    'argocd-application-controller: patch runtimeprofiles cpu',
    'worldflux-operator: patch runtimeprofiles/status cpu',
    'argocd-application-controller: patch worldruns cpu',
    'worldflux-operator: patch worldruns/status cpu',
  ];
  expect([...new Set(written)].filter((of) => order.includes(of))).toEqual(order);
}, 600_000);

test('looked at anew, nothing is out of sync, and nothing is written', async () => {
  const since = await mark(cluster);
  for (const name of ['worldflux-operator', 'worldflux-profiles', 'worldruns']) {
    await refresh(name);
    const { status } = await application(name, is('Synced', 'Healthy'));
    expect(status!.resources!.filter((resource) => resource.status !== 'Synced')).toEqual([]);
    expect(status!.conditions ?? []).toEqual([]);
  }
  const written = await writes(cluster, ['argocd-application-controller', 'worldflux-operator'], { since });
  expect(written.filter((of) => !of.includes(' applications'))).toEqual([]);
});

test('another spec under the name of a finished run is refused, and Argo CD says what to do', async () => {
  const file = join(repository.tree, SAMPLES, 'cpu.yaml');
  const before = await readFile(file, 'utf8');
  const run = parse(before) as { spec: { env: { value: string }[] } };
  run.spec.env[0]!.value = '8';
  await writeFile(file, stringify(run));
  await pushed('another seed');
  const words = /spec\.env cannot change once the run exists: create a run with a new name, or delete this one first/;
  await application(
    'worldruns',
    ({ status }) => status?.sync?.status === 'OutOfSync' && words.test(JSON.stringify(status)),
  );
  await writeFile(file, before);
  await pushed('the old seed');
  await application('worldruns', is('Synced', 'Healthy'));
});

test('its health tells a run that goes on from one that is suspended, one that failed and one that succeeded', async () => {
  const shell = (name: string, script: string): object =>
    kit.shell(name, 'cpu', script, { image: BUSYBOX_IMAGE, timeouts: { uploadSeconds: 5 } });
  await write('long.yaml', shell('long', 'trap "exit 143" TERM; sleep 600 & wait'));
  await pushed('a long run');
  await application('worldruns', is('Synced', 'Progressing'));
  await kit.until('long', (run) => condition(run, 'Ready')?.reason === 'Running');
  await kit.patch('long', { suspend: true });
  await application('worldruns', is('Synced', 'Suspended'));
  await refresh('worldruns');
  expect((await kit.get('long')).spec.suspend).toBe(true);
  await kit.patch('long', { cancel: true });
  await application('worldruns', is('Synced', 'Healthy'));
  await write('failing.yaml', shell('failing', 'exit 3'));
  await pushed('a run that fails');
  const { status } = await application('worldruns', is('Synced', 'Degraded'));
  const failing = status!.resources!.find(({ name }) => name === 'failing')!;
  expect(failing.health?.status ?? 'Degraded').toBe('Degraded');
});

test('what is taken out of the repository goes, and an Application that is deleted takes its runs with it', async () => {
  await rm(join(repository.tree, SAMPLES, 'failing.yaml'));
  await pushed('no failing run');
  await application('worldruns', is('Synced', 'Healthy'));
  await expect(kit.get('failing')).rejects.toThrow(/not found/i);
  const file = join(repository.tree, 'manifests/gitops/argocd/applications.yaml');
  const [operator, profiles] = (await readFile(file, 'utf8')).split('---\n');
  await writeFile(file, `${operator}---\n${profiles}`);
  await repository.commit('no runs any more');
  await refresh('worldflux');
  await cluster.kubectl(['-n', ARGOCD, 'wait', '--for=delete', 'application/worldruns', '--timeout=90s'], {
    timeoutMs: 100_000,
  });
  expect(await cluster.kubectl(['-n', 'team-a', 'get', 'worldruns', '-o', 'name'])).toBe('');
  const left = ['-n', 'team-a', 'get', 'jobs,pods', '-o', 'name'];
  await until('Jobs and pods to go', async () => ((await cluster.kubectl(left)) === '' ? true : undefined), {
    timeoutMs: 60_000,
    intervalMs: 500,
  });
});
