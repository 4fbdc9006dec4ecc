import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:tls';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { Condition } from '../../src/crds/common.ts';
import { SECRETS } from '../../src/kube/resource.ts';
import { API_SERVICE } from '../../src/results/api/registration.ts';
import { resultsPath } from '../../src/results/api/protocol.ts';
import { attachCluster, type Cluster } from '../cluster/index.ts';
import { OPERATOR_IMAGE, operatorImage } from '../cluster/operator-image.ts';
import { until } from '../cluster/process.ts';
import { busyboxImage } from '../cluster/small-images.ts';
import { condition, Kit, SHELL_PROFILE } from '../e2e/kit.ts';
import { helm, OPERATOR } from '../integration/chart/helm.ts';
import { installCrds } from '../integration/install-crds.ts';
import { temporaryFolder } from '../temporary-folder.ts';
import { startCertManager, type CertManager } from './cert-manager/controllers.ts';

/** The chart with `certManager.enabled` beside cert-manager itself: from the issuer to the pod that trusts it. */

const namespace = `cert-manager-${Date.now().toString(36)}`;
const CERTIFICATE = 'worldflux-operator-certificate';
const PROFILE = 'cert-manager-shell';
const folder = await temporaryFolder('cert-manager');
let cluster: Cluster;
let certManager: CertManager;
let kit: Kit;

beforeAll(async () => {
  cluster = (await attachCluster(inject('cluster')))!;
  await cluster.loadImage(await busyboxImage());
  await cluster.loadImage(await operatorImage());
  await installCrds(cluster);
  certManager = await startCertManager(cluster, folder);
  kit = await Kit.open(cluster, `${namespace}-runs`);
  await kit.ensureNamespace(namespace, { 'pod-security.kubernetes.io/enforce': 'restricted' });
  await applyIn(namespace, ...AUTHORITY);
  const [repository, tag] = OPERATOR_IMAGE.split(/:(?=[^:]*$)/);
  await helm(['install', 'worldflux-operator', OPERATOR, '--namespace', namespace, '--wait', '--timeout', '110s'], {
    values: {
      crds: { enabled: false },
      image: { repository, tag },
      store: { files: { size: '1Gi' } },
      certManager: { enabled: true, issuerRef: { name: 'ours' } },
    },
    kubeconfig: cluster.kubeconfig,
  });
  await kit.apply(kit.profile(PROFILE, SHELL_PROFILE));
});

afterAll(async () => {
  await helm(['uninstall', 'worldflux-operator', '--namespace', namespace, '--ignore-not-found'], {
    kubeconfig: cluster.kubeconfig,
  });
  await cluster.kubectl(['delete', 'runtimeprofiles', PROFILE, '--ignore-not-found', '--wait=false']);
  await cluster.kubectl(['delete', 'namespace', namespace, '--wait=false']);
  await kit?.close();
  await certManager?.remove();
});

/** As cert-manager's guide makes an authority: one that signs itself, and an issuer that signs by it. */
const AUTHORITY = [
  { kind: 'Issuer', metadata: { name: 'self-signed' }, spec: { selfSigned: {} } },
  {
    kind: 'Certificate',
    metadata: { name: 'authority' },
    spec: {
      isCA: true,
      commonName: 'ours',
      secretName: 'authority',
      duration: '87600h',
      privateKey: { algorithm: 'ECDSA', size: 256 },
      issuerRef: { name: 'self-signed' },
    },
  },
  { kind: 'Issuer', metadata: { name: 'ours' }, spec: { ca: { secretName: 'authority' } } },
].map((object) => ({ apiVersion: 'cert-manager.io/v1', ...object }));

