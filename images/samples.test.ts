import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { worldRunSpec } from '../src/crds/world-run.ts';
import { SMOKE_IMAGES } from './index.ts';

const SAMPLES = join(import.meta.dirname, '..', 'manifests', 'samples');

interface Sample {
  metadata: { name: string };
  spec: unknown;
}

const samples = readdirSync(SAMPLES)
  .filter((file) => file.endsWith('.yaml'))
  .map((file) => ({ file, object: parse(readFileSync(join(SAMPLES, file), 'utf8')) as Sample }));

test.each(samples)('$file is valid', ({ object }) => {
  expect(worldRunSpec.safeParse(object.spec).error).toBeUndefined();
});

test.each(SMOKE_IMAGES)('a sample runs the image of $name, and what builds it is there', (image) => {
  const sample = samples.find(({ object }) => object.metadata.name === image.name);
  expect(sample && worldRunSpec.parse(sample.object.spec).image).toBe(image.tag);
  const files = [image.dockerfile, ...(image.requirements === undefined ? [] : [image.requirements])];
  expect(files.filter((file) => !existsSync(join(import.meta.dirname, file)))).toEqual([]);
});
