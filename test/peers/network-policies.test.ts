import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SECRETS } from '../../src/kube/resource.ts';
import { resultsPath } from '../../src/results/api/protocol.ts';
import { startCluster, type Cluster } from '../cluster/index.ts';
import { OPERATOR_IMAGE, operatorImage } from '../cluster/operator-image.ts';
import { until } from '../cluster/process.ts';
import { BUSYBOX_IMAGE, busyboxImage } from '../cluster/small-images.ts';
import { condition, Kit, SHELL_PROFILE } from '../e2e/kit.ts';
import { startReplicate, TOKEN, VERSION, type FakeReplicate } from '../fakes/replicate/server.ts';
import { startS3, type S3Server } from '../fakes/s3/server.ts';
import { helm, OPERATOR } from '../integration/chart/helm.ts';
import { installCrds } from '../integration/install-crds.ts';
import { temporaryFolder } from '../temporary-folder.ts';
import { onNode, startCilium } from './cilium/agent.ts';

/** The chart's NetworkPolicies, enforced by Cilium: what must go goes, and what must not is dropped. */

const system = 'worldflux-system';
const runs = 'team-a';
const elsewhere = 'elsewhere';
const PROFILE = 'policies-shell';
const METADATA = '169.254.169.254';
const folder = await temporaryFolder('cilium');
let cluster: Cluster;
let kit: Kit;
let s3: S3Server;
let vendor: FakeReplicate;

/** Where a pod may want to go, as `host port`. */
const places = {
  gateway: `worldflux-operator-gateway.${system}.svc 8443`,
  'the results API': `worldflux-operator-results-api.${system}.svc 443`,
  metrics: `worldflux-operator-metrics.${system}.svc 8080`,
  'the API server': 'kubernetes.default.svc 443',
  metadata: `${METADATA} 80`,
  'a pod of its own namespace': '',
  'a pod elsewhere': '',
  'another run': '',
  store: '',
  'the vendor': '',
};
type Place = keyof typeof places;

beforeAll(async () => {
  cluster = await startCluster({ name: `policies-${process.pid}`, kind: 'node' });
  await startCilium(cluster, folder);
  await cluster.loadImage(await busyboxImage());
  await cluster.loadImage(await operatorImage());
  await installCrds(cluster);
  kit = await Kit.open(cluster, runs);
  await kit.ensureNamespace(system);
  await kit.ensureNamespace(elsewhere);
  [s3, vendor] = await Promise.all([
    startS3(cluster.hostAddress),
    startReplicate({ host: '0.0.0.0', publicHost: cluster.hostAddress }),
  ]);
  places.store = `${cluster.hostAddress} ${new URL(s3.endpoint).port}`;
  places['the vendor'] = `${cluster.hostAddress} ${new URL(vendor.url).port}`;
  await makeBucket();
  await secrets();
  await onNode(cluster, METADATA_SERVICE);
  await Promise.all([
    server(runs, 'neighbour', {}),
    server(elsewhere, 'stranger', {}),
    server(elsewhere, 'prometheus', { app: 'prometheus' }),
  ]);
  places['a pod of its own namespace'] = `${await addressOf(runs, 'neighbour')} 8000`;
  places['a pod elsewhere'] = `${await addressOf(elsewhere, 'stranger')} 8000`;
  await install({ enabled: false });
  await kit.apply(kit.profile(PROFILE, SHELL_PROFILE), paid());
});

afterAll(async () => {
  await kit?.client.close();
  await cluster?.down();
  await vendor?.close();
  await s3?.stop();
});

/** A host behind a cable of its own, in the node's namespaces, which end with the node. */
const METADATA_SERVICE = `set -e
ip netns add metadata
ip link add metadata type veth peer name eth0 netns metadata
ip address add 169.254.169.253/30 dev metadata
ip link set metadata up
ip netns exec metadata sh -c 'ip link set lo up; ip address add ${METADATA}/30 dev eth0; ip link set eth0 up; ip route add default via 169.254.169.253'
setsid ip netns exec metadata /bin/busybox httpd -p ${METADATA}:80 </dev/null >/dev/null 2>&1
`;

async function makeBucket(): Promise<void> {
  const { endpoint, credentials } = s3;
  const bucket = new S3Client({ endpoint, credentials, region: 'us-east-1', forcePathStyle: true });
  await bucket.send(new CreateBucketCommand({ Bucket: 'results' }));
  bucket.destroy();
}

