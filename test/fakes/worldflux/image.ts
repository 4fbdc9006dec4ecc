import { join } from 'node:path';
import { build } from 'esbuild';
import { buildImage } from '../../cluster/images.ts';

export const FAKE_IMAGE = 'localhost/worldflux/fake:test';

/** Bundles the stand-in and returns the archive of its image, tagged `FAKE_IMAGE`. */
export async function fakeImage(signal?: AbortSignal): Promise<string> {
  const context = import.meta.dirname;
  await build({
    entryPoints: [join(context, 'main.ts')],
    outfile: join(context, 'dist', 'main.js'),
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    // Fastify is CommonJS and calls `require` for Node's own modules, which an ES module does not have.
    banner: {
      js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
    },
    logLevel: 'warning',
  });
  return buildImage({
    context,
    dockerfile: 'Dockerfile',
    tag: FAKE_IMAGE,
    base: 'node',
    cacheKeyFiles: ['dist/main.js'],
    ...(signal && { signal }),
  });
}
