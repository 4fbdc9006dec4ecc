import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { SMOKE_IMAGES } from '../../images/index.ts';
import type { WorldRun } from '../../src/controller/run/view.ts';
import type { Condition } from '../../src/crds/common.ts';
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
import { startFlux, type Flux } from './gitops/flux.ts';
import { FluxSource } from './gitops/flux-source.ts';
import { mark, writes } from './gitops/watching.ts';

/** Flux itself with manifests/gitops, as a user has it, with another image of the operator. */

interface Kustomization extends KubeObject {
  status?: { conditions?: Condition[]; lastAttemptedRevision?: string; lastHandledReconcileAt?: string };
}
const KUSTOMIZATIONS = resourceType<Kustomization>({
  group: 'kustomize.toolkit.fluxcd.io',
  version: 'v1',
  plural: 'kustomizations',
  namespaced: true,
  kind: 'Kustomization',
});
const FLUX = 'flux-system';
const REPOSITORY = { namespace: FLUX, name: 'worldflux' };
const LAYERS = ['worldflux-operator', 'worldflux-profiles', 'worldruns'];
const RUNS = 'manifests/gitops/runs';

const folder = await temporaryFolder('flux');
let cluster: Cluster;
let flux: Flux;
let source: FluxSource;
let client: KubeClient;
let kit: Kit;

beforeAll(async () => {
  source = await FluxSource.serve(join(folder, 'tree'));
  cluster = await startCluster({ name: `flux-${process.pid}`, kind: 'node', audit: true });
  client = KubeClient.connect(loadClusterConfig({ file: cluster.kubeconfig }), { userAgent: 'worldflux-test' });
  const cpu = SMOKE_IMAGES.find(({ name }) => name === 'cpu')!;
  for (const image of [operatorImage(), busyboxImage(), buildImage(cpu)]) await cluster.loadImage(await image);
  flux = await startFlux(cluster, folder);
});

afterAll(async () => {
  await kit?.client.close();
  await client?.close();
  await flux?.stop();
  await cluster?.down();
  source?.close();
});

/** A kustomization.yaml. */
interface Layer {
  resources: string[];
  images?: object[];
}

/** Changes a YAML file of the repository. */
async function edit<T extends object>(file: string, change: (content: T) => void): Promise<void> {
  const path = join(source.tree, file);
  const content = parse(await readFile(path, 'utf8')) as T;
  change(content);
  await writeFile(path, stringify(content));
}

/** Puts objects into a file of the layer of runs. */
async function addRuns(file: string, ...objects: object[]): Promise<void> {
  await writeFile(join(source.tree, RUNS, file), objects.map((object) => stringify(object)).join('---\n'));
  await edit<Layer>(`${RUNS}/kustomization.yaml`, ({ resources }) => void resources.push(file));
}

async function removeRuns(file: string): Promise<void> {
  await rm(join(source.tree, RUNS, file));
  await edit<Layer>(`${RUNS}/kustomization.yaml`, (content) => {
    content.resources = content.resources.filter((resource) => resource !== file);
  });
}

const readyOf = (of: Kustomization): Condition | undefined =>
  of.status?.conditions?.find(({ type }) => type === 'Ready');
const isSettled = (of: Kustomization): boolean =>
  ['True', 'False'].includes(readyOf(of)?.status ?? '') && readyOf(of)?.reason !== 'DependencyNotReady';

async function kustomization(name: string, test: (of: Kustomization) => boolean): Promise<Kustomization> {
  let last: Kustomization | undefined;
  const look = async (): Promise<Kustomization | undefined> => {
    last = await client.get(KUSTOMIZATIONS, { namespace: FLUX, name });
    return test(last) ? last : undefined;
  };
  return until(`Kustomization ${name}`, look, { timeoutMs: 240_000, intervalMs: 200 }).catch((error: Error) => {
    throw new Error(`${error.message}: ${JSON.stringify(last?.status?.conditions)}`, { cause: error });
  });
}

/** Offers what was changed, and waits until this Kustomization has been through with it. */
async function pushed(name: string): Promise<Condition> {
  const revision = await source.publish(client, REPOSITORY);
  const of = await kustomization(name, (found) => found.status?.lastAttemptedRevision === revision && isSettled(found));
  return readyOf(of)!;
}

