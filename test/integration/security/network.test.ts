import { BlockList } from 'node:net';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { stringify } from 'yaml';
import { LABELS, MANAGER } from '../../../src/controller/identity.ts';
import { attachCluster, type Cluster } from '../../cluster/index.ts';
import { OPERATOR, render, type KubeObject } from '../chart/helm.ts';

/** What the chart's NetworkPolicies say. What then comes through is tested in `test/peers/network-policies.test.ts`. */

interface Peer {
  namespaceSelector?: { matchLabels?: Record<string, string> };
  podSelector?: { matchLabels: Record<string, string> };
  ipBlock?: { cidr: string; except: string[] };
}
interface Rule {
  from?: Peer[];
  to?: Peer[];
  ports?: { port: number | string; protocol?: string }[];
}
interface PolicySpec {
  podSelector: { matchLabels: Record<string, string> };
  policyTypes: string[];
  ingress?: Rule[];
  egress?: Rule[];
}

const RUN_PODS = { podSelector: { matchLabels: { [LABELS.managedBy]: MANAGER } } };
const MIRROR = { to: [{ ipBlock: { cidr: '10.9.0.0/16' } }], ports: [{ port: 443 }] };
const VALUES = { networkPolicy: { enabled: true, runs: { namespaces: ['team-a', 'team-b'], egress: [MIRROR] } } };
const DNS = { ports: [53, 53].map((port, i) => ({ port, protocol: ['UDP', 'TCP'][i] })) };

async function policies(values: object): Promise<Record<string, PolicySpec>> {
  const found = (await render(OPERATOR, values)).filter(({ kind }) => kind === 'NetworkPolicy');
  return Object.fromEntries(
    found.map(({ metadata, spec }) => [`${metadata.namespace}/${metadata.name}`, spec as unknown as PolicySpec]),
  );
}

/** Ports and labels of the operator's pods, from the Deployment itself. */
async function operatorPod(): Promise<{ labels: Record<string, string>; ports: Record<string, number> }> {
  const { spec } = (await render(OPERATOR, {})).find(({ kind }) => kind === 'Deployment') as KubeObject;
  const { metadata, spec: pod } = spec!['template'] as {
    metadata: { labels: Record<string, string> };
    spec: { containers: { ports: { name: string; containerPort: number }[] }[] };
  };
  return {
    labels: metadata.labels,
    ports: Object.fromEntries(pod.containers[0]!.ports.map(({ name, containerPort }) => [name, containerPort])),
  };
}

test('there is none that nobody asked for', async () => {
  expect(await policies({})).toEqual({});
  expect(Object.keys(await policies(VALUES)).toSorted()).toEqual([
    'team-a/worldflux-runs',
    'team-b/worldflux-runs',
    'worldflux-system/worldflux-operator',
  ]);
});

describe('the pods of runs', () => {
  test('reach DNS, each other, the gateway, and what the values add; nobody else reaches them', async () => {
    const { labels, ports } = await operatorPod();
    const spec = (await policies(VALUES))['team-a/worldflux-runs']!;
    expect(spec.podSelector).toEqual(RUN_PODS.podSelector);
    expect(spec.policyTypes).toEqual(['Ingress', 'Egress']);
    expect(spec.ingress).toEqual([{ from: [RUN_PODS] }]);
    const gateway = {
      to: [
        {
          namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'worldflux-system' } },
          podSelector: { matchLabels: expect.anything() },
        },
      ],
      ports: [{ port: ports['gateway'] }],
    };
    expect(spec.egress).toEqual([DNS, { to: [RUN_PODS] }, gateway, MIRROR]);
    const selected = spec.egress![2]!.to![0]!.podSelector!.matchLabels;
    expect(labels).toMatchObject(selected);
  });

  test.each([
    ['', 443],
    ['https://minio.example', 443],
    ['http://minio.example', 80],
    ['https://minio.example:9000', 9000],
  ])('reach the S3 store at %s, and no metadata service beside it', async (endpoint, port) => {
    const store = { kind: 's3', s3: { bucket: 'results', endpoint } };
    const spec = (await policies({ ...VALUES, store }))['team-b/worldflux-runs']!;
    const [added, ...rest] = spec.egress!.slice(3);
    expect(rest).toEqual([MIRROR]);
    expect(added!.ports).toEqual([{ port }]);
    expect(added!.to).toContainEqual({ namespaceSelector: {} });
    const blocks = added!.to!.flatMap(({ ipBlock }) => ipBlock ?? []);
    expect(blocks.map(({ cidr }) => cidr)).toEqual(['0.0.0.0/0', '::/0']);
    const metadata = new BlockList();
    for (const range of blocks.flatMap(({ except }) => except)) {
      const [network, bits] = range.split('/') as [string, string];
      metadata.addSubnet(network, Number(bits), network.includes(':') ? 'ipv6' : 'ipv4');
    }
    expect(metadata.check('169.254.169.254')).toBe(true);
    expect(metadata.check('fd00:ec2::254', 'ipv6')).toBe(true);
  });
});

describe('the operator', () => {
  test('is reached at its gateway by runs and by its replicas alone', async () => {
    const { labels } = await operatorPod();
    const spec = (await policies(VALUES))['worldflux-system/worldflux-operator']!;
    expect(labels).toMatchObject(spec.podSelector.matchLabels);
    expect(spec.policyTypes).toEqual(['Ingress']);
    expect(spec.ingress).toEqual([
      {
        from: [{ namespaceSelector: {}, ...RUN_PODS }, { podSelector: { matchLabels: spec.podSelector.matchLabels } }],
        ports: [{ port: 'gateway' }],
      },
      { ports: [{ port: 'results-api' }] },
      { ports: [{ port: 'metrics' }] },
    ]);
  });

  test('goes where the values say, to DNS and to its other replicas, once they say anything', async () => {
    const egress = [{ ports: [{ port: 443 }], to: [{ ipBlock: { cidr: '0.0.0.0/0', except: ['169.254.0.0/16'] } }] }];
    const spec = (await policies({ networkPolicy: { enabled: true, egress } }))['worldflux-system/worldflux-operator']!;
    expect(spec.policyTypes).toEqual(['Ingress', 'Egress']);
    // A standby hands what it receives on to the leader.
    const replicas = { to: [{ podSelector: { matchLabels: spec.podSelector.matchLabels } }], ports: [{ port: 8443 }] };
    expect(spec.egress).toEqual([DNS, replicas, ...egress]);
  });
});

describe('a real API server', () => {
  let cluster: Cluster;
  const OWN = ['network-a', 'network-b', 'network-system'];
  beforeAll(async () => {
    cluster = (await attachCluster(inject('cluster')))!;
    for (const name of OWN)
      await cluster.kubectl(['apply', '-f', '-'], {
        input: stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }),
      });
  });
  afterAll(() => cluster.kubectl(['delete', 'namespace', ...OWN, '--wait=false']));

  test('takes them all', async () => {
    const objects = (
      await render(OPERATOR, { networkPolicy: { enabled: true, runs: { namespaces: OWN.slice(0, 2) } } }, OWN[2])
    ).filter(({ kind }) => kind === 'NetworkPolicy');
    const said = await cluster.kubectl(['apply', '--server-side', '--dry-run=server', '--validate=strict', '-f', '-'], {
      input: objects.map((object) => stringify(object)).join('---\n'),
    });
    expect(said.trim().split('\n')).toHaveLength(3);
  });
});
