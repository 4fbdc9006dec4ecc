import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { RUNTIME_NAMES } from '../crds/vocabulary.ts';
import type { Runtime, RuntimeIo } from './contract.ts';
import { RuntimeError } from './errors.ts';
import { MockRuntime } from './mock/runtime.ts';
import { RuntimeRegistry } from './registry.ts';
import { aProfileRef } from './testing/a-context.ts';
import { makeVendors } from './vendors.ts';

const registry = new RuntimeRegistry(makeVendors());

test('a runtime is found by its name, and a name that is none is told which there are', () => {
  expect(registry.listRuntimes()).toEqual(['genie', 'mock', 'replicate']);
  expect(registry.getRuntime('mock')).toBeInstanceOf(MockRuntime);
  expect(() => registry.getRuntime('local')).toThrow('there is no runtime local; there are genie, mock, replicate');
});

test.each(RUNTIME_NAMES)('%s has its own folder, and a row on the page of runtimes', (name) => {
  const root = join(import.meta.dirname, '..', '..');
  expect(existsSync(join(root, 'src', 'runtime', name, 'runtime.ts'))).toBe(true);
  const page = readFileSync(join(root, 'docs', 'runtimes', 'README.md'), 'utf8');
  expect(page).toMatch(new RegExp(`^\\| \\[?\`${name}\``, 'm'));
});

test('all profiles are asked at once; one that cannot be asked is a line that blocks its runs, without what it said', async () => {
  const failing = (name: Runtime['name'], error: Error): Runtime => ({
    ...({} as Runtime),
    name,
    doctor: () => Promise.reject(error),
  });
  const answers = await new RuntimeRegistry([
    new MockRuntime(),
    failing('replicate', new RuntimeError({ kind: 'retryable' }, 'replicate account get: no answer')),
    failing('genie', new TypeError('r8_secret is no token')),
  ]).doctorAll(
    [
      { runtime: 'mock', mock: {} },
      { runtime: 'replicate', replicate: { model: 'acme/dreamer' } },
      { runtime: 'genie', genie: {} },
    ].map((spec) => ({ profile: { ...aProfileRef(spec), name: spec.runtime }, io: {} as RuntimeIo })),
  );
  expect(answers.get('mock')!.every(({ level }) => level !== 'error')).toBe(true);
  expect(answers.get('replicate')).toEqual([
    { check: 'doctor', level: 'error', message: 'replicate account get: no answer' },
  ]);
  expect(answers.get('genie')).toEqual([{ check: 'doctor', level: 'error', message: 'the doctor failed' }]);
});
