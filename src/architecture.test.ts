import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { VERSION } from './version.ts';

/** Who may know whom. A room that is missing here may not be imported from another one. */
const MAY_KNOW: Record<string, readonly string[]> = {
  kube: [],
  telemetry: ['kube', 'crds'],
  net: [],
  crds: [],
  // The collector and the local runtime share how a pod is laid out; results know no controller.
  runtime: ['kube', 'telemetry', 'crds', 'results', 'net'],
  results: ['kube', 'telemetry', 'crds', 'net'],
  upstream: ['kube', 'telemetry', 'crds', 'results', 'net'],
  // A user's program: it knows the API and how results are read, and nothing of how the operator works.
  cli: ['kube', 'crds', 'results'],
  controller: ['kube', 'telemetry', 'crds', 'runtime', 'results', 'upstream', 'net'],
};

const root = import.meta.dirname;

function sources(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) return sources(path);
    return path.endsWith('.ts') && !path.endsWith('.test.ts') ? [path] : [];
  });
}

const room = (path: string): string => {
  const [first, ...rest] = relative(root, path).split('/');
  return rest.length === 0 ? '' : first!;
};

test('every room imports only those below it', () => {
  const wrong: string[] = [];
  for (const file of sources(root)) {
    const from = room(file);
    if (from === '' || file.includes('/testing/')) continue;
    for (const [, target] of readFileSync(file, 'utf8').matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)) {
      const to = room(resolve(file, '..', target!));
      // Files at the top (options, version) are constants and types for everybody.
      if (to === '' || to === from || MAY_KNOW[from]?.includes(to) === true) continue;
      wrong.push(`${relative(root, file)} imports ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});

test('no runtime imports another one', () => {
  const wrong = sources(join(root, 'runtime')).filter((file) => {
    const [, own, ...rest] = relative(root, file).split('/');
    if (rest.length === 0) return false;
    return [...readFileSync(file, 'utf8').matchAll(/from '(\.\.\/[a-z-]+\/[^']+)'/g)].some(([, target]) => {
      const path = relative(join(root, 'runtime'), resolve(file, '..', target!));
      return !path.startsWith('..') && path.includes('/') && !path.startsWith(`${own}/`);
    });
  });
  expect(wrong).toEqual([]);
});

test('one version, in the package, the code and the charts', () => {
  const read = (path: string) => readFileSync(join(root, '..', path), 'utf8');
  expect(JSON.parse(read('package.json'))).toMatchObject({ version: VERSION });
  expect(read('charts/worldflux-operator/Chart.yaml')).toMatch(new RegExp(`appVersion: "?${VERSION}"?\n`));
});
