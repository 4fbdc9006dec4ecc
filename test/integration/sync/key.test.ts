import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { KubeSyncCluster } from '../../../src/controller/sync/kube-cluster.ts';
import type { KeyRead } from '../../../src/controller/sync/ports.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import { loadClusterConfig } from '../../../src/kube/config.ts';
import { attachCluster } from '../../cluster/index.ts';
import { Kit } from '../../e2e/kit.ts';
import { temporaryFolder } from '../../temporary-folder.ts';

/** Reading a key as somebody who may read nothing but what a namespace has granted. */

const dir = await temporaryFolder('sync-key');
let kit: Kit;
let client: KubeClient;
const OPERATOR = 'sync-key-operator';

const secret = (name: string, data: object, metadata: object = {}) => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name, ...metadata },
  stringData: data,
});

beforeAll(async () => {
  const cluster = await attachCluster(inject('cluster'));
  if (cluster === undefined) throw new Error('the layer has no cluster');
  kit = await Kit.open(cluster, 'sync-key');
  const kubeconfig = parse(await readFile(cluster.kubeconfig, 'utf8')) as {
    users: { user: Record<string, unknown> }[];
  };
  for (const { user } of kubeconfig.users) user['as'] = OPERATOR;
  const file = join(dir, 'kubeconfig');
  await writeFile(file, stringify(kubeconfig));
  client = KubeClient.connect(loadClusterConfig({ file }), { userAgent: 'worldflux-test' });
  const rbac = { apiVersion: 'rbac.authorization.k8s.io/v1', metadata: { name: 'sync-key' } };
  await kit.apply(
    secret('granted', { apiKey: 'wfx_key\n' }, { annotations: { 'worldflux.ai/expires-at': '2030-01-01T00:00:00Z' } }),
    secret('labelled', { apiKey: 'wfx_key' }, { labels: { 'worldflux.ai/credential-for': 'worldflux' } }),
    secret('odd', { apiKey: 'two\nlines' }),
    secret('private', { apiKey: 'wfx_other' }),
    {
      ...rbac,
      kind: 'Role',
      rules: [
        {
          apiGroups: [''],
          resources: ['secrets'],
          resourceNames: ['granted', 'labelled', 'odd', 'gone'],
          verbs: ['get'],
        },
      ],
    },
    {
      ...rbac,
      kind: 'RoleBinding',
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'sync-key' },
      subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: OPERATOR }],
    },
  );
});
afterAll(async () => {
  await client?.close();
  await kit?.close();
});

const read = (name: string, key = 'apiKey', mustBeLabelled = false): Promise<KeyRead> =>
  new KubeSyncCluster(client, () => undefined).readKey(
    { namespace: kit.namespace, name, key, mustBeLabelled },
    AbortSignal.timeout(10_000),
  );

test('a key is read where the namespace grants it, with its expiry', async () => {
  expect(await read('granted')).toEqual({
    found: true,
    value: 'wfx_key',
    version: expect.stringMatching(/^[0-9a-f-]{36}\/\d+$/) as string,
    expiresAt: Date.parse('2030-01-01T00:00:00Z'),
  });
});

test.each([
  ['private', 'apiKey', false, /a Role in that namespace has to grant get/],
  ['gone', 'apiKey', false, /no such Secret/],
  ['granted', 'other', false, /has no key other/],
  ['granted', 'apiKey', true, /needs the label worldflux.ai\/credential-for: worldflux/],
  ['odd', 'apiKey', false, /is no API key/],
])(
  'Secret %s, key %s, label asked for %s: says what would be right, and no value',
  async (name, key, labelled, why) => {
    const answer = await read(name, key, labelled);
    expect(answer).toEqual({ found: false, why: expect.stringMatching(why) as string });
    expect(JSON.stringify(answer)).not.toMatch(/wfx_|lines/);
  },
);

test('a labelled Secret serves where the label is asked for', async () => {
  expect(await read('labelled', 'apiKey', true)).toMatchObject({ found: true });
});
