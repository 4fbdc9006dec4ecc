import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { attachCluster } from '../../cluster/index.ts';
import { Kit } from '../../e2e/kit.ts';
import { installCrds } from '../install-crds.ts';

/** What a reader copies from a page is taken by the API server, with no field that it does not know. */

const ROOT = join(import.meta.dirname, '../../..');
const PAGES = globSync(['README.md', '{docs,images,charts}/**/*.md'], { cwd: ROOT });

interface OnPage {
  kind: string;
  apiVersion?: string;
  metadata: { name: string; namespace?: string };
}

const examples = PAGES.flatMap((page) =>
  [...readFileSync(join(ROOT, page), 'utf8').matchAll(/```yaml\n(.*?)```/gs)]
    .flatMap(([, block]) => parseAllDocuments(block!).map((document) => document.toJS() as OnPage | null))
    .filter((object) => object?.apiVersion === 'worldflux.ai/v1alpha1')
    .map((object) => ({ page, object: object!, title: `${page}: ${object!.kind} ${object!.metadata.name}` })),
);

let kit: Kit;
beforeAll(async () => {
  const cluster = await attachCluster(inject('cluster'));
  if (cluster === undefined) throw new Error('the layer has no cluster');
  await installCrds(cluster);
  kit = await Kit.open(cluster, 'pages');
});
afterAll(() => kit.close());

test('the pages show runs and profiles', () => {
  const shown = examples.map(({ page, object }) => `${page} ${object.kind}`);
  expect(shown).toEqual(
    expect.arrayContaining(['README.md WorldRun', 'docs/first-run.md WorldRun', 'docs/profiles.md RuntimeProfile']),
  );
});

test.each(examples)('$title', async ({ object }) => {
  const { namespace: _elsewhere, ...metadata } = object.metadata;
  const said = await kit.cluster.kubectl(
    ['-n', kit.namespace, 'create', '--dry-run=server', '--validate=strict', '-o', 'name', '-f', '-'],
    { input: JSON.stringify({ ...object, metadata }) },
  );
  expect(said.trim()).toBe(`${object.kind.toLowerCase()}.worldflux.ai/${object.metadata.name}`);
});
