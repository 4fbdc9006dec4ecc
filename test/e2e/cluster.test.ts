import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { stringify } from 'yaml';
import { attachCluster, type Cluster } from '../cluster/index.ts';
import { BUSYBOX_IMAGE, busyboxImage } from '../cluster/small-images.ts';

/** What the operator's own tests take for granted of the cluster they run on. */
const NAMESPACE = `cluster-itself-${process.pid}`;
let cluster: Cluster;

beforeAll(async () => {
  const attached = await attachCluster(inject('cluster'));
  if (attached === undefined) throw new Error('the layer has no cluster');
  cluster = attached;
  await cluster.loadImage(await busyboxImage());
  await cluster.kubectl(['create', 'namespace', NAMESPACE]);
});

afterAll(async () => {
  await cluster.kubectl(['delete', 'namespace', NAMESPACE, '--wait=false']);
});

const kubectl = (...args: string[]): Promise<string> =>
  cluster.kubectl(['-n', NAMESPACE, ...args], { timeoutMs: 100_000 });
const apply = (object: object): Promise<string> =>
  cluster.kubectl(['-n', NAMESPACE, 'apply', '-f', '-'], { input: stringify(object) });
const shell = (script: string, more: object = {}): object => ({
  name: 'main',
  image: BUSYBOX_IMAGE,
  command: ['sh', '-c', script],
  ...more,
});
const askingForGpus = (count: number): object =>
  shell('exit 0', { resources: { limits: { 'nvidia.com/gpu': count } } });
const fetchUntilServed = (url: string): string => `until wget -q -O - ${url} 2>/dev/null; do sleep 0.2; done`;

function job(name: string, podSpec: object): object {
  const template = { metadata: { labels: { app: name } }, spec: { restartPolicy: 'Never', ...podSpec } };
  return { apiVersion: 'batch/v1', kind: 'Job', metadata: { name }, spec: { backoffLimit: 0, template } };
}

async function finished(name: string): Promise<string> {
  return kubectl(
    'wait',
    '--for=jsonpath={.status.conditions[?(@.status=="True")].type}',
    `job/${name}`,
    '--timeout=90s',
  );
}

