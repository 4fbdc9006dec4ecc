import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { stringify } from 'yaml';
import { z } from 'zod';
import { manifestSchema } from '../src/crds/manifest.ts';
import { runtimeProfileCrd, worldRunCrd } from '../src/crds/to-crd.ts';
import { docExamples } from './doc-examples.ts';
import { evidencePage, readEvidence } from './live-evidence.ts';
import { referencePages } from './reference.ts';
import { crdTemplate } from './chart/crd-template.ts';
import { dashboard } from './chart/dashboard.ts';
import { findHelm } from './chart/helm.ts';
import { renderInstall, renderMonitoring, renderProfiles } from './chart/install.ts';

/**
 * Writes everything that is derived from the zod schemas and from pages of the documentation, and what is derived from
 * that. `--check` writes nothing and fails when a file differs, so that a schema change cannot land without its CRD.
 */

const root = join(import.meta.dirname, '..');
const header = '# Generated from src/crds by `npm run generate`.\n';
const yaml = (value: unknown) => header + stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });
const check = process.argv.includes('--check');

const files: Record<string, string> = {
  'manifests/crds/worldruns.yaml': yaml(worldRunCrd),
  'manifests/crds/runtimeprofiles.yaml': yaml(runtimeProfileCrd),
  'charts/worldflux-operator/templates/crds/worldruns.yaml': header + crdTemplate(worldRunCrd),
  'charts/worldflux-operator/templates/crds/runtimeprofiles.yaml': header + crdTemplate(runtimeProfileCrd),
  'charts/worldflux-operator/monitoring/dashboard.json': `${JSON.stringify(dashboard(), null, 2)}\n`,
  'docs/reference/manifest.schema.json': `${JSON.stringify(z.toJSONSchema(manifestSchema), null, 2)}\n`,
  'docs/runtimes/evidence.md': evidencePage(readEvidence(root)),
  ...docExamples(root),
  ...referencePages,
};

let stale = 0;
async function hold(path: string, text: string): Promise<void> {
  const file = join(root, path);
  const before = await readFile(file, 'utf8').catch(() => '');
  if (before === text) return;
  stale += 1;
  if (check) {
    console.error(`${path} is not what it is generated from: run \`npm run generate\``);
    return;
  }
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
  console.log(`wrote ${path}`);
}

for (const [path, text] of Object.entries(files)) await hold(path, text);

// Last, because it renders the chart as it now lies on disk.
const helm = await findHelm({ install: !check });
if (helm === undefined)
  console.warn('manifests/install.yaml, profiles.yaml and monitoring.yaml were not looked at: that needs helm');
else {
  await hold('manifests/install.yaml', await renderInstall(helm));
  await hold('manifests/profiles.yaml', await renderProfiles(helm));
  await hold('manifests/monitoring.yaml', await renderMonitoring(helm));
}

process.exitCode = check && stale > 0 ? 1 : 0;
