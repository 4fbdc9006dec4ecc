import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { attachCluster, type Cluster } from '../../cluster/index.ts';
import { freePort, startOperator, type OperatorProcess } from '../../e2e/operator-process.ts';
import { temporaryFolder } from '../../temporary-folder.ts';
import { installCrds } from '../install-crds.ts';
import { readExposition, type Family } from './exposition.ts';

/** What docs/observability.md promises, seen on a running operator. */

const dir = await temporaryFolder('observability');
const PAGE = join(import.meta.dirname, '..', '..', '..', 'docs', 'observability.md');
let cluster: Cluster;
let operator: OperatorProcess;

beforeAll(async () => {
  const attached = await attachCluster(inject('cluster'));
  if (attached === undefined) throw new Error('the layer has no cluster');
  cluster = attached;
  await installCrds(cluster);
  const namespace = 'worldflux-observability';
  await cluster.kubectl(['create', 'namespace', namespace]);
  operator = await startOperator({ cluster, dir, gatewayPort: await freePort(), namespace });
});

afterAll(async () => {
  await operator?.stop();
  await cluster?.kubectl(['delete', 'runtimeprofile', 'observed', '--ignore-not-found']);
});

const scrape = async (): Promise<ReadonlyMap<string, Family>> =>
  readExposition(await (await fetch(`${operator.metricsUrl}/metrics`)).text());

const ask = async (path: string) => {
  const response = await fetch(`${operator.metricsUrl}${path}`);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
};

/** Metrics as the page lists them; "the same" takes the labels of the row above. */
async function readTable(): Promise<Map<string, { type: string; labels: string[] }>> {
  const rows = new Map<string, { type: string; labels: string[] }>();
  let above: string[] = [];
  for (const line of (await readFile(PAGE, 'utf8')).split('\n')) {
    const [, name, type, labels = ''] =
      /^\| `([a-z_]+)`\s*\| (counter|gauge|histogram)\s*\| ([^|]*)\|/.exec(line) ?? [];
    if (name === undefined || type === undefined) continue;
    const own = labels.trim() === 'the same' ? above : labels.split(',').flatMap((label) => label.trim() || []);
    above = own;
    rows.set(name, { type, labels: own });
  }
  return rows;
}

describe('/metrics', () => {
  test('is exposition that a strict reader accepts, and holds what the page lists, no more and no less', async () => {
    const families = await scrape();
    const ours = [...families.values()].filter(({ name }) => !/^(process|nodejs)_/.test(name));
    const exported = new Map(ours.map(({ name, type }) => [name, type]));
    const listed = new Map([...(await readTable())].map(([name, { type }]) => [name, type]));
    expect(exported).toEqual(listed);
  });

  test('has the labels of the page wherever something was counted', async () => {
    const table = await readTable();
    const counted = [...(await scrape()).values()].filter(
      ({ name, labels }) => table.has(name) && labels !== undefined,
    );
    expect(counted.length).toBeGreaterThan(10);
    for (const { name, labels } of counted)
      expect(labels?.toSorted(), name).toEqual(table.get(name)?.labels.toSorted());
  });

  test('counts requests to the API server, and shows who leads', async () => {
    await vi.waitFor(
      async () => {
        const families = await scrape();
        const sample = (name: string, labels: Record<string, string>) =>
          families
            .get(name)
            ?.samples.find((s) => Object.entries(labels).every(([key, value]) => s.labels[key] === value));
        expect(sample('leader_election_master_status', { name: 'worldflux-operator' })?.value).toBe(1);
        const requests = sample('rest_client_requests_total', { code: '200', method: 'GET' });
        expect(requests?.value).toBeGreaterThan(3);
        expect(requests?.labels['host']).toMatch(/^[^/]+:\d+$/);
      },
      { timeout: 30_000, interval: 200 },
    );
    expect(await ask('/leaderz')).toMatchObject({ status: 200, body: { status: 'leading' } });
  });
});

describe('/readyz', () => {
  test('of the operator, and of a profile as its doctor finds it', async () => {
    await vi.waitFor(async () => expect(await ask('/readyz')).toMatchObject({ status: 200 }), { timeout: 30_000 });
    expect(await ask('/readyz/observed')).toMatchObject({
      status: 503,
      body: { status: 'provider_unconfigured', traffic: 'drain' },
    });
    const profile = (local: object) => ({
      apiVersion: 'worldflux.ai/v1alpha1',
      kind: 'RuntimeProfile',
      metadata: { name: 'observed' },
      spec: { runtime: 'local', supportLevel: 'Production', local },
    });
    await cluster.kubectl(['apply', '-f', '-'], { input: JSON.stringify(profile({ image: 'Not An Image' })) });
    await vi.waitFor(
      async () => {
        const { body } = await ask('/readyz?profile=observed');
        expect(body).toMatchObject({ checks: { provider: 'local' }, doctor: { issues: ['observed: image'] } });
      },
      { timeout: 30_000, interval: 200 },
    );
    await cluster.kubectl(['apply', '-f', '-'], { input: JSON.stringify(profile({ image: 'busybox' })) });
    await vi.waitFor(
      async () =>
        expect(await ask('/readyz/observed')).toMatchObject({
          status: 200,
          body: { status: 'ready', traffic: 'accept', doctor: { provider_count: 1, issue_count: 0 } },
        }),
      { timeout: 30_000, interval: 200 },
    );
  });
});
