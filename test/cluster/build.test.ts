import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { cached } from './build.ts';

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'worldflux-cache-'));
  vi.stubEnv('WORLDFLUX_CACHE', root);
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true, force: true });
});

test('builds that run at once do the work once', async () => {
  let fills = 0;
  const fill = async (into: string): Promise<void> => {
    fills += 1;
    await new Promise((resolve) => setImmediate(resolve));
    writeFileSync(join(into, 'made'), 'x');
  };
  const [one, two] = await Promise.all([cached('thing', fill), cached('thing', fill)]);
  expect(one).toBe(two);
  expect(fills).toBe(1);
  expect(readFileSync(join(one, 'made'), 'utf8')).toBe('x');
});

test('a build that fails leaves nothing, and the next one starts afresh', async () => {
  const broken = cached('thing', async (into) => {
    writeFileSync(join(into, 'half'), 'x');
    throw new Error('no more disk');
  });
  await expect(broken).rejects.toThrow('no more disk');
  expect(readdirSync(root)).toEqual([]);
  const directory = await cached('thing', async (into) => writeFileSync(join(into, 'whole'), 'x'));
  expect(readdirSync(directory)).toEqual(['whole']);
});

test('the lock of a build that was killed does not stop the next one', async () => {
  const gone = spawnSync('true').pid;
  writeFileSync(join(root, 'thing.lock'), JSON.stringify({ pid: gone, startTicks: '1' }));
  const directory = await cached('thing', async (into) => writeFileSync(join(into, 'made'), 'x'));
  expect(existsSync(join(directory, 'made'))).toBe(true);
  expect(readdirSync(root)).toEqual(['thing']);
});
