import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { stringify } from 'yaml';
import { z } from 'zod';
import { manifestSchema } from '../src/crds/manifest.ts';
import { runtimeProfileCrd, worldRunCrd } from '../src/crds/to-crd.ts';

/**
 * Writes everything that is derived from the zod schemas. `--check` writes nothing and fails when a file differs, so
 * that a schema change cannot land without its CRD.
 */

const root = join(import.meta.dirname, '..');
const header = '# Generated from src/crds by `npm run generate`.\n';
const yaml = (value: unknown) => header + stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });

const files: Record<string, string> = {
  'manifests/crds/worldruns.yaml': yaml(worldRunCrd),
  'manifests/crds/runtimeprofiles.yaml': yaml(runtimeProfileCrd),
  'docs/reference/manifest.schema.json': `${JSON.stringify(z.toJSONSchema(manifestSchema), null, 2)}\n`,
};

const check = process.argv.includes('--check');
let stale = 0;
for (const [path, text] of Object.entries(files)) {
  const file = join(root, path);
  const before = await readFile(file, 'utf8').catch(() => '');
  if (before === text) continue;
  stale += 1;
  if (check) {
    console.error(`${path} is not what src/crds generates: run \`npm run generate\``);
    continue;
  }
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
  console.log(`wrote ${path}`);
}
process.exitCode = check && stale > 0 ? 1 : 0;
