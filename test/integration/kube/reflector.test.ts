import { expect, onTestFinished, test, vi } from 'vitest';
import { KubeClient } from '../../../src/kube/client.ts';
import { Reflector } from '../../../src/kube/reflector.ts';
import { CONFIG_MAPS } from '../../../src/kube/resource.ts';
import type { KubeObject } from '../../../src/kube/resource.ts';
import { Store } from '../../../src/kube/store.ts';
import { startCuttingProxy } from './cutting-proxy.ts';
import { clusterConfig, useCluster } from './setup.ts';

const { client, namespace } = useCluster();
const named = (name: string) => ({ metadata: { namespace, name, labels: { followed: 'yes' } } });

interface Projection {
  readonly name: string;
  readonly uid: string;
  readonly version: string;
}

function follow(through: KubeClient, fieldSelector?: string) {
  const errors: unknown[] = [];
  const changes: string[] = [];
  const store = new Store<KubeObject, Projection>({
    project: ({ metadata }) => ({
      name: metadata?.name ?? '',
      uid: metadata?.uid ?? '',
      version: metadata?.resourceVersion ?? '',
    }),
    onListenerError: (error) => errors.push(error),
  });
  store.subscribe(({ type, old, new: now }) => changes.push(`${type} ${(now ?? old)?.name}`));
  const reflector = new Reflector({
    client: through,
    type: CONFIG_MAPS,
    selection: { namespace, labelSelector: 'followed=yes', fieldSelector },
    target: store,
    onError: (error) => errors.push(error),
    backoff: { baseMs: 5, maxMs: 50 },
  });
  reflector.start();
  onTestFinished(() => reflector.stop());
  return { store, reflector, errors, changes };
}

async function truth(): Promise<Projection[]> {
  const found: Projection[] = [];
  for await (const { metadata } of client.list(CONFIG_MAPS, {
    namespace,
    labelSelector: 'followed=yes',
    pageSize: 50,
  })) {
    found.push({ name: metadata!.name!, uid: metadata!.uid!, version: metadata!.resourceVersion! });
  }
  return found.toSorted((a, b) => a.name.localeCompare(b.name));
}

const sorted = (store: Store<KubeObject, Projection>) =>
  [...store.list()].toSorted((a, b) => a.name.localeCompare(b.name));

test('a store is complete when synced, follows every change, and sees its own writes before the watch does', async () => {
  await client.create(CONFIG_MAPS, named('before'));
  const { store, reflector, errors, changes } = follow(client);
  await reflector.synced;
  expect(sorted(store)).toEqual(await truth());

  const created = await client.create(CONFIG_MAPS, named('own'));
  store.upsert(created);
  expect(store.get(`${namespace}/own`)?.uid).toBe(created.metadata?.uid);
  await client.patch(CONFIG_MAPS, { namespace, name: 'own' }, { merge: { data: { a: '1' } } });
  await client.delete(CONFIG_MAPS, { namespace, name: 'own' });
  await vi.waitFor(() => expect(changes).toContain('deleted own'), { timeout: 10_000 });
  expect(changes.filter((change) => change.endsWith(' own'))).toEqual(['added own', 'updated own', 'deleted own']);
  store.upsert(created);
  expect(store.get(`${namespace}/own`)).toBeUndefined();
  expect(errors).toEqual([]);
});

test('deleted and re-created while the connection was cut is a delete and an add', async () => {
  await using proxy = await startCuttingProxy(clusterConfig());
  const through = KubeClient.connect(proxy.config, { userAgent: 'kube-tests' });
  onTestFinished(() => through.close());
  await client.create(CONFIG_MAPS, named('reborn'));
  const { reflector, changes } = follow(through, 'metadata.name=reborn');
  await reflector.synced;
  proxy.cut();
  await client.delete(CONFIG_MAPS, { namespace, name: 'reborn' });
  await client.create(CONFIG_MAPS, named('reborn'));
  proxy.mend();
  await vi.waitFor(() => expect(changes).toEqual(['added reborn', 'deleted reborn', 'added reborn']), {
    timeout: 10_000,
  });
  await reflector.stop();
});

test('whatever is cut, the store ends equal to the server', async () => {
  await using proxy = await startCuttingProxy(clusterConfig());
  const through = KubeClient.connect(proxy.config, { userAgent: 'kube-tests' });
  onTestFinished(() => through.close());
  const { store, reflector, errors } = follow(through);
  await reflector.synced;

  for (let round = 0; round < 12; round++) {
    if (round % 3 === 0) proxy.cut();
    await Promise.all(
      Array.from({ length: 8 }, async (_, i) => {
        const name = `chaos-${(round * 5 + i) % 20}`;
        const exists = await client.get(CONFIG_MAPS, { namespace, name }).then(
          () => true,
          () => false,
        );
        if (!exists) await client.create(CONFIG_MAPS, named(name));
        else if (i % 2 === 0) await client.delete(CONFIG_MAPS, { namespace, name });
        else await client.patch(CONFIG_MAPS, { namespace, name }, { merge: { data: { round: String(round) } } });
      }),
    );
    if (round % 3 === 1) proxy.mend();
  }
  proxy.mend();
  const expected = await truth();
  await vi.waitFor(() => expect(sorted(store)).toEqual(expected), { timeout: 20_000 });
  expect(errors.length).toBeGreaterThan(0);
  await reflector.stop();
});
