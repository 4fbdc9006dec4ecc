import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';

interface Package {
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

/**
 * npm leaves builds for other platforms out of the lockfile when the registry does not have them (yet), says nothing, and
 * then refuses `npm ci` on every fresh clone; where the packages are installed already, nobody notices.
 */
test('the lockfile holds every dependency of every package, for every platform', () => {
  const text = readFileSync(join(import.meta.dirname, '..', 'package-lock.json'), 'utf8');
  const { packages } = JSON.parse(text) as { packages: Record<string, Package> };
  const isLocked = (name: string, from: string): boolean => {
    for (let at = from; ; at = dirname(at)) {
      if (`${at === '.' || at === '' ? '' : `${at}/`}node_modules/${name}` in packages) return true;
      if (at === '.' || at === '') return false;
    }
  };
  const missing = Object.entries(packages).flatMap(([path, { dependencies, optionalDependencies }]) =>
    Object.keys({ ...dependencies, ...optionalDependencies })
      .filter((name) => !isLocked(name, path))
      .map((name) => `${name}, which ${path === '' ? 'package.json' : path} names`),
  );
  expect(missing).toEqual([]);
});
