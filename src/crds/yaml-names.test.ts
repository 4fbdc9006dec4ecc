import { expect, test } from 'vitest';
import { runtimeProfileCrd, worldRunCrd } from './to-crd.ts';

function* fieldNames(node: unknown): Generator<string> {
  if (typeof node !== 'object' || node === null) return;
  for (const [key, value] of Object.entries(node)) {
    if (key === 'properties') yield* Object.keys(value as object);
    yield* fieldNames(value);
  }
}

test('no field has a name that YAML 1.1 reads as a boolean, a null or a number', () => {
  const traps = /^(y|n|yes|no|on|off|true|false|null|~|[0-9.+-]+)$/i;
  const names = [...fieldNames(worldRunCrd), ...fieldNames(runtimeProfileCrd)];
  expect(names.length).toBeGreaterThan(50);
  expect(names.filter((name) => traps.test(name))).toEqual([]);
});