/** The webhook may still be on its way up. */
async function applyIn(where: string, ...objects: object[]): Promise<void> {
  const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects });
  let said = '';
  const apply = () =>
    cluster.kubectl(['apply', '-n', where, '-f', '-'], { input }).catch((error: Error) => {
      said = error.message;
      return undefined;
    });
  await until('cert-manager to take its objects', apply, { timeoutMs: 60_000 }).catch((error: Error) => {
    throw new Error(`${error.message}: ${said}`);
  });
}

const kubectl = (...args: string[]): Promise<string> =>
  cluster.kubectl(['-n', namespace, ...args], { timeoutMs: 120_000 });

interface CertificateStatus {
  revision?: number;
  conditions?: Condition[];
}

async function revisionOf(certificate: string): Promise<{ revision: number; ready: boolean }> {
  const { status } = JSON.parse(await kubectl('get', 'certificate', certificate, '-o', 'json')) as {
    status?: CertificateStatus;
  };
  return {
    revision: status?.revision ?? 0,
    ready: condition({ status }, 'Ready')?.status === 'True' && condition({ status }, 'Issuing')?.status !== 'True',
  };
}

/** What `cmctl renew` does, and what cert-manager does by itself once two thirds of the time are over. */
async function renew(certificate: string): Promise<void> {
  const { revision } = await revisionOf(certificate);
  const issuing = {
    type: 'Issuing',
    status: 'True',
    reason: 'ManuallyTriggered',
    message: 'asked for by the test',
    lastTransitionTime: new Date().toISOString(),
  };
  const current = JSON.parse(await kubectl('get', 'certificate', certificate, '-o', 'json')) as {
    status: CertificateStatus;
  };
  const conditions = [...(current.status.conditions ?? []).filter(({ type }) => type !== 'Issuing'), issuing];
  const patch = JSON.stringify({ status: { conditions } });
  await kubectl('patch', 'certificate', certificate, '--subresource=status', '--type=merge', '-p', patch);
  const renewed = async () => {
    const now = await revisionOf(certificate);
    return (now.revision > revision && now.ready) || undefined;
  };
  await until(`${certificate} to be renewed`, renewed, { timeoutMs: 60_000 });
}

interface Issued {
  leaf: X509Certificate;
  authority: X509Certificate;
}

async function issued(): Promise<Issued> {
  const { data } = await kit.client.get(SECRETS, { namespace, name: CERTIFICATE });
  const pem = (file: string): X509Certificate => new X509Certificate(Buffer.from(data![file]!, 'base64'));
  return { leaf: pem('tls.crt'), authority: pem('ca.crt') };
}

interface OperatorPod {
  uid: string;
  address: string;
  restarts: number;
}

async function operatorPod(): Promise<OperatorPod> {
  const { items } = JSON.parse(
    await kubectl('get', 'pods', '-l', 'app.kubernetes.io/name=worldflux-operator', '-o', 'json'),
  ) as {
    items: { metadata: { uid: string }; status: { podIP: string; containerStatuses: { restartCount: number }[] } }[];
  };
  expect(items).toHaveLength(1);
  const [{ metadata, status }] = items as [(typeof items)[0]];
  return { uid: metadata.uid, address: status.podIP, restarts: status.containerStatuses[0]!.restartCount };
}

/** The certificate at this port of the operator's pod, whoever signed it. */
async function served(port: number): Promise<X509Certificate> {
  const { address } = await operatorPod();
  const socket = connect({ host: address, port, rejectUnauthorized: false });
  try {
    await once(socket, 'secureConnect', { signal: AbortSignal.timeout(10_000) });
    return socket.getPeerX509Certificate()!;
  } finally {
    socket.destroy();
  }
}

async function bundle(): Promise<X509Certificate> {
  const text = await cluster.kubectl(['get', 'apiservice', API_SERVICE, '-o', 'jsonpath={.spec.caBundle}']);
  return new X509Certificate(Buffer.from(text, 'base64'));
}

