import { writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { KubeClient } from '../../../src/kube/client.ts';
import {
  CONFIG_MAPS,
  JOBS,
  NAMESPACES,
  PODS,
  SECRETS,
  SERVICE_ACCOUNTS,
  SUBJECT_ACCESS_REVIEWS,
  TOKEN_REVIEWS,
} from '../../../src/kube/resource.ts';
import { collect } from '../../../src/kube/testing/scripted-server.ts';
import { clusterConfig, useCluster } from './setup.ts';

const { client, namespace } = useCluster();
const named = (name: string) => ({ metadata: { namespace, name } });
const ref = (name: string) => ({ namespace, name });
const suspendedJob = (name: string) => ({
  ...named(name),
  spec: {
    suspend: true,
    template: { spec: { restartPolicy: 'Never', containers: [{ name: 'main', image: 'example.com/wm:1' }] } },
  },
});

describe('writes', () => {
  test('an object is created once, and the second time it is there already', async () => {
    const created = await client.create(CONFIG_MAPS, { ...named('once'), data: { a: '1' } });
    expect(created).toMatchObject({ kind: 'ConfigMap', apiVersion: 'v1', data: { a: '1' } });
    await expect(client.create(CONFIG_MAPS, named('once'))).rejects.toMatchObject({
      kind: 'alreadyExists',
      status: 409,
    });
    await expect(client.get(CONFIG_MAPS, ref('never'))).rejects.toMatchObject({ kind: 'notFound' });
  });

  test('a strict write refuses a field that nobody knows; a dry run leaves nothing', async () => {
    const misspelt = { ...suspendedJob('strict'), spec: { ...suspendedJob('strict').spec, backOffLimit: 0 } };
    await expect(client.create(JOBS, misspelt, { strict: true })).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringContaining('backOffLimit'),
    });
    await client.create(JOBS, suspendedJob('strict'), { strict: true, dryRun: true });
    await expect(client.get(JOBS, ref('strict'))).rejects.toMatchObject({ kind: 'notFound' });
  });

  test('a refused object names its fields', async () => {
    const { metadata } = suspendedJob('refused');
    const spec = { template: { spec: { restartPolicy: 'Sometimes', containers: [] } } };
    await expect(client.create(JOBS, { metadata, spec })).rejects.toMatchObject({
      kind: 'invalid',
      causes: expect.arrayContaining([
        expect.objectContaining({ field: 'spec.template.spec.containers', reason: 'FieldValueRequired' }),
      ]),
    });
  });

  test('server-side apply: each manager owns its fields, a conflict names them, force takes them over', async () => {
    const { metadata } = named('applied');
    await client.apply(CONFIG_MAPS, { metadata, data: { mine: '1' } }, { fieldManager: 'first' });
    await client.apply(CONFIG_MAPS, { metadata, data: { theirs: '1' } }, { fieldManager: 'second' });
    const quarrel = { metadata, data: { mine: '2' } };
    await expect(client.apply(CONFIG_MAPS, quarrel, { fieldManager: 'second' })).rejects.toMatchObject({
      kind: 'conflict',
      causes: [{ field: '.data.mine', reason: 'FieldManagerConflict' }],
    });
    const taken = await client.apply(CONFIG_MAPS, quarrel, { fieldManager: 'second', force: true });
    expect(taken.data).toEqual({ mine: '2' });
  });

  test('server-side apply on the status subresource leaves the spec alone', async () => {
    await client.create(JOBS, suspendedJob('status'));
    const status = { conditions: [{ type: 'example.com/Seen', status: 'True' }] };
    const applied = await client.apply(JOBS, { metadata: named('status').metadata, status } as never, {
      fieldManager: 'watcher',
      force: true,
      subresource: 'status',
    });
    expect(applied.spec?.suspend).toBe(true);
    expect(applied.status?.conditions).toContainEqual(expect.objectContaining({ type: 'example.com/Seen' }));
  });

  test('both kinds of patch, and a replace that came too late', async () => {
    const before = await client.create(CONFIG_MAPS, { ...named('patched'), data: { a: '1' } });
    await client.patch(CONFIG_MAPS, ref('patched'), { merge: { data: { b: '2' } } });
    const json = [{ op: 'remove', path: '/data/a' }];
    expect((await client.patch(CONFIG_MAPS, ref('patched'), { json })).data).toEqual({ b: '2' });
    await expect(client.replace(CONFIG_MAPS, { ...before, data: {} })).rejects.toMatchObject({ kind: 'conflict' });
  });

  test('a delete insists on the uid', async () => {
    const { metadata } = await client.create(CONFIG_MAPS, named('doomed'));
    const another = '00000000-0000-0000-0000-000000000000';
    await expect(client.delete(CONFIG_MAPS, ref('doomed'), { uid: another })).rejects.toMatchObject({
      kind: 'conflict',
    });
    await client.delete(CONFIG_MAPS, ref('doomed'), { uid: metadata?.uid, propagationPolicy: 'Background' });
    await expect(client.delete(CONFIG_MAPS, ref('doomed'))).rejects.toMatchObject({ kind: 'notFound' });
  });
});

