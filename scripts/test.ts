import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { whyNot } from '../test/cluster/index.ts';
import { describe, layerOf, total, type Layer } from './test-report.ts';

/** Runs every layer that this host can run, names those that it cannot, and ends with `N passed, N failed`. */

const ROOT = join(import.meta.dirname, '..');
/** Far above what a layer takes: it is there so that one that hangs is reported as failed. */
const LAYER_LIMIT_MS = 60 * 60_000;

const reports = await mkdtemp(join(tmpdir(), 'worldflux-test-'));
try {
  const checks = [
    await check('types', ['tsc']),
    await check('lint', ['oxlint', '--deny-warnings']),
    await check('generated files', ['node', 'scripts/generate.ts', '--check']),
    await check('format', ['prettier', '--check', '--log-level=warn', '.']),
  ];
  // Beside the others: with real Pods and leases that run out, most of its time is waiting.
  const e2e = tests('e2e', await whyNot('node'));
  const layers = [
    ...checks,
    await tests('unit', undefined),
    await tests('integration', await whyNot('api')),
    await e2e,
  ];
  for (const line of describe(layers)) console.log(line);
  const { passed, failed } = total(layers);
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
} finally {
  await rm(reports, { recursive: true, force: true });
}

/** A check has no tests to count; if it fails it counts as one that failed. */
async function check(name: string, argv: readonly string[]): Promise<Layer> {
  const { exitCode, seconds } = await execute(name, argv);
  return { name, seconds, passed: 0, failed: exitCode === 0 ? 0 : 1, skipped: [] };
}

async function tests(name: string, reason: string | undefined): Promise<Layer> {
  if (reason !== undefined) return { name, seconds: 0, passed: 0, failed: 0, skipped: [], reason };
  const report = join(reports, `${name}.json`);
  const argv = [
    'vitest',
    'run',
    '--project',
    name,
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
  ];
  const { exitCode, seconds } = await execute(name, argv);
  return layerOf(name, { seconds, exitCode, report: await readFile(report, 'utf8').catch(() => undefined) });
}

function execute(
  name: string,
  [file = '', ...args]: readonly string[],
): Promise<{ exitCode: number; seconds: number }> {
  console.log(`\n── ${name}`);
  const from = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(join(ROOT, 'node_modules', '.bin', file), args, {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: LAYER_LIMIT_MS,
    });
    // Two layers write at the same time: whole lines, each with the layer that it is from.
    for (const input of [child.stdout, child.stderr])
      createInterface({ input }).on('line', (line) => console.log(`${name.padEnd(11)} │ ${line}`));
    child.once('error', reject);
    child.once('close', (code) => resolve({ exitCode: code ?? 1, seconds: (performance.now() - from) / 1000 }));
  });
}