async function letGo(run: string): Promise<void> {
  const inRuns = (...args: string[]) => cluster.kubectl(['-n', kit.namespace, ...args]);
  const pod = await inRuns('get', 'pods', '-l', `worldflux.ai/run=${run}`, '-o', 'name');
  await inRuns('exec', pod.trim(), '-c', 'run', '--', 'touch', '/worldflux/output/go');
}

const GATEWAY = 8443;
const RESULTS_API = 8444;
const WRITE = `echo '{"loss": 1}' > /worldflux/output/metrics.json; echo written`;

async function endedWell(name: string): Promise<void> {
  const finished = await kit.finished(name);
  expect(condition(finished, 'ResultsStored'), name).toMatchObject({ status: 'True' });
  expect(finished.status!.manifest, name).toMatchObject({ metrics: { loss: 1 } });
}

async function readable(name: string): Promise<void> {
  const log = resultsPath({ namespace: kit.namespace, name }, 'log');
  const read = () => cluster.kubectl(['get', '--raw', log]).catch(() => undefined);
  expect(await until(`the log of ${name}`, read, { timeoutMs: 60_000 })).toContain('written');
}

test('what the issuer signs is served, the pods of runs trust it, and so does the API server', async () => {
  const { leaf, authority } = await issued();
  expect(leaf.verify(authority.publicKey)).toBe(true);
  expect((await served(GATEWAY)).fingerprint256).toBe(leaf.fingerprint256);
  expect((await served(RESULTS_API)).fingerprint256).toBe(leaf.fingerprint256);
  expect(await kubectl('get', 'secrets', '-o', 'name')).not.toContain('worldflux-operator-gateway-tls');

  await kit.apply(kit.shell('trusting', PROFILE, WRITE));
  await endedWell('trusting');
  await readable('trusting');
  expect((await bundle()).fingerprint256).toBe(authority.fingerprint256);
});

/** Until the kubelet has shown the new Secret, and the operator has looked. */
const SEEN_MS = 200_000;

async function taken({ leaf, authority }: Issued): Promise<void> {
  const both = async () => {
    const now = await Promise.all([served(GATEWAY), served(RESULTS_API)]);
    return now.every(({ fingerprint256 }) => fingerprint256 === leaf.fingerprint256) || undefined;
  };
  await until('the renewed certificate to be served', both, { timeoutMs: SEEN_MS, intervalMs: 1000 });
  const known = async () => (await bundle()).fingerprint256 === authority.fingerprint256 || undefined;
  await until('the API server to be told', known, { timeoutMs: 60_000, intervalMs: 1000 });
}

test('a renewal is taken up by the process that runs; a run from before it delivers, and so does one after', async () => {
  const pod = await operatorPod();
  const before = await issued();
  await kit.apply(kit.shell('across', PROFILE, `until [ -e /worldflux/output/go ]; do sleep 0.2; done; ${WRITE}`));
  await kit.until('across', (found) => condition(found, 'Ready')?.reason === 'Running');

  await renew(CERTIFICATE);
  const after = await issued();
  expect(after.leaf.fingerprint256).not.toBe(before.leaf.fingerprint256);
  expect(after.authority.fingerprint256).toBe(before.authority.fingerprint256);
  await taken(after);
  await letGo('across');
  await endedWell('across');
  await kit.apply(kit.shell('afterwards', PROFILE, WRITE));
  await endedWell('afterwards');
  await readable('afterwards');
  expect(await operatorPod()).toEqual(pod);
}, 500_000);

test('a new authority reaches new pods and the API server without a restart', async () => {
  const pod = await operatorPod();
  const before = await issued();
  await renew('authority');
  await renew(CERTIFICATE);
  const after = await issued();
  expect(after.authority.publicKey.equals(before.authority.publicKey)).toBe(false);
  await taken(after);
  await kit.apply(kit.shell('new-authority', PROFILE, WRITE));
  await endedWell('new-authority');
  await readable('new-authority');
  expect(await operatorPod()).toEqual(pod);
}, 500_000);
