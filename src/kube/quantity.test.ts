import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareQuantities, parseQuantity } from './quantity.ts';

describe('quantities', () => {
  test.each([
    ['1', 1],
    ['500m', 0.5],
    ['0.1', 0.1],
    ['100m', 0.1],
    ['16Gi', 16 * 2 ** 30],
    ['80G', 80e9],
    ['1e3', 1000],
    ['1E3', 1000],
    ['1E', 1e18],
    ['12.5Mi', 12.5 * 2 ** 20],
    ['.5', 0.5],
    ['-2k', -2000],
    ['250n', 2.5e-7],
  ])('%s is %d', (text, value) => expect(parseQuantity(text)).toBe(value));

  test.each(['', 'Gi', '1 Gi', '1gi', '1.2.3', '0x10', '1e', 'NaN', 'Infinity', '1K', '1e999999'])(
    '%j is refused',
    (text) => expect(() => parseQuantity(text)).toThrow(RangeError),
  );

  test('spellings of the same amount are equal', () => {
    for (const [a, b] of [
      ['1Gi', '1024Mi'],
      ['0.1', '100m'],
      ['1k', '1e3'],
      ['1000m', '1'],
      ['0', '-0'],
    ] as const) {
      expect(compareQuantities(a, b)).toBe(0);
    }
    expect(compareQuantities('9007199254740993', '9007199254740992')).toBe(1);
  });

  test('the order is that of the numbers', () => {
    const suffix = fc.constantFrom('n', 'u', 'm', '', 'k', 'M', 'G', 'Ki', 'Mi', 'Gi', 'e2', 'E-2');
    const quantity = fc.tuple(fc.integer({ min: -9999, max: 9999 }), suffix).map(([n, unit]) => `${n}${unit}`);
    fc.assert(
      fc.property(quantity, quantity, (a, b) => {
        expect(compareQuantities(a, b)).toBe(Math.sign(parseQuantity(a) - parseQuantity(b)));
        expect(compareQuantities(a, b) + compareQuantities(b, a)).toBe(0);
      }),
    );
  });
});