async function secrets(): Promise<void> {
  const { accessKeyId, secretAccessKey } = s3.credentials;
  await kit.client.create(SECRETS, {
    metadata: { namespace: system, name: 's3' },
    stringData: { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
  });
  await kit.client.create(SECRETS, {
    metadata: {
      namespace: system,
      name: 'replicate',
      labels: { 'worldflux.ai/credential-for': 'replicate' },
      annotations: { 'worldflux.ai/allowed-hosts': cluster.hostAddress },
    },
    stringData: { REPLICATE_API_TOKEN: TOKEN },
  });
}

/** A pod that answers at port 8000 and can be asked to look around. */
async function server(namespace: string, name: string, labels: Record<string, string>): Promise<void> {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace, name, labels },
    spec: {
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'run', image: BUSYBOX_IMAGE, command: ['httpd', '-f', '-p', '8000'] }],
    },
  };
  await cluster.kubectl(['create', '-f', '-'], { input: JSON.stringify(pod) });
  await cluster.kubectl(['-n', namespace, 'wait', '--for=condition=Ready', `pod/${name}`, '--timeout=60s'], {
    timeoutMs: 70_000,
  });
}

async function addressOf(namespace: string, pod: string): Promise<string> {
  return cluster.kubectl(['-n', namespace, 'get', 'pod', pod, '-o', 'jsonpath={.status.podIP}']);
}

async function install(networkPolicy: object): Promise<void> {
  const [repository, tag] = OPERATOR_IMAGE.split(/:(?=[^:]*$)/);
  const { endpoint } = s3;
  const store = { kind: 's3', s3: { bucket: 'results', endpoint, pathStyle: true, credentialsSecret: 's3' } };
  const values = {
    replicas: 2,
    crds: { enabled: false },
    image: { repository, tag },
    store,
    credentialSecrets: ['replicate'],
    networkPolicy,
  };
  const verb = ['upgrade', '--install', 'worldflux-operator', OPERATOR, '--namespace', system];
  await helm([...verb, '--wait', '--timeout', '110s'], { values, kubeconfig: cluster.kubeconfig });
}

const paid = (): object => ({
  apiVersion: 'worldflux.ai/v1alpha1',
  kind: 'RuntimeProfile',
  metadata: { name: 'policies-vendor' },
  spec: {
    runtime: 'replicate',
    replicate: { endpoint: vendor.url, version: VERSION },
    supportLevel: 'Production',
    credentials: { secretRef: { name: 'replicate' } },
    allowedNamespaces: { matchLabels: { 'kubernetes.io/metadata.name': runs } },
    network: { allowPlainHTTP: true, allowPrivateEndpoints: true },
    pricing: { usdPerSecond: '0.001' },
    limits: { maxCostUSDPerRun: '10', maxRunSeconds: 600, maxConcurrentRuns: 5 },
  },
});

/** Cilium's `ipBlock` matches no node, and this API server runs on one. */
const API_SERVER_ON_A_NODE = {
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumNetworkPolicy',
  metadata: { namespace: system, name: 'operator-to-api-server' },
  spec: {
    endpointSelector: { matchLabels: { 'app.kubernetes.io/name': 'worldflux-operator' } },
    egress: [{ toEntities: ['kube-apiserver'] }],
  },
};

const policies = (): object => {
  const outside = [s3.endpoint, vendor.url].map((url) => ({ port: Number(new URL(url).port) }));
  return {
    enabled: true,
    metricsFrom: [
      {
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': elsewhere } },
        podSelector: { matchLabels: { app: 'prometheus' } },
      },
    ],
    egress: [{ to: [{ ipBlock: { cidr: `${cluster.hostAddress}/32` } }], ports: outside }],
    runs: { namespaces: [runs] },
  };
};

/** A run that stays, and answers at port 8000 as well. */
async function standingRun(name: string): Promise<string> {
  await kit.apply(
    kit.shell(name, PROFILE, 'exec httpd -f -p 8000 -h /worldflux/output', { timeouts: { uploadSeconds: 5 } }),
  );
  await kit.until(name, (found) => condition(found, 'Ready')?.reason === 'Running');
  const selector = ['-l', `worldflux.ai/run=${name}`, '-o', 'jsonpath={.items[0].metadata.name}'];
  return cluster.kubectl(['-n', runs, 'get', 'pods', ...selector]);
}

/** Whether a connection from this pod to this place comes about; a shell's `nc` in pods of busybox, Node in the operator's. */
async function reaches(from: { namespace: string; pod: string; container: string }, where: string): Promise<boolean> {
  const [host, port] = where.split(' ') as [string, string];
  const js = `require("net").connect(${port},"${host}").setTimeout(3000).on("connect",()=>process.exit()).on("timeout",()=>process.exit(1)).on("error",()=>process.exit(1))`;
  const probe = from.container === 'run' ? ['sh', '-c', `nc -w 3 ${host} ${port} < /dev/null`] : ['node', '-e', js];
  return cluster
    .kubectl(['-n', from.namespace, 'exec', from.pod, '-c', from.container, '--', ...probe], { timeoutMs: 60_000 })
    .then(
      () => true,
      (error: Error) => {
        if (/exit code 1/.test(error.message)) return false;
        throw error;
      },
    );
}

const ALL = Object.keys(places) as Place[];

