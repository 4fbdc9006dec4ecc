import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { expect, test } from 'vitest';
import { packageCharts } from '../../../scripts/release/charts.ts';
import { VERSION } from '../../../src/version.ts';
import { render } from '../chart/helm.ts';
import { DIGEST } from '../chart/values.ts';

test('a release’s chart installs the image that was built for it, by digest, and so does its install.yaml', async () => {
  const out = await mkdtemp(join(tmpdir(), 'worldflux-release-'));
  try {
    const image = { repository: 'registry.example/worldflux-operator', digest: DIGEST };
    const files = await packageCharts(out, image);
    expect(files.map((file) => basename(file))).toEqual([
      `worldflux-operator-${VERSION}.tgz`,
      `worldflux-profiles-${VERSION}.tgz`,
      'install.yaml',
    ]);
    const reference = `"${image.repository}@${DIGEST}"`;
    const objects = await render(files[0]!, {});
    expect(JSON.stringify(objects.find(({ kind }) => kind === 'Deployment'))).toContain(reference);
    expect(await readFile(files[2]!, 'utf8')).toContain(`image: ${reference.replaceAll('"', '')}\n`);
    expect((await render(files[1]!, {})).map(({ kind }) => kind)).toEqual(['RuntimeProfile', 'RuntimeProfile']);
  } finally {
    await rm(out, { recursive: true });
  }
});
