import { join } from 'node:path';
import { buildImage } from './images.ts';
import { run } from './process.ts';

export const OPERATOR_IMAGE = 'localhost/worldflux/operator:test';
const ROOT = join(import.meta.dirname, '..', '..');

/** Bundles the operator as it stands in the checkout and returns the archive of its image, tagged `OPERATOR_IMAGE`. */
export async function operatorImage(signal?: AbortSignal): Promise<string> {
  await run([process.execPath, join(ROOT, 'scripts', 'bundle.ts')], { cwd: ROOT, signal });
  return buildImage({
    context: ROOT,
    dockerfile: 'Dockerfile',
    tag: OPERATOR_IMAGE,
    base: 'node',
    cacheKeyFiles: ['dist/main.js', 'dist/collector.mjs'],
    ...(signal && { signal }),
  });
}
