import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { findHelm } from '../../scripts/chart/helm.ts';
import { manifestSchema } from '../../src/crds/manifest.ts';
import { API_SERVICE } from '../../src/results/api/registration.ts';
import { resultsPath } from '../../src/results/api/protocol.ts';
import { isKubeError } from '../../src/kube/errors.ts';
import { SECRETS } from '../../src/kube/resource.ts';
import { attachCluster, type Cluster } from '../cluster/index.ts';
import { OPERATOR_IMAGE, operatorImage } from '../cluster/operator-image.ts';
import { run, until } from '../cluster/process.ts';
import { busyboxImage } from '../cluster/small-images.ts';
import { startReplicate, TOKEN, VERSION, type FakeReplicate } from '../fakes/replicate/server.ts';
import { helm, OPERATOR } from '../integration/chart/helm.ts';
import { installCrds } from '../integration/install-crds.ts';
import { condition, Kit, SHELL_PROFILE } from './kit.ts';
import { askedBy, unusedRights, userOf } from './rights.ts';

/** The operator as users have it: in a pod, under the chart's security context, with the chart's rights and no others. */
let cluster: Cluster;
let kit: Kit;
let vendor: FakeReplicate;
const namespace = `chart-${Date.now().toString(36)}`;
const PROFILE = 'chart-shell';

beforeAll(async () => {
  const attached = await attachCluster(inject('cluster'));
  if (attached === undefined) throw new Error('the layer has no cluster');
  cluster = attached;
  await cluster.loadImage(await busyboxImage());
  await cluster.loadImage(await operatorImage());
  await installCrds(cluster);
  kit = await Kit.open(cluster, `${namespace}-runs`);
  // Every pod of a run here is judged as well.
  await cluster.kubectl(['label', 'namespace', kit.namespace, 'pod-security.kubernetes.io/enforce=restricted']);
  await kit.ensureNamespace(namespace, { 'pod-security.kubernetes.io/enforce': 'restricted' });
  const [repository, tag] = OPERATOR_IMAGE.split(/:(?=[^:]*$)/);
  // The other files of this layer put the CRDs there; helm would not take them over.
  const values = {
    crds: { enabled: false },
    image: { repository, tag },
    store: { files: { size: '1Gi' } },
    credentialSecrets: ['replicate'],
  };
  vendor = await startReplicate({ host: '0.0.0.0', publicHost: cluster.hostAddress });
  await kit.client.create(SECRETS, {
    metadata: {
      name: 'replicate',
      namespace,
      labels: { 'worldflux.ai/credential-for': 'replicate' },
      annotations: { 'worldflux.ai/allowed-hosts': cluster.hostAddress },
    },
    data: { REPLICATE_API_TOKEN: Buffer.from(TOKEN).toString('base64') },
  });
  await helm(['install', 'worldflux-operator', OPERATOR, '--namespace', namespace, '--wait', '--timeout', '90s'], {
    values,
    kubeconfig: cluster.kubeconfig,
  });
  await kit.apply(
    kit.profile(PROFILE, { ...SHELL_PROFILE, overrides: { nodes: { max: 2 } } }),
    paid(),
    kit.profile('chart-classes', { ...SHELL_PROFILE, priorityClassName: 'none-such', runtimeClassName: 'none-such' }),
  );
}, 600_000);

afterAll(async () => {
  // Its log is in its pod, and gone with it: what it complained about is the first thing to look at when a test failed.
  const log = await cluster.kubectl(['-n', namespace, 'logs', 'deploy/worldflux-operator']);
  const complaints = log.split('\n').filter((line) => /"level":[456]0/.test(line));
  if (complaints.length > 0)
    console.log(`${complaints.length} complaints of the operator, the last ones:\n${complaints.slice(-10).join('\n')}`);
  await run([
    await findHelm({ install: true }),
    'uninstall',
    'worldflux-operator',
    '--namespace',
    namespace,
    '--ignore-not-found',
    `--kubeconfig=${cluster.kubeconfig}`,
  ]);
  await cluster.kubectl([
    'delete',
    'runtimeprofiles',
    PROFILE,
    'chart-classes',
    'chart-replicate',
    '--ignore-not-found',
    '--wait=false',
  ]);
  await cluster.kubectl(['delete', 'namespace', namespace, '--wait=false']);
  await kit.close();
  await vendor?.close();
}, 120_000);

const paid = (): object => ({
  apiVersion: 'worldflux.ai/v1alpha1',
  kind: 'RuntimeProfile',
  metadata: { name: 'chart-replicate' },
  spec: {
    runtime: 'replicate',
    replicate: { endpoint: vendor.url, version: VERSION },
    supportLevel: 'Production',
    credentials: { secretRef: { name: 'replicate' } },
    allowedNamespaces: { matchLabels: { 'kubernetes.io/metadata.name': kit.namespace } },
    network: { allowPlainHTTP: true, allowPrivateEndpoints: true },
    pricing: { usdPerSecond: '0.001' },
    limits: { maxCostUSDPerRun: '10', maxRunSeconds: 600, maxConcurrentRuns: 5 },
  },
});

