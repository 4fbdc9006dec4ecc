import { chmod, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';

/**
 * Puts each program and all it depends on into one file: `dist/main.js`, the operator, is what the image contains beside
 * Node, with `dist/collector.mjs` for the pods of runs; `dist/kubectl-worldflux.js` is the kubectl plugin.
 */

const ROOT = join(import.meta.dirname, '..');
const PROGRAMS = {
  'main.js': 'src/main.ts',
  'collector.mjs': 'src/results/collector/bin.ts',
  'kubectl-worldflux.js': 'src/cli/main.ts',
};

/** Some dependencies are CommonJS and call `require` for Node's own modules, which an ES module does not have. */
const REQUIRE = [
  "import { createRequire as worldfluxCreateRequire } from 'node:module';",
  'const require = worldfluxCreateRequire(import.meta.url);',
].join('\n');

for (const [name, entry] of Object.entries(PROGRAMS)) {
  const target = join(ROOT, 'dist', name);
  const from = performance.now();
  await build({
    entryPoints: [join(ROOT, entry)],
    outfile: target,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    // Names stay and lines are short: Node prints the line of an uncaught error, and a stack without names tells nothing.
    minifySyntax: true,
    minifyWhitespace: true,
    lineLimit: 160,
    sourcemap: 'external',
    banner: { js: REQUIRE },
    legalComments: 'none',
    logLevel: 'warning',
  }).catch(() => process.exit(1)); // esbuild has said where and why
  await chmod(target, 0o755);
  const { size } = await stat(target);
  console.log(`dist/${name}: ${(size / 1024 ** 2).toFixed(1)} MiB in ${Math.round(performance.now() - from)} ms`);
}
