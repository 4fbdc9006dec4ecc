import { X509Certificate } from 'node:crypto';
import { expect, test } from 'vitest';
import { GatewayCertificate } from '../../../src/controller/certificate/gateway-certificate.ts';
import { SECRETS } from '../../../src/kube/resource.ts';
import { useCluster } from '../kube/setup.ts';

/** The gateway's authority is one for all replicas: a pod trusts it for as long as it lives. */

const { client, namespace } = useCluster();
const REPLICAS = 8;
const HOSTS = ['worldflux-operator-gateway.worldflux-system.svc'];
const SECRET = { namespace, name: 'worldflux-operator-gateway-tls' };

const start = (hosts = HOSTS): Promise<GatewayCertificate> =>
  GatewayCertificate.ensure(client, namespace, hosts, AbortSignal.timeout(30_000));

async function startTogether(hosts = HOSTS): Promise<GatewayCertificate[]> {
  return Promise.all(Array.from({ length: REPLICAS }, () => start(hosts)));
}

const authorities = (all: readonly GatewayCertificate[]): Set<string> => new Set(all.map(({ caPem }) => caPem));

function serves({ serving, caPem }: GatewayCertificate, host: string): boolean {
  const certificate = new X509Certificate(serving.certPem);
  return certificate.checkHost(host) !== undefined && certificate.verify(new X509Certificate(caPem).publicKey);
}

test('replicas that start at the same moment, with nothing there yet, agree on one authority', async () => {
  const all = await startTogether();
  const [agreed, ...others] = authorities(all);
  expect(others).toEqual([]);
  for (const replica of all) expect(serves(replica, HOSTS[0]!)).toBe(true);
  const { data } = await client.get(SECRETS, SECRET);
  expect(Buffer.from(data?.['ca.crt'] ?? '', 'base64').toString()).toBe(agreed);
  expect((await start()).caPem).toBe(agreed);
});

test('a name that is new makes another certificate and keeps the authority, whoever is first', async () => {
  const { caPem } = await start();
  const renamed = [...HOSTS, 'results.example.svc'];
  const all = await startTogether(renamed);
  expect([...authorities(all)]).toEqual([caPem]);
  expect(new Set(all.map(({ serving }) => serving.certPem)).size).toBe(1);
  for (const replica of all) for (const host of renamed) expect(serves(replica, host)).toBe(true);
});

test('a Secret that somebody emptied is filled once', async () => {
  const found = await client.get(SECRETS, SECRET);
  await client.replace(SECRETS, { ...found, data: { 'tls.crt': '', 'tls.key': '' } });
  const all = await startTogether();
  expect(authorities(all).size).toBe(1);
  expect(new Set(all.map(({ serving }) => serving.certPem)).size).toBe(1);
});