/** Asks for another round, and waits for its end. */
async function again(name: string): Promise<Condition> {
  const at = new Date().toISOString();
  const merge = { metadata: { annotations: { 'reconcile.fluxcd.io/requestedAt': at } } };
  await client.patch(KUSTOMIZATIONS, { namespace: FLUX, name }, { merge });
  return readyOf(await kustomization(name, (of) => of.status?.lastHandledReconcileAt === at && isSettled(of)))!;
}

test('a repository of three layers becomes a finished run, each layer after the one before', async () => {
  await edit<Layer>('manifests/gitops/operator/kustomization.yaml', (content) => {
    const [newName, newTag] = OPERATOR_IMAGE.split(/:(?=[^:]*$)/);
    content.images = [{ name: 'ghcr.io/worldflux/worldflux-operator', newName, newTag }];
  });
  const objects = await readFile(join(source.tree, 'manifests/gitops/flux/flux.yaml'), 'utf8');
  await cluster.kubectl(['create', '-f', '-'], {
    input: objects,
  });
  await source.publish(client, REPOSITORY);
  for (const name of LAYERS) await kustomization(name, (of) => readyOf(of)?.status === 'True');
  kit = await Kit.open(cluster, 'team-a');
  expect(condition(await kit.finished('cpu'), 'Succeeded')).toMatchObject({ status: 'True' });
  expect(condition(await kit.finished('cpu'), 'ResultsStored')).toMatchObject({ status: 'True' });

  const written = await writes(cluster, ['kustomize-controller', 'worldflux-operator'], { leases: true });
  const order = [
    'kustomize-controller: patch deployments worldflux-operator',
    'worldflux-operator: create leases worldflux-operator',
    'kustomize-controller: patch runtimeprofiles cpu',
    'worldflux-operator: patch runtimeprofiles/status cpu',
    'kustomize-controller: patch worldruns cpu',
    'worldflux-operator: patch worldruns/status cpu',
  ];
  expect([...new Set(written)].filter((write) => order.includes(write))).toEqual(order);
}, 400_000);

test('a second round writes nothing: no default, no status, no mark of the operator is fought over', async () => {
  const since = await mark(cluster);
  for (const name of LAYERS) expect(await again(name)).toMatchObject({ status: 'True' });
  const written = await writes(cluster, ['kustomize-controller', 'worldflux-operator'], { since });
  expect(written.filter((write) => !write.includes(' kustomizations'))).toEqual([]);
});

test('another spec under the name of a finished run is refused, and Flux says what to do', async () => {
  const seed = (value: string): Promise<void> =>
    edit<WorldRun>('manifests/samples/cpu.yaml', (run) => void (run.spec.env![0]!.value = value));
  await seed('8');
  const refused = await pushed('worldruns');
  expect(refused.status).toBe('False');
  expect(refused.message).toContain(
    'spec.env cannot change once the run exists: create a run with a new name, or delete this one first',
  );
  await seed('7');
  expect(await pushed('worldruns')).toMatchObject({ status: 'True' });
});

const sleeper = (name: string): object =>
  kit.shell(name, 'cpu', 'trap "exit 143" TERM; sleep 600 & wait', {
    image: BUSYBOX_IMAGE,
    timeouts: { uploadSeconds: 5 },
  });

test('a person who suspends and cancels a run with kubectl is not overruled, nor does Flux get stuck on it', async () => {
  await addRuns('long.yaml', sleeper('long'));
  expect(await pushed('worldruns')).toMatchObject({ status: 'True' });
  await kit.until('long', (run) => condition(run, 'Ready')?.reason === 'Running');
  const patch = (spec: object): Promise<string> =>
    cluster.kubectl(['-n', 'team-a', 'patch', 'worldrun', 'long', '--type=merge', '-p', JSON.stringify({ spec })]);
  await patch({ suspend: true });
  await kit.until('long', (run) => condition(run, 'Ready')?.reason === 'Suspended');
  expect(await again('worldruns')).toMatchObject({ status: 'True' });
  expect((await kit.get('long')).spec.suspend).toBe(true);
  await patch({ cancel: true });
  await kit.finished('long');
  expect(await again('worldruns')).toMatchObject({ status: 'True' });
  expect((await kit.get('long')).spec.cancel).toBe(true);
});

