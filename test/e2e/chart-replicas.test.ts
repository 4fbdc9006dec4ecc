import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { findHelm } from '../../scripts/chart/helm.ts';
import { LEASES, SECRETS } from '../../src/kube/resource.ts';
import { attachCluster, type Cluster } from '../cluster/index.ts';
import { OPERATOR_IMAGE, operatorImage } from '../cluster/operator-image.ts';
import { run, until } from '../cluster/process.ts';
import { busyboxImage } from '../cluster/small-images.ts';
import { startS3, type S3Server } from '../fakes/s3/server.ts';
import { helm, OPERATOR } from '../integration/chart/helm.ts';
import { installCrds } from '../integration/install-crds.ts';
import { condition, Kit, SHELL_PROFILE } from './kit.ts';

/** Two replicas as the chart installs them: pods behind a Service, over one bucket, replaced by a rollout. */
let cluster: Cluster;
let kit: Kit;
let s3: S3Server;
const namespace = `replicas-${Date.now().toString(36)}`;
const PROFILE = 'replicas-shell';

beforeAll(async () => {
  const attached = await attachCluster(inject('cluster'));
  if (attached === undefined) throw new Error('the layer has no cluster');
  cluster = attached;
  await cluster.loadImage(await busyboxImage());
  await cluster.loadImage(await operatorImage());
  await installCrds(cluster);
  s3 = await startS3(cluster.hostAddress);
  const { endpoint, credentials } = s3;
  const bucket = new S3Client({ endpoint, credentials, region: 'us-east-1', forcePathStyle: true });
  await bucket.send(new CreateBucketCommand({ Bucket: 'results' }));
  bucket.destroy();
  kit = await Kit.open(cluster, `${namespace}-runs`);
  await kit.ensureNamespace(namespace, { 'pod-security.kubernetes.io/enforce': 'restricted' });
  await kit.client.create(SECRETS, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { namespace, name: 's3' },
    stringData: { AWS_ACCESS_KEY_ID: credentials.accessKeyId, AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey },
  });
  const [repository, tag] = OPERATOR_IMAGE.split(/:(?=[^:]*$)/);
  const store = { kind: 's3', s3: { bucket: 'results', endpoint, pathStyle: true, credentialsSecret: 's3' } };
  // The other files of this layer put the CRDs there; helm would not take them over.
  const values = { replicas: 2, crds: { enabled: false }, image: { repository, tag }, store };
  await helm(['install', 'worldflux-operator', OPERATOR, '--namespace', namespace, '--wait', '--timeout', '120s'], {
    values,
    kubeconfig: cluster.kubeconfig,
  });
  await kit.apply(kit.profile(PROFILE, { ...SHELL_PROFILE, outputSizeLimit: '512Mi' }));
}, 600_000);

afterAll(async () => {
  await run([
    await findHelm({ install: true }),
    'uninstall',
    'worldflux-operator',
    '--namespace',
    namespace,
    '--ignore-not-found',
    `--kubeconfig=${cluster.kubeconfig}`,
  ]);
  await cluster.kubectl(['delete', 'runtimeprofiles', PROFILE, '--ignore-not-found', '--wait=false']);
  await cluster.kubectl(['delete', 'namespace', namespace, '--wait=false']);
  await kit.close();
  await s3.stop();
}, 120_000);

const selector = 'app.kubernetes.io/name=worldflux-operator';
const kubectl = (...args: string[]): Promise<string> =>
  cluster.kubectl(['-n', namespace, ...args], { timeoutMs: 200_000 });

async function podAddresses(): Promise<string[]> {
  const found = await kubectl('get', 'pods', '-l', selector, '-o', 'jsonpath={.items[*].status.podIP}');
  return found.split(' ').filter((address) => address !== '');
}

async function lease(): Promise<{ address: string | undefined; transitions: number }> {
  const found = await kit.client.get(LEASES, { namespace, name: 'worldflux-operator' });
  return {
    address: found.metadata?.annotations?.['worldflux.ai/holder-address'],
    transitions: found.spec?.leaseTransitions ?? 0,
  };
}

test('both pods are ready, and the Lease says at which of their addresses the leader is', async () => {
  const addresses = await podAddresses();
  expect(addresses).toHaveLength(2);
  expect(addresses.map((address) => `${address}:8443`)).toContain((await lease()).address);
});

test('a rollout in the middle of uploads: every run ends well, with everything it left', async () => {
  const before = await podAddresses();
  const { transitions } = await lease();
  const names = ['first', 'second', 'third', 'fourth'];
  for (const [i, name] of names.entries()) {
    const script = `sleep ${i * 5}; echo '{"i": ${i}}' > metrics.json; dd if=/dev/urandom of=blob bs=1M count=100 2>/dev/null; echo done`;
    const outputs = { artifacts: [{ name: 'blob', path: 'blob' }] };
    await kit.apply(
      kit.shell(name, PROFILE, `cd /worldflux/output && ${script}`, { outputs, timeouts: { uploadSeconds: 120 } }),
    );
  }
  await kit.until('first', (found) => condition(found, 'Ready')?.reason === 'Running');
  await kubectl('rollout', 'restart', 'deployment/worldflux-operator');
  await kubectl('rollout', 'status', 'deployment/worldflux-operator', '--timeout=180s');
  for (const [i, name] of names.entries()) {
    const ended = await kit.finished(name, 200);
    expect(ended.status, name).toMatchObject({
      phase: 'Succeeded',
      attemptCount: 1,
      manifest: { metrics: { i } },
      artifacts: [{ state: 'Stored', sizeBytes: 100 * 2 ** 20 }],
      result: { log: { complete: true } },
    });
    expect(condition(ended, 'ResultsStored'), name).toMatchObject({ status: 'True' });
  }
  const gone = async () => (await podAddresses()).every((address) => !before.includes(address)) || undefined;
  await until('the old pods to be gone', gone, { timeoutMs: 60_000 });
  expect((await lease()).transitions).toBeGreaterThan(transitions);
}, 500_000);
