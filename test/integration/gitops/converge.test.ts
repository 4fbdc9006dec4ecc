import * as fc from 'fast-check';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { BUILD_TIMEOUT_MS } from '../../../scripts/tools/go-tool.ts';
import { startCluster, type Cluster } from '../../cluster/index.ts';
import { until } from '../../cluster/process.ts';
import { condition, Kit } from '../../e2e/kit.ts';
import { freePort, startOperator, type OperatorProcess } from '../../e2e/operator-process.ts';
import { temporaryFolder } from '../../temporary-folder.ts';
import { installForeignCrds } from '../chart/foreign-crds.ts';
import type { KubeObject } from '../chart/helm.ts';
import { PodPlayer } from '../operator/pod-player.ts';
import { built, GITOPS, LAYERS, type Layer } from './layers.ts';

/**
 * What a GitOps tool does with the layers of manifests/gitops, on a real API server with a real operator: everything at
 * once and in any order, again when all is done, and away again. The tools themselves are not run here.
 */

const dir = await temporaryFolder('gitops');
const MANAGER = 'kustomize-controller';
const SYSTEM = 'worldflux-system';
let cluster: Cluster;
let kit: Kit;
let operator: OperatorProcess | undefined;
let objects: Record<Layer, KubeObject[]>;

beforeAll(async () => {
  cluster = await startCluster({ name: `gitops-${process.pid}`, kind: 'api', audit: true });
  await installForeignCrds(cluster);
  const layers = await Promise.all(LAYERS.map(async (layer) => [layer, await built(cluster, layer)] as const));
  objects = Object.fromEntries(layers) as Record<Layer, KubeObject[]>;
}, BUILD_TIMEOUT_MS);

afterAll(async () => {
  await operator?.stop();
  await kit?.client.close();
  await cluster?.down();
});

const text = (of: readonly KubeObject[]): string => of.map((object) => stringify(object)).join('---\n');
const apply = (of: readonly KubeObject[]): Promise<string> =>
  cluster.kubectl(
    ['apply', '--server-side', `--field-manager=${MANAGER}`, '--force-conflicts', '--validate=strict', '-f', '-'],
    { input: text(of) },
  );
const everything = (): KubeObject[] => LAYERS.flatMap((layer) => objects[layer]);

