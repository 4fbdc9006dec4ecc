import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { compareResourceVersions } from './resource-version.ts';

test('versions are ordered as numbers of any size', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 70n }), fc.bigInt({ min: 0n, max: 2n ** 70n }), (a, b) => {
      const order = compareResourceVersions(`${a}`, `${b}`);
      expect(Math.sign(order ?? NaN)).toBe(a < b ? -1 : a > b ? 1 : 0);
    }),
  );
});

test.each([
  ['', '1'],
  ['1', ''],
  ['007', '7'],
  ['abc', 'abd'],
  ['-1', '1'],
])('%j and %j cannot be compared', (a, b) => expect(compareResourceVersions(a, b)).toBeUndefined());
