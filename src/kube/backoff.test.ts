import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { backoffMs } from './backoff.ts';

test('delays double up to the limit, and jitter never more than halves them', () => {
  const options = { baseMs: 500, maxMs: 30_000 };
  const full = [1, 2, 3, 4, 5, 6, 7, 8].map((failures) => backoffMs(failures, options, () => 1));
  expect(full).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 100_000 }), (failures) => {
      const delay = backoffMs(failures, options);
      expect(delay).toBeGreaterThanOrEqual(backoffMs(failures, options, () => 0));
      expect(delay).toBeLessThanOrEqual(30_000);
    }),
  );
});
