import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { startCluster, type Cluster } from '../../cluster/index.ts';
import { helm, OPERATOR, PROFILES } from './helm.ts';

/** From the chart before this one, as it was packaged then, to this one, and away again. */
const PREVIOUS = join(import.meta.dirname, 'previous', 'worldflux-operator-0.1.0-rc.1.tgz');
const NAMESPACE = 'worldflux-system';
const CRDS = ['worldruns.worldflux.ai', 'runtimeprofiles.worldflux.ai'];
let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ name: `upgrade-${process.pid}`, kind: 'api' });
  await cluster.kubectl(['create', 'namespace', 'team-a']);
});

afterAll(() => cluster?.down());

const release = (...args: string[]): Promise<string> =>
  helm([...args, '--namespace', NAMESPACE], { kubeconfig: cluster.kubeconfig });
const read = (...args: string[]): Promise<string> => cluster.kubectl(['get', ...args]);
const strictly = (object: object): Promise<string> =>
  cluster.kubectl(['create', '--dry-run=server', '--validate=strict', '-f', '-'], { input: stringify(object) });

const RUN = {
  apiVersion: 'worldflux.ai/v1alpha1',
  kind: 'WorldRun',
  metadata: { name: 'old', namespace: 'team-a' },
  spec: { image: 'docker.io/library/busybox:1', command: ['true'], timeouts: { runSeconds: 60 } },
};
const STATUS = {
  phase: 'Succeeded',
  conditions: [
    {
      type: 'Succeeded',
      status: 'True',
      reason: 'Succeeded',
      message: '',
      lastTransitionTime: '2026-11-20T10:00:00Z',
      observedGeneration: 1,
    },
  ],
};
/** A field that the previous chart's CRDs did not know. */
const NEW_FIELD = {
  apiVersion: 'worldflux.ai/v1alpha1',
  kind: 'WorldRun',
  metadata: { name: 'new', namespace: 'team-a' },
  spec: { request: { capability: 'generate', prompt: 'a room' } },
};

test('an upgrade brings the new fields, and changes nothing of runs, profiles and results', async () => {
  await release('install', 'worldflux-operator', PREVIOUS, '--create-namespace');
  await release('install', 'worldflux-profiles', PROFILES);
  await cluster.kubectl(['create', '-f', '-'], { input: stringify(RUN) });
  const patch = JSON.stringify({ status: STATUS });
  await cluster.kubectl(['-n', 'team-a', 'patch', 'worldrun/old', '--subresource=status', '--type=merge', '-p', patch]);
  await expect(strictly(NEW_FIELD)).rejects.toThrow(/unknown field "spec\.request"/);
  const kept = async (): Promise<unknown[]> =>
    Promise.all(
      [
        ['worldruns,runtimeprofiles', '-A', '-o', 'json'],
        ['-n', NAMESPACE, 'pvc', '-o', 'jsonpath={range .items[*]}{.metadata.uid}{end}'],
        ['crds', ...CRDS, '-o', 'jsonpath={range .items[*]}{.metadata.uid}{end}'],
      ].map(async (what) => {
        const text = await read(...what);
        return text.startsWith('{') ? (JSON.parse(text) as unknown) : text;
      }),
    );
  const before = await kept();
  expect(before[0]).toMatchObject({ items: [{ metadata: { name: 'old' } }, { kind: 'RuntimeProfile' }, {}] });

  // The old chart's defaults know nothing of what the new one asks: better no upgrade than half of one.
  await expect(release('upgrade', 'worldflux-operator', OPERATOR, '--reuse-values')).rejects.toThrow(
    /missing propert.*extraCACertificates/,
  );
  await release('upgrade', 'worldflux-operator', OPERATOR, '--reset-then-reuse-values');
  // New fields with a default are seen on old objects too, which nobody has written: same uid, same resourceVersion.
  expect(await kept()).toMatchObject(before);
  expect(await strictly(NEW_FIELD)).toContain('worldrun.worldflux.ai/new created');
  // What was finished under the old chart stays so under the new one.
  const again = ['patch', 'worldrun/old', '--subresource=status', '--type=json', '-p'];
  const rewrite = JSON.stringify([{ op: 'replace', path: '/status/conditions/0/status', value: 'False' }]);
  await expect(cluster.kubectl(['-n', 'team-a', ...again, rewrite])).rejects.toThrow(/never changes|invalid/i);
});

test('the same chart again changes nothing', async () => {
  const everything = (): Promise<string> =>
    read(
      'deployments,services,serviceaccounts,pvc,poddisruptionbudgets,networkpolicies,roles,rolebindings,clusterroles,' +
        'clusterrolebindings,crds,apiservices,validatingadmissionpolicies,validatingadmissionpolicybindings',
      '-A',
      '-l',
      'app.kubernetes.io/part-of=worldflux',
      '-o',
      'jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{"\\n"}{end}',
    );
  const before = await everything();
  expect(before).toContain('Deployment/worldflux-operator');
  await release('upgrade', 'worldflux-operator', OPERATOR);
  expect(await everything()).toBe(before);
});

test('removed in the documented order, nothing is left and nothing hangs', async () => {
  await cluster.kubectl(['delete', 'worldruns', '--all', '-A', '--timeout=30s']);
  await release('uninstall', 'worldflux-profiles', '--wait');
  await release('uninstall', 'worldflux-operator', '--wait');
  await cluster.kubectl(['delete', 'crd', ...CRDS, '--timeout=30s']);
  // An API that is registered and served by nobody would hold the namespaces back.
  await cluster.kubectl(['delete', 'namespace', NAMESPACE, 'team-a', '--timeout=60s'], { timeoutMs: 70_000 });
  const ours = (await cluster.kubectl(['api-resources', '-o', 'name', '--verbs=list'])).trim().split('\n').join(',');
  expect(await read(ours, '-A', '-l', 'app.kubernetes.io/part-of=worldflux', '-o', 'name')).toBe('');
  expect(await read(ours, '-A', '-o', 'name', '-l', 'app.kubernetes.io/name=worldflux-operator')).toBe('');
});