describe('reads', () => {
  test('a list comes in pages of one version', async () => {
    const names = Array.from({ length: 25 }, (_, i) => `page-${String(i).padStart(2, '0')}`);
    await Promise.all(
      names.map((name) => client.create(CONFIG_MAPS, { metadata: { namespace, name, labels: { page: 'yes' } } })),
    );
    const pages = await collect(client.pages(CONFIG_MAPS, { namespace, labelSelector: 'page=yes', pageSize: 10 }));
    expect(pages.map((page) => page.items.length)).toEqual([10, 10, 5]);
    expect(new Set(pages.map((page) => page.resourceVersion)).size).toBe(1);
    expect(pages.flatMap((page) => page.items.map((item) => item.metadata?.name))).toEqual(names);
  });

  test('a watch shows what happened since a version', async () => {
    const start = await client.create(CONFIG_MAPS, named('watched'));
    const stop = new AbortController();
    const seen: string[] = [];
    const options = {
      namespace,
      fieldSelector: 'metadata.name=watched',
      resourceVersion: start.metadata?.resourceVersion,
      timeoutSeconds: 60,
      signal: stop.signal,
    };
    await client.patch(CONFIG_MAPS, ref('watched'), { merge: { data: { a: '1' } } });
    await client.delete(CONFIG_MAPS, ref('watched'));
    for await (const event of client.watch(CONFIG_MAPS, options)) {
      seen.push(event.type);
      if (event.type === 'DELETED') break;
    }
    expect(seen).toEqual(['MODIFIED', 'DELETED']);
  });

  test('a pod that was never scheduled has an empty log, and one that never was has none', async () => {
    const schedulingGates = [{ name: 'example.com/never' }];
    await client.create(SERVICE_ACCOUNTS, named('default')).catch(() => {});
    const spec = { containers: [{ name: 'main', image: 'example.com/none:1' }], schedulingGates };
    await client.create(PODS, { ...named('idle'), spec });
    expect(await client.podLog(ref('idle'), { container: 'main', limitBytes: 10 })).toBe('');
    await expect(client.podLog(ref('absent'))).rejects.toMatchObject({ kind: 'notFound' });
  });

  test('many requests at once share sixteen connections', async () => {
    await Promise.all(Array.from({ length: 400 }, () => client.get(NAMESPACES, { name: namespace })));
    const sockets = process.getActiveResourcesInfo().filter((resource) => resource === 'TCPSocketWrap');
    expect(sockets.length).toBeLessThanOrEqual(16 + 4);
  });
});

describe('tokens', () => {
  test('a service account token is minted, reviewed, and may do only what it may', async () => {
    await client.create(SERVICE_ACCOUNTS, named('runner'));
    const minted = await client.createSubresource<{ status: { token: string } }>(
      SERVICE_ACCOUNTS,
      ref('runner'),
      'token',
      {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        spec: { expirationSeconds: 600 },
      },
    );
    const user = `system:serviceaccount:${namespace}:runner`;
    const { token } = minted.status;
    const review = await client.create(TOKEN_REVIEWS, { spec: { token } });
    expect(review.status).toMatchObject({ authenticated: true, user: { username: user } });
    const resourceAttributes = { namespace, verb: 'list', resource: 'secrets' };
    const access = await client.create(SUBJECT_ACCESS_REVIEWS, { spec: { user, resourceAttributes } });
    expect(access.status?.allowed).toBe(false);

    const runner = connectWith(token);
    await expect(collect(runner.list(SECRETS, { namespace }))).rejects.toMatchObject({ kind: 'forbidden' });
    const stranger = connectWith('no-token-at-all');
    await expect(collect(stranger.list(SECRETS, { namespace }))).rejects.toMatchObject({ kind: 'unauthorized' });
  });
});

function connectWith(token: string): KubeClient {
  const dir = mkdtempSync(join(tmpdir(), 'token-'));
  const tokenFile = join(dir, 'token');
  writeFileSync(tokenFile, token);
  const connected = KubeClient.connect(
    { ...clusterConfig(), user: { name: 'runner' }, tokenFile },
    { userAgent: 'runner' },
  );
  onTestFinished(async () => {
    await connected.close();
    rmSync(dir, { recursive: true });
  });
  return connected;
}