/** What of all places this pod reaches; some of them may be elsewhere for it. */
async function reached(
  from: { namespace: string; pod: string; container?: string },
  instead: Partial<typeof places> = {},
): Promise<Place[]> {
  const there = { ...places, ...instead };
  const answers = await Promise.all(ALL.map((place) => reaches({ container: 'run', ...from }, there[place])));
  return ALL.filter((_, i) => answers[i]);
}

const strangers = { namespace: elsewhere, pod: 'stranger' };
const prometheus = { namespace: elsewhere, pod: 'prometheus' };

async function operatorPods(): Promise<string[]> {
  const selector = ['-l', 'app.kubernetes.io/name=worldflux-operator', '--field-selector=status.phase=Running'];
  const names = await cluster.kubectl(['-n', system, 'get', 'pods', ...selector, '-o', 'name']);
  return names.trim().split('\n');
}

let run: { namespace: string; pod: string };

describe('without policies', () => {
  test('everybody reaches everything: what is refused below is there', async () => {
    run = { namespace: runs, pod: await standingRun('standing') };
    places['another run'] = `${await addressOf(runs, await standingRun('other'))} 8000`;
    expect(await reached(run)).toEqual(ALL);
    expect(await reached(strangers)).toEqual(ALL);
    expect(await reached({ namespace: system, pod: (await operatorPods())[0]!, container: 'operator' })).toEqual(ALL);
  });
});

describe('with the policies of the chart', () => {
  beforeAll(async () => {
    await cluster.kubectl(['apply', '-f', '-'], { input: JSON.stringify(API_SERVER_ON_A_NODE) });
    await install(policies());
  });

  test('a run reaches the gateway, the store and other runs of its namespace, and nothing else', async () => {
    expect(await reached(run)).toEqual(['gateway', 'another run', 'store']);
  });

  test('a stranger reaches neither the gateway, nor metrics, nor a run', async () => {
    const closed: Place[] = ['gateway', 'metrics', 'another run'];
    expect(await reached(strangers)).toEqual(ALL.filter((place) => !closed.includes(place)));
  });

  test('Prometheus reaches the metrics, and what strangers reach', async () => {
    const closed: Place[] = ['gateway', 'another run'];
    expect(await reached(prometheus)).toEqual(ALL.filter((place) => !closed.includes(place)));
  });

  test('the operator reaches the gateway of its replica, the API server, the store and its vendor, and nothing else', async () => {
    const pods = await operatorPods();
    expect(pods).toHaveLength(2);
    for (const [i, pod] of pods.entries()) {
      // By its address: a Service may lead a pod to itself, which is nobody's to forbid.
      const other = await addressOf(system, pods[1 - i]!.replace('pod/', ''));
      const replica = { gateway: `${other} 8443`, 'the results API': `${other} 8444`, metrics: `${other} 8080` };
      const found = await reached({ namespace: system, pod, container: 'operator' }, replica);
      expect(found).toEqual(['gateway', 'the API server', 'store', 'the vendor']);
    }
  });

  test('runs come, deliver and are read, at the leader and at the standby, here and at a vendor', async () => {
    const names = ['first', 'second', 'third', 'fourth'];
    const script = `cd /worldflux/output; echo '{"loss": 1}' > metrics.json; echo kept > model; echo written`;
    await kit.apply(
      ...names.map((name) =>
        kit.shell(name, PROFILE, script, { outputs: { artifacts: [{ name: 'model', path: 'model' }] } }),
      ),
      kit.run('bought', {
        runtimeProfileRef: { name: 'policies-vendor' },
        request: { prompt: 'a towel' },
        timeouts: { runSeconds: 300, startupSeconds: 100 },
      }),
    );
    for (const name of names) {
      const finished = await kit.finished(name);
      expect(condition(finished, 'ResultsStored'), name).toMatchObject({ status: 'True' });
      expect(finished.status, name).toMatchObject({
        attemptCount: 1,
        manifest: { metrics: { loss: 1 } },
        artifacts: [{ name: 'model', state: 'Stored' }],
      });
    }
    expect(condition(await kit.finished('bought'), 'Succeeded')).toMatchObject({ status: 'True' });
    const log = resultsPath({ namespace: runs, name: 'first' }, 'log');
    const read = () => cluster.kubectl(['get', '--raw', log]).catch(() => undefined);
    expect(await until('the log', read, { timeoutMs: 60_000 })).toContain('written');
  });

  test('replicas that start under the policies become ready, and one leads', async () => {
    const before = await operatorPods();
    await cluster.kubectl(['-n', system, 'rollout', 'restart', 'deployment/worldflux-operator']);
    await cluster.kubectl(['-n', system, 'rollout', 'status', 'deployment/worldflux-operator', '--timeout=180s'], {
      timeoutMs: 190_000,
    });
    await cluster.kubectl(['-n', system, 'wait', '--for=delete', ...before, '--timeout=60s'], { timeoutMs: 70_000 });
    await kit.apply(kit.shell('after', PROFILE, 'true'));
    expect(condition(await kit.finished('after'), 'ResultsStored')).toMatchObject({ status: 'True' });
  });
});
