import { X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { findHelm } from '../../scripts/chart/helm.ts';
import { SECRETS } from '../../src/kube/resource.ts';
import { API_SERVICE } from '../../src/results/api/registration.ts';
import { resultsPath } from '../../src/results/api/protocol.ts';
import { ensureTls, type TlsMaterial } from '../../src/results/gateway/tls.ts';
import { attachCluster, type Cluster } from '../cluster/index.ts';
import { OPERATOR_IMAGE, operatorImage } from '../cluster/operator-image.ts';
import { run, until } from '../cluster/process.ts';
import { busyboxImage } from '../cluster/small-images.ts';
import { installForeignCrds } from '../integration/chart/foreign-crds.ts';
import { helm, OPERATOR } from '../integration/chart/helm.ts';
import { installCrds } from '../integration/install-crds.ts';
import { condition, Kit, SHELL_PROFILE } from './kit.ts';

/** The chart with `certManager.enabled`, in a pod. cert-manager is played: the Secret that it would write is written here. */
let cluster: Cluster;
let kit: Kit;
let values: object;
const namespace = `certificate-${Date.now().toString(36)}`;
const PROFILE = 'certificate-shell';

beforeAll(async () => {
  const attached = await attachCluster(inject('cluster'));
  if (attached === undefined) throw new Error('the layer has no cluster');
  cluster = attached;
  await cluster.loadImage(await busyboxImage());
  await cluster.loadImage(await operatorImage());
  await installCrds(cluster);
  await installForeignCrds(cluster);
  kit = await Kit.open(cluster, `${namespace}-runs`);
  await kit.ensureNamespace(namespace);
  const [repository, tag] = OPERATOR_IMAGE.split(/:(?=[^:]*$)/);
  values = {
    crds: { enabled: false },
    image: { repository, tag },
    store: { files: { size: '1Gi' } },
    certManager: { enabled: true, issuerRef: { name: 'ours' } },
  };
  const { kubeconfig } = cluster;
  await helm(['install', 'worldflux-operator', OPERATOR, '--namespace', namespace], { values, kubeconfig });
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
}, 120_000);

const kubectl = (...args: string[]): Promise<string> =>
  cluster.kubectl(['-n', namespace, ...args], { timeoutMs: 150_000 });

/** What the Certificate asks for, as its issuer would write it; renewed by the same authority where there is one. */
async function issue(authority?: Pick<TlsMaterial, 'caCertPem' | 'caKeyPem'>): Promise<TlsMaterial> {
  const names = await kubectl(
    'get',
    'certificate',
    'worldflux-operator-certificate',
    '-o',
    'jsonpath={.spec.dnsNames[*]}',
  );
  const { material } = await ensureTls(authority, names.split(' '));
  return material;
}

const secretOf = ({ certPem, keyPem, caCertPem }: TlsMaterial): Record<string, string> => ({
  'tls.crt': certPem,
  'tls.key': keyPem,
  'ca.crt': caCertPem,
});

let material: TlsMaterial;

test('the operator waits for its certificate, serves it, and results come in and are read', async () => {
  const phase = (): Promise<string> =>
    kubectl(
      'get',
      'pods',
      '-l',
      'app.kubernetes.io/name=worldflux-operator',
      '-o',
      'jsonpath={.items[*].status.phase}',
    );
  await until('the pod to be placed', async () => ((await phase()) === 'Pending' ? true : undefined), {
    timeoutMs: 30_000,
  });
  material = await issue();
  await kit.client.create(SECRETS, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { namespace, name: 'worldflux-operator-certificate' },
    type: 'kubernetes.io/tls',
    stringData: secretOf(material),
  });
  await kubectl('rollout', 'status', 'deploy/worldflux-operator', '--timeout=140s');
  expect(await kubectl('get', 'secrets', '-o', 'name')).not.toContain('worldflux-operator-gateway-tls');

  await kit.apply(kit.profile(PROFILE, SHELL_PROFILE));
  await kit.apply(kit.shell('trusted', PROFILE, 'echo trusted; echo \'{"loss": 1}\' > /worldflux/output/metrics.json'));
  const finished = await kit.finished('trusted');
  expect(condition(finished, 'ResultsStored')).toMatchObject({ status: 'True' });
  expect(finished.status!.manifest).toMatchObject({ metrics: { loss: 1 } });
  await cluster.kubectl(['wait', '--for=condition=Available', `apiservice/${API_SERVICE}`, '--timeout=60s'], {
    timeoutMs: 70_000,
  });
  expect(
    await cluster.kubectl(['get', '--raw', resultsPath({ namespace: kit.namespace, name: 'trusted' }, 'log')]),
  ).toContain('trusted');
  const bundle = await cluster.kubectl(['get', 'apiservice', API_SERVICE, '-o', 'jsonpath={.spec.caBundle}']);
  const known = new X509Certificate(Buffer.from(bundle, 'base64'));
  expect(known.fingerprint256).toBe(new X509Certificate(material.caCertPem).fingerprint256);
}, 300_000);

test('an upgrade and a renewed certificate in the middle of a run lose nothing of it', async () => {
  const log = resultsPath({ namespace: kit.namespace, name: 'upgraded' }, 'log');
  // Ends when it is told to, which is while nobody is there to hear of it.
  const script =
    'until [ -e /worldflux/output/go ]; do sleep 0.2; done; echo "{\\"loss\\": 2}" > /worldflux/output/metrics.json; echo done';
  await kit.apply(kit.shell('upgraded', PROFILE, script));
  await kit.until('upgraded', (found) => condition(found, 'Ready')?.reason === 'Running');

  const { caCertPem, caKeyPem } = material;
  const renewed = await issue({ caCertPem, caKeyPem });
  expect(renewed.certPem).not.toBe(material.certPem);
  const data = JSON.stringify({ stringData: secretOf(renewed) });
  await kubectl('patch', 'secret', 'worldflux-operator-certificate', '--type=merge', '-p', data);
  await kubectl('scale', 'deploy/worldflux-operator', '--replicas=0');
  await kubectl('wait', '--for=delete', 'pod', '-l', 'app.kubernetes.io/name=worldflux-operator', '--timeout=60s');
  const pod = await cluster.kubectl([
    '-n',
    kit.namespace,
    'get',
    'pods',
    '-l',
    'worldflux.ai/run=upgraded',
    '-o',
    'name',
  ]);
  await cluster.kubectl(['-n', kit.namespace, 'exec', pod.trim(), '-c', 'run', '--', 'touch', '/worldflux/output/go']);

  const upgrade = ['upgrade', 'worldflux-operator', OPERATOR, '--namespace', namespace, '--wait', '--timeout', '120s'];
  await helm(upgrade, { values: { ...values, settings: { workers: 3 } }, kubeconfig: cluster.kubeconfig });
  const finished = await kit.finished('upgraded');
  expect(condition(finished, 'ResultsStored')).toMatchObject({ status: 'True' });
  expect(finished.status!.manifest).toMatchObject({ status: 'succeeded', metrics: { loss: 2 } });
  expect(
    await until('the log', () => cluster.kubectl(['get', '--raw', log]).catch(() => undefined), { timeoutMs: 60_000 }),
  ).toContain('done');
}, 300_000);
