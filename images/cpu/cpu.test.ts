import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';

const IMAGES = join(import.meta.dirname, '..');
const root = mkdtempSync(join(tmpdir(), 'smoke-cpu-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const hasPython = spawnSync('python3', ['--version']).status === 0;

function environment(output: string, env: Record<string, string>): NodeJS.ProcessEnv {
  const own = { PYTHONPATH: join(IMAGES, 'common'), PYTHONDONTWRITEBYTECODE: '1', WORLDFLUX_OUTPUT_DIR: output };
  return { PATH: process.env['PATH'], ...own, ...env };
}

/** Runs the workload as its image does, into a folder of its own. */
function smoke(name: string, env: Record<string, string> = {}) {
  const output = join(root, name);
  const done = spawnSync('python3', [join(IMAGES, 'cpu', 'main.py')], {
    env: environment(output, env),
    encoding: 'utf8',
    timeout: 60_000,
  });
  const read = (file: string) => readFileSync(join(output, file), 'utf8');
  return { ...done, output, read, metrics: () => JSON.parse(read('metrics.json')) as Record<string, number> };
}

describe.skipIf(!hasPython)('the cpu workload', () => {
  test('predicts unseen swings far better than "nothing changes", and finds the frequency that physics gives', () => {
    const run = smoke('default');
    expect(run.stderr).toBe('');
    expect(run.status).toBe(0);
    const found = run.metrics();
    expect(Object.values(found).every(Number.isFinite)).toBe(true);
    expect(found['one_step_rmse']).toBeLessThan((found['one_step_rmse_no_change'] ?? 0) / 10);
    expect(found['rollout_rmse']).toBeLessThan((found['rollout_rmse_no_change'] ?? 0) / 10);
    const smallSwings = Math.sqrt(9.81 - 0.15 ** 2) / (2 * Math.PI);
    expect(found['fitted_frequency_hz']).toBeGreaterThan(0.96 * smallSwings);
    expect(found['fitted_frequency_hz']).toBeLessThan(smallSwings);
    expect(JSON.parse(run.read('progress.json'))).toMatchObject({ percent: 100, etaSeconds: 0 });
  });

  test('one seed gives one metrics.json and one curve; another seed gives another', () => {
    const settings = { TRAJECTORIES: '8' };
    const [first, second, other] = [smoke('a', settings), smoke('b', settings), smoke('c', { ...settings, SEED: '8' })];
    expect(second.read('metrics.json')).toBe(first.read('metrics.json'));
    expect(second.read('metrics.jsonl')).toBe(first.read('metrics.jsonl'));
    expect(other.metrics()['rollout_rmse']).not.toBe(first.metrics()['rollout_rmse']);
    const curve = first.read('metrics.jsonl').trim().split('\n');
    expect(JSON.parse(curve[0] ?? '')).toEqual({ step: 1, name: 'one_step_rmse', value: expect.any(Number) });
  });

  test.each([
    ['SEED', 'seven'],
    ['TRAJECTORIES', '0'],
    ['TRAJECTORIES', '1.5'],
  ])('refuses %s=%s by name and writes nothing', (name, value) => {
    const run = smoke(`refused-${name}-${value}`, { [name]: value });
    expect(run.status).toBe(1);
    expect(run.stderr).toContain(`${name} must be a whole number`);
    expect(existsSync(run.output)).toBe(false);
  });

  test('ends on SIGTERM even as process 1, where the default would be to ignore it', async () => {
    const output = join(root, 'terminated');
    const child = spawn('python3', [join(IMAGES, 'cpu', 'main.py')], {
      env: environment(output, { TRAJECTORIES: '1000000' }),
    });
    // Its first line: from here on the handler stands, whether or not this kernel lets a test have a process 1.
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.kill('SIGTERM');
    const code = await new Promise((resolve) => child.once('exit', resolve));
    expect(code).toBe(143);
    expect(existsSync(join(output, 'metrics.json'))).toBe(false);
  });
});