describe('the node', () => {
  test('is Ready', async () => {
    const ready = await kubectl(
      'get',
      'nodes',
      '-o',
      'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}',
    );
    expect(ready).toBe('True');
  });

  test('stops a native sidecar after the main container, which can still read what that one wrote', async () => {
    const out = { volumeMounts: [{ name: 'out', mountPath: '/out' }] };
    const wait = 'trap "cat /out/said; exit 0" TERM; while :; do sleep 1 & wait $!; done';
    const sidecar = { ...shell(wait, out), name: 'sidecar', restartPolicy: 'Always' };
    const volumes = [{ name: 'out', emptyDir: { medium: 'Memory', sizeLimit: '10Mi' } }];
    await apply(
      job('sidecar', {
        initContainers: [sidecar],
        containers: [shell('echo the last word > /out/said', out)],
        volumes,
      }),
    );
    await kubectl('wait', '--for=condition=Complete', 'job/sidecar', '--timeout=90s');
    expect(await kubectl('logs', 'job/sidecar', '-c', 'sidecar')).toBe('the last word\n');
  });

  test('resolves a Service and each Pod of a headless one, and routes to both', async () => {
    const server = {
      ...shell('mkdir /www && echo served > /www/index.html && httpd -f -p 8080 -h /www'),
      ports: [{ containerPort: 8080 }],
    };
    await apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'server', labels: { app: 'server' } },
      spec: {
        hostname: 'server-0',
        subdomain: 'peers',
        containers: [{ ...server, readinessProbe: { tcpSocket: { port: 8080 } } }],
      },
    });
    const service = { selector: { app: 'server' }, ports: [{ port: 80, targetPort: 8080 }] };
    await apply({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'web' }, spec: service });
    await apply({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'peers' },
      spec: { ...service, clusterIP: 'None' },
    });
    await kubectl('wait', '--for=condition=Ready', 'pod/server', '--timeout=60s');
    const script = `${fetchUntilServed(`http://web.${NAMESPACE}.svc`)}; ${fetchUntilServed('http://server-0.peers:8080')}`;
    await apply(job('client', { activeDeadlineSeconds: 60, containers: [shell(script)] }));
    await kubectl('wait', '--for=condition=Complete', 'job/client', '--timeout=90s');
    expect(await kubectl('logs', 'job/client')).toBe('served\nserved\n');
  });

  test('reports a container that used up its memory as OOMKilled', async () => {
    const hungry = shell('tail /dev/zero', { resources: { limits: { memory: '24Mi' } } });
    await apply(job('hungry', { containers: [hungry] }));
    await finished('hungry');
    const path = 'jsonpath={.items[0].status.containerStatuses[0].state.terminated.reason}';
    expect(await kubectl('get', 'pods', '-l', 'app=hungry', '-o', path)).toBe('OOMKilled');
  });

  test('binds a claim of the default class to a volume that a user without rights can write', async () => {
    const claim = { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } };
    await apply({ apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name: 'kept' }, spec: claim });
    const mounts = { volumeMounts: [{ name: 'kept', mountPath: '/kept' }] };
    await apply(
      job('writer', {
        securityContext: { runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001 },
        containers: [shell('echo kept > /kept/file && cat /kept/file', mounts)],
        volumes: [{ name: 'kept', persistentVolumeClaim: { claimName: 'kept' } }],
      }),
    );
    await kubectl('wait', '--for=condition=Complete', 'job/writer', '--timeout=90s');
    expect(await kubectl('logs', 'job/writer')).toBe('kept\n');
  });

  test('evicts a Pod that writes more than the size limit of its volume', async () => {
    const mounts = { volumeMounts: [{ name: 'out', mountPath: '/out' }] };
    const volumes = [{ name: 'out', emptyDir: { sizeLimit: '1Mi' } }];
    await apply(
      job('large', { containers: [shell('head -c 20000000 /dev/zero > /out/large; sleep 300', mounts)], volumes }),
    );
    await finished('large');
    const message = await kubectl('get', 'pods', '-l', 'app=large', '-o', 'jsonpath={.items[0].status.reason}');
    expect(message).toBe('Evicted');
  });

  test('places and refuses Pods by an extended resource', async () => {
    await cluster.patchNodeCapacity('nvidia.com/gpu', 1);
    await apply(job('gpu-two', { containers: [askingForGpus(2)] }));
    await apply(job('gpu-one', { containers: [askingForGpus(1)] }));
    await kubectl('wait', '--for=condition=Complete', 'job/gpu-one', '--timeout=90s');
    const unschedulable = 'jsonpath={.items[0].status.conditions[?(@.type=="PodScheduled")].message}';
    expect(await kubectl('get', 'pods', '-l', 'app=gpu-two', '-o', unschedulable)).toContain(
      'Insufficient nvidia.com/gpu',
    );
  });

  test('names the Pod in the review of a token that was bound to it', async () => {
    const projected = {
      sources: [{ serviceAccountToken: { path: 'token', audience: 'worldflux-test', expirationSeconds: 600 } }],
    };
    const mounts = { volumeMounts: [{ name: 'token', mountPath: '/token' }] };
    await apply(
      job('token', { containers: [shell('cat /token/token', mounts)], volumes: [{ name: 'token', projected }] }),
    );
    await kubectl('wait', '--for=condition=Complete', 'job/token', '--timeout=90s');
    const token = await kubectl('logs', 'job/token');
    const review = {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenReview',
      spec: { token, audiences: ['worldflux-test'] },
    };
    const answer = JSON.parse(
      await cluster.kubectl(['create', '-o', 'json', '-f', '-'], { input: stringify(review) }),
    ) as {
      status: { authenticated?: boolean; user?: { extra?: Record<string, string[]> } };
    };
    expect(answer.status.authenticated).toBe(true);
    const pod = await kubectl(
      'get',
      'pods',
      '-l',
      'app=token',
      '-o',
      'jsonpath={.items[0].metadata.name}/{.items[0].metadata.uid}',
    );
    const extra = answer.status.user?.extra ?? {};
    expect(`${extra['authentication.kubernetes.io/pod-name']}/${extra['authentication.kubernetes.io/pod-uid']}`).toBe(
      pod,
    );
  });

  test('is reported lost when its kubelet stops, and comes back with what it offered', async () => {
    await cluster.patchNodeCapacity('nvidia.com/gpu', 1);
    await cluster.stopNode();
    await kubectl('wait', '--for=condition=Ready=Unknown', 'nodes', '--all', '--timeout=90s');
    await cluster.startNode();
    await kubectl('wait', '--for=condition=Ready', 'nodes', '--all', '--timeout=60s');
    const gpus = await kubectl('get', 'nodes', '-o', 'jsonpath={.items[*].status.allocatable.nvidia\\.com/gpu}');
    expect(gpus).toBe('1');
  });
});