/** An order nobody chose; the seed is in the name of the test that uses it, and GITOPS_SEED has it once more. */
const SEED = Number(process.env['GITOPS_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
function shuffled<T>(values: readonly T[], seed: number): T[] {
  const all = fc.shuffledSubarray([...values], { minLength: values.length, maxLength: values.length });
  return fc.sample(all, { seed, numRuns: 1 })[0]!;
}

/** The operator as its Deployment would run it: under its own name, and begun again until it can stay. */
async function startAsDeployed(): Promise<OperatorProcess> {
  const kubeconfig = await cluster.userKubeconfig({
    name: `system:serviceaccount:${SYSTEM}:worldflux-operator`,
    groups: ['system:serviceaccounts', `system:serviceaccounts:${SYSTEM}`],
  });
  const gatewayPort = await freePort();
  return until(
    'the operator to stay up',
    () =>
      startOperator({ cluster: { ...cluster, kubeconfig }, dir, gatewayPort, namespace: SYSTEM }).catch(
        () => undefined,
      ),
    { timeoutMs: 120_000, intervalMs: 500 },
  );
}

/** The first thing to look at when a test failed. */
function complaints(): void {
  const log = operator?.log() ?? 'no operator is up';
  // What is no JSON is what a process says that dies.
  const lines = log.split('\n').filter((line) => !line.startsWith('{') || /"level":[456]0/.test(line));
  console.log(lines.slice(-20).join('\n'));
}

/** Kind, namespace and name, with the version that every write changes. */
async function versions(): Promise<string[]> {
  const list = JSON.parse(await cluster.kubectl(['get', '-f', '-', '-o', 'json'], { input: text(everything()) })) as {
    items: (KubeObject & { metadata: { resourceVersion: string } })[];
  };
  return list.items.map(
    ({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''}/${metadata.name} ${metadata.resourceVersion}`,
  );
}

test.each(['argocd/applications.yaml', 'argocd/argocd-cm.yaml', 'flux/flux.yaml'])(
  '%s is right by the kinds of its tool',
  async (file) => {
    for (const namespace of ['argocd', 'flux-system'])
      await cluster.kubectl(['create', 'namespace', namespace]).catch(() => {}); // the one before made it
    await cluster.kubectl(['create', '--dry-run=server', '--validate=strict', '-f', join(GITOPS, file)]);
  },
);

test(`applied all at once in random order, it converges (seed ${SEED})`, async ({ onTestFailed }) => {
  onTestFailed(complaints);
  const starting = startAsDeployed();
  let rounds = 0;
  await until(
    'everything to be applied',
    async () => {
      rounds += 1;
      // What has no kind or no namespace yet is refused, and tried again, as these tools do.
      return apply(shuffled(everything(), SEED + rounds)).then(
        () => true,
        () => undefined,
      );
    },
    { timeoutMs: 90_000, intervalMs: 500 },
  );
  expect(rounds).toBeGreaterThan(1);
  operator = await starting;
  // The next sync, as there is one every few minutes. Where an object is created with a status (a claim is), the API server
  // writes it once more then, whoever asks.
  await apply(everything());
  kit = await Kit.open(cluster, 'team-a');
  for (const name of ['cpu', 'gpu']) {
    await kit.untilProfile(name, (profile) => condition(profile, 'Ready')?.status === 'True');
  }
  const pods = new PodPlayer(kit);
  await pods.start('cpu');
  await kit.until('cpu', (run) => condition(run, 'Ready')?.reason === 'Running');
  await pods.end('cpu', 0);
  const run = await kit.finished('cpu');
  expect(condition(run, 'Succeeded')).toMatchObject({ status: 'True' });
}, 300_000);

test('applied again after its runs have finished, there is no difference and no write', async () => {
  // The Deployment's controller and the operator have come to rest.
  await until(
    'everything to be at rest',
    async () => {
      const before = await versions();
      const mark = (await readFile(cluster.auditLog!)).length;
      await cluster.kubectl(['get', '--raw', '/readyz']);
      const after = await versions();
      return before.join() === after.join() && mark > 0 ? true : undefined;
    },
    { timeoutMs: 30_000 },
  );
  const before = await versions();
  const mark = (await readFile(cluster.auditLog!)).length;
  // Fails with what would change.
  await cluster.kubectl(['diff', '--server-side', '--force-conflicts', `--field-manager=${MANAGER}`, '-f', '-'], {
    input: text(everything()),
  });
  await apply(shuffled(everything(), SEED));
  expect(await versions()).toEqual(before);
  expect(await operatorWrites(mark)).toEqual([]);
}, 120_000);

interface AuditEvent {
  verb: string;
  userAgent?: string;
  objectRef?: { resource?: string };
}

/** What the operator wrote since, but for its Lease. */
async function operatorWrites(mark: number): Promise<string[]> {
  const lines = (await readFile(cluster.auditLog!)).subarray(mark).toString().split('\n');
  return lines
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .map((line) => JSON.parse(line) as AuditEvent)
    .filter(({ userAgent }) => userAgent?.startsWith('worldflux-operator/') === true)
    .filter(({ verb }) => !['get', 'list', 'watch'].includes(verb))
    .map(({ verb, objectRef }) => `${verb} ${objectRef?.resource}`)
    .filter((write) => !write.endsWith(' leases') && !write.endsWith(' tokenreviews'));
}

test(`pruned all at once in random order, nothing is left and nothing hangs (seed ${SEED})`, async () => {
  // A run that is under way, too. Its namespace waits for as long as its pod may upload, node or no node.
  const timeouts = { uploadSeconds: 5 };
  const spec = { runtimeProfileRef: { name: 'cpu' }, image: 'busybox:1', command: ['true'], timeouts };
  await kit.apply(kit.run('under-way', spec));
  await new PodPlayer(kit).start('under-way');
  await kit.until('under-way', (run) => condition(run, 'Ready')?.reason === 'Running');
  const gone = shuffled(everything(), SEED);
  await cluster.kubectl(['delete', '--wait=false', '--ignore-not-found', '-f', '-'], { input: text(gone) });
  await cluster.kubectl(
    ['wait', '--for=delete', 'namespace/team-a', `namespace/${SYSTEM}`, 'crd/worldruns.worldflux.ai', '--timeout=90s'],
    { timeoutMs: 100_000 },
  );
  const kinds = (await cluster.kubectl(['api-resources', '-o', 'name', '--verbs=list'])).trim().split('\n').join(',');
  expect(await cluster.kubectl(['get', kinds, '-A', '-o', 'name', '-l', 'app.kubernetes.io/part-of=worldflux'])).toBe(
    '',
  );
}, 180_000);