test('a run that is taken out of the repository goes, and so does what it left in the cluster', async () => {
  await removeRuns('long.yaml');
  expect(await pushed('worldruns')).toMatchObject({ status: 'True' });
  await expect(kit.get('long')).rejects.toThrow(/not found/i);
  const left = ['-n', 'team-a', 'get', 'jobs,pods,services', '-l', 'worldflux.ai/run=long', '-o', 'name'];
  await until('its Job and pod to go', async () => ((await cluster.kubectl(left)) === '' ? true : undefined), {
    timeoutMs: 60_000,
    intervalMs: 500,
  });
});

test('whoever waits for runs hears which one failed, and nothing is run twice for asking again', async () => {
  const dir = 'manifests/gitops/experiments';
  await mkdir(join(source.tree, dir));
  const failing = kit.shell('failing', 'cpu', 'exit 3', { image: BUSYBOX_IMAGE });
  const passing = kit.shell('passing', 'cpu', 'true', { image: BUSYBOX_IMAGE });
  const write = (...runs: object[]): Promise<void> =>
    writeFile(join(source.tree, dir, 'runs.yaml'), runs.map((run) => stringify(run)).join('---\n'));
  await write(failing, passing);
  await source.publish(client, REPOSITORY);
  const objects = await readFile(join(source.tree, 'manifests/gitops/flux/flux.yaml'), 'utf8');
  const worldruns = parse(objects.split('\n---\n').at(-1)!) as { metadata: { name: string }; spec: object };
  const waiting = {
    ...worldruns,
    metadata: { ...worldruns.metadata, name: 'experiments' },
    spec: { ...worldruns.spec, path: `./${dir}`, targetNamespace: 'team-a', wait: true, timeout: '2m' },
  };
  await cluster.kubectl(['create', '-f', '-'], { input: stringify(waiting) });
  const refused = readyOf(await kustomization('experiments', isSettled))!;
  expect(refused).toMatchObject({ status: 'False', reason: 'HealthCheckFailed' });
  expect(refused.message).toMatch(/WorldRun\/team-a\/failing status: 'Failed'/);
  expect(refused.message).not.toContain('passing');
  expect(await again('experiments')).toMatchObject({ status: 'False', reason: 'HealthCheckFailed' });
  expect((await kit.get('failing')).status?.attempts).toHaveLength(1);
  await write(passing);
  expect(await pushed('experiments')).toMatchObject({ status: 'True' });
  await expect(kit.get('failing')).rejects.toThrow(/not found/i);
});

test('deleted layer by layer, with a run under way, nothing is left but what is never pruned', async () => {
  await addRuns('long.yaml', sleeper('under-way'));
  expect(await pushed('worldruns')).toMatchObject({ status: 'True' });
  await kit.until('under-way', (run) => condition(run, 'Ready')?.reason === 'Running');
  for (const name of ['experiments', ...LAYERS.toReversed()])
    await cluster.kubectl(['-n', FLUX, 'delete', 'kustomization', name, '--timeout=90s'], { timeoutMs: 100_000 });
  await cluster.kubectl(['wait', '--for=delete', 'namespace/team-a', '--timeout=90s'], { timeoutMs: 100_000 });
  await cluster.kubectl(['-n', 'worldflux-system', 'wait', '--for=delete', 'pod', '--all', '--timeout=60s'], {
    timeoutMs: 70_000,
  });
  const kinds = (await cluster.kubectl(['api-resources', '-o', 'name', '--verbs=list'])).trim().split('\n').join(',');
  const left = await cluster.kubectl(['get', kinds, '-A', '-o', 'name', '-l', 'app.kubernetes.io/part-of=worldflux']);
  expect(left.trim().split('\n').toSorted()).toEqual([
    'customresourcedefinition.apiextensions.k8s.io/runtimeprofiles.worldflux.ai',
    'customresourcedefinition.apiextensions.k8s.io/worldruns.worldflux.ai',
    'persistentvolumeclaim/worldflux-operator-store',
  ]);
  expect(await cluster.kubectl(['get', 'namespace', 'worldflux-system', '-o', 'name'])).toContain('worldflux-system');
});
