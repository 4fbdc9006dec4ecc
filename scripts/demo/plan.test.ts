import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';

/** What somebody does first: read the plan, in a clone in which nothing has been installed. */
const ROOT = join(import.meta.dirname, '..', '..');
const clone = mkdtempSync(join(tmpdir(), 'worldflux-plan-'));
for (const part of ['scripts', 'package.json', 'package-lock.json', join('test', 'cluster')]) {
  cpSync(join(ROOT, part), join(clone, part), { recursive: true });
}
afterAll(() => rmSync(clone, { recursive: true, force: true }));

function demo(...args: string[]): { status: number | null; output: string } {
  const env = { PATH: process.env['PATH'], WORLDFLUX_CACHE: join(clone, 'cache'), WORLDFLUX_CLUSTER_PROVIDER: 'host' };
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(clone, 'scripts', 'demo.mjs'), ...args], {
    encoding: 'utf8',
    env,
    timeout: 60_000,
  });
  return { status, output: stdout + stderr };
}

test('the plan says what is installed, where, and that the GPU is simulated, and installs nothing', () => {
  const { status, output } = demo('--plan');
  expect({ status, output }).toMatchObject({ status: 0 });
  expect(output).toContain('would install the npm packages of the lockfile');
  expect(output).toMatch(/Kubernetes \d+\.\d+\.\d+, built from its Go modules/);
  expect(output).toMatch(/helm \d+\.\d+\.\d+/);
  expect(output).toMatch(/announce one nvidia\.com\/gpu that does not exist/);
  expect(output).toContain(join(clone, 'cache'));
  expect(output).not.toContain('built already');
  expect(existsSync(join(clone, 'node_modules')) || existsSync(join(clone, 'cache'))).toBe(false);
});

test('on a cluster of the user’s, no GPU is simulated and no cluster is made', () => {
  const { status, output } = demo('--plan', '--context', 'mine');
  expect(status).toBe(0);
  expect(output).not.toMatch(/simulated|built from its Go modules|worldflux-cluster-demo/);
  expect(output).toContain('namespaces worldflux-system and worldflux-demo');
});