const inOutput = (script: string): string => `cd /worldflux/output && ${script}`;

test('installed by its chart, the operator does its whole job', async () => {
  await kit.apply(
    kit.shell('everything', PROFILE, inOutput(`echo hello; echo '{"loss": 0.5}' > metrics.json; echo kept > model`), {
      outputs: { artifacts: [{ name: 'model', path: 'model' }] },
    }),
    kit.shell('two-nodes', PROFILE, 'true', { nodes: 2 }),
    kit.run('bought', {
      runtimeProfileRef: { name: 'chart-replicate' },
      request: { prompt: 'a towel' },
      timeouts: { runSeconds: 300, startupSeconds: 100 },
    }),
    kit.shell('failing', PROFILE, 'exit 3'),
    kit.shell('forgotten', PROFILE, 'true', { ttlSecondsAfterFinished: 0 }),
    kit.shell('cancelled', PROFILE, 'sleep 300', { timeouts: { uploadSeconds: 5 } }),
  );
  await kit.until('cancelled', (found) => condition(found, 'Ready')?.reason === 'Running');
  await kit.patch('cancelled', { cancel: true });

  const everything = await kit.finished('everything');
  expect(condition(everything, 'ResultsStored')).toMatchObject({ status: 'True' });
  expect(manifestSchema.parse(everything.status!.manifest)).toMatchObject({
    status: 'succeeded',
    metrics: { loss: 0.5 },
  });
  expect(everything.status!.artifacts).toMatchObject([{ name: 'model', state: 'Stored', sizeBytes: 5 }]);
  expect(everything.status!.result!.log).toMatchObject({ complete: true, bytes: expect.any(Number) });
  expect(condition(await kit.finished('two-nodes'), 'Succeeded')).toMatchObject({ status: 'True' });
  expect(condition(await kit.finished('bought'), 'Succeeded')).toMatchObject({ status: 'True' });
  await kit.until('bought', ({ metadata }) => (metadata?.finalizers ?? []).length === 0, 30);
  expect(condition(await kit.finished('failing'), 'Succeeded')).toMatchObject({
    status: 'False',
    reason: 'NonZeroExit',
  });
  expect(condition(await kit.finished('cancelled'), 'Succeeded')).toMatchObject({
    status: 'False',
    reason: 'Cancelled',
  });
  await until(
    'the run without a time to live to go',
    () =>
      kit.get('forgotten').then(
        () => undefined,
        (error: unknown) => isKubeError(error, 'notFound') || undefined,
      ),
    { timeoutMs: 60_000 },
  );
  await kit.untilProfile('chart-classes', (profile) => condition(profile, 'Ready')?.status === 'False');
}, 300_000);

test('what it kept is read through the API server after the pod is gone, by those whom the namespace lets', async () => {
  await cluster.kubectl(['-n', kit.namespace, 'delete', 'pods', '-l', 'worldflux.ai/run=everything'], {
    timeoutMs: 90_000,
  });
  await cluster.kubectl(['wait', '--for=condition=Available', `apiservice/${API_SERVICE}`, '--timeout=60s'], {
    timeoutMs: 70_000,
  });
  const path = resultsPath({ namespace: kit.namespace, name: 'everything' }, 'log');
  expect(await cluster.kubectl(['get', '--raw', path])).toContain('hello');
  const viewer = await cluster.userKubeconfig({ name: 'chart-viewer' });
  const asViewer = (): Promise<string> => cluster.kubectl([`--kubeconfig=${viewer}`, 'get', '--raw', path]);
  await expect(asViewer()).rejects.toThrow(/forbidden/i);
  await cluster.kubectl([
    '-n',
    kit.namespace,
    'create',
    'rolebinding',
    'viewer',
    '--clusterrole=view',
    '--user=chart-viewer',
  ]);
  expect(await until('the binding to count', () => asViewer().catch(() => undefined), { timeoutMs: 15_000 })).toContain(
    'hello',
  );
});

/** Rights that nothing above needs, each with what needs it. */
const UNUSED_HERE = [
  'get validatingadmissionpolicybindings.admissionregistration.k8s.io', // a profile that asks for approvals
  'delete pods', // the pod of a lost node
  'delete configmaps', // a pinned profile that no run names any more, after ten minutes
  'get jobs.batch', // a Job that is there already after a crash
  'get configmaps', // a pinned profile that is there already
  'patch events.events.k8s.io', // an Event that repeats
  'update secrets', // a certificate that is about to expire
  'list events.events.k8s.io', // a Job that a quota keeps from making its pod
];

test('it was refused nothing, and the chart grants nothing that nobody uses', async () => {
  const { used, refused } = await askedBy(cluster, (user) => user === userOf(namespace));
  expect(refused).toEqual([]);
  const roles = [
    ['clusterrole', 'worldflux-operator'],
    ['role', 'worldflux-operator', '-n', namespace],
  ];
  const unused = await unusedRights(cluster, roles, used);
  expect(unused.filter((right) => !UNUSED_HERE.includes(right))).toEqual([]);
});
