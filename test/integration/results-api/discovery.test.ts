import { afterAll, beforeAll, expect, test } from 'vitest';
import { fileStore } from '../results/stores.ts';
import type { StoreUnderTest } from '../results/store-conformance.ts';
import { createRun } from './finished-run.ts';
import { Served } from './served.ts';

let under: StoreUnderTest;
let served: Served;

beforeAll(async () => {
  under = await fileStore();
  served = await Served.start(under.store);
});
afterAll(async () => {
  await served?.stop();
  await under?.stop();
});

test('the group is among the API versions, and nothing complains about its discovery', async () => {
  expect(await served.admin.kubectl('api-versions')).toContain('results.worldflux.ai/v1alpha1');
  expect(await served.admin.kubectl('api-resources', '--api-group=worldflux.ai', '-o', 'name')).toContain(
    'worldruns.worldflux.ai',
  );
  const list = JSON.parse(await served.admin.kubectl('get', '--raw', '/apis/results.worldflux.ai/v1alpha1')) as object;
  expect(list).toMatchObject({
    kind: 'APIResourceList',
    resources: [
      { name: 'worldruns/log', kind: 'WorldRunLog', namespaced: true, verbs: ['get'] },
      { name: 'worldruns/manifest' },
      { name: 'worldruns/artifacts' },
      { name: 'worldruns/events' },
    ],
  });
});

test('the API server’s aggregated discovery holds it', async () => {
  const answer = await served.admin.kubectl('get', '--raw', '/apis/results.worldflux.ai');
  expect(JSON.parse(answer)).toMatchObject({ kind: 'APIGroup', preferredVersion: { version: 'v1alpha1' } });
});

test('`worldruns` still means one thing', async () => {
  const namespace = await served.namespace();
  await createRun(served.client, { namespace, name: 'plain' });
  expect(await served.admin.kubectl('get', 'worldruns', '-n', namespace, '-o', 'name')).toBe(
    'worldrun.worldflux.ai/plain\n',
  );
});

test.each(['/openapi/v3/apis/results.worldflux.ai/v1alpha1', '/openapi/v2'])(
  'its OpenAPI document becomes a part of the API server’s at %s',
  async (document) => {
    const path = '/apis/results.worldflux.ai/v1alpha1/namespaces/{namespace}/worldruns/{name}/artifacts';
    // The API server fetches it in its own time: at once, or a minute after a try that came too early.
    const paths = async (): Promise<object> => {
      const text = await served.admin.kubectl('get', '--raw', document).catch(() => '{"paths":{}}');
      return (JSON.parse(text) as { paths: object }).paths;
    };
    await expect.poll(paths, { timeout: 150_000, interval: 1000 }).toHaveProperty([path, 'get', 'parameters']);
  },
);

test('nothing went wrong unheard', () => {
  expect(served.complaints).toEqual([]);
});
