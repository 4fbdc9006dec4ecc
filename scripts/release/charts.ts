import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseDocument } from 'yaml';
import { run } from '../../test/cluster/process.ts';
import { findHelm } from '../chart/helm.ts';
import { CHARTS, renderInstall } from '../chart/install.ts';

/**
 * Packages both charts into `out`, the operator's with its image by digest: what is installed is what was tested, whatever
 * happens to the tag. Beside them `install.yaml`, the same without helm. Answers the paths.
 */
export async function packageCharts(out: string, image: { repository: string; digest: string }): Promise<string[]> {
  const helm = await findHelm({ install: true });
  const draft = await mkdtemp(join(tmpdir(), 'worldflux-charts-'));
  try {
    await cp(CHARTS, draft, { recursive: true });
    const file = join(draft, 'worldflux-operator', 'values.yaml');
    const values = parseDocument(await readFile(file, 'utf8'));
    values.setIn(['image', 'repository'], image.repository);
    values.setIn(['image', 'digest'], image.digest);
    await writeFile(file, values.toString({ lineWidth: 0 }));
    await mkdir(out, { recursive: true });
    const packed: string[] = [];
    for (const chart of ['worldflux-operator', 'worldflux-profiles']) {
      // It says where it wrote to, at the end of a sentence.
      const said = await run([helm, 'package', join(draft, chart), '--destination', out]);
      packed.push(said.trim().replace(/^.*: /s, ''));
    }
    const install = join(out, 'install.yaml');
    await writeFile(install, await renderInstall(helm, draft));
    return [...packed, install];
  } finally {
    await rm(draft, { recursive: true });
  }
}

if (import.meta.main) {
  const [out, repository, digest] = process.argv.slice(2);
  if (out === undefined || repository === undefined || !/^sha256:[0-9a-f]{64}$/.test(digest ?? '')) {
    console.error('usage: node scripts/release/charts.ts FOLDER REPOSITORY sha256:...');
    process.exitCode = 64;
  } else {
    for (const file of await packageCharts(out, { repository, digest: digest! })) console.log(file);
  }
}
