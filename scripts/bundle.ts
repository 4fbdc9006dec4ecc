import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';

/** Puts the operator and all it depends on into one file, `dist/main.js`: what the image contains beside Node. */

const ROOT = join(import.meta.dirname, '..');
const TARGET = join(ROOT, 'dist', 'main.js');

/** Some dependencies are CommonJS and call `require` for Node's own modules, which an ES module does not have. */
const REQUIRE = [
  "import { createRequire as worldfluxCreateRequire } from 'node:module';",
  'const require = worldfluxCreateRequire(import.meta.url);',
].join('\n');

const from = performance.now();
await build({
  entryPoints: [join(ROOT, 'src', 'main.ts')],
  outfile: TARGET,
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
const { size } = await stat(TARGET);
console.log(`dist/main.js: ${(size / 1024 ** 2).toFixed(1)} MiB in ${Math.round(performance.now() - from)} ms`);
