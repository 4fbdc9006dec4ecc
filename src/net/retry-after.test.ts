import { expect, it } from 'vitest';
import { retryAfterMs } from './retry-after.ts';

it.each([
  ['7', 7000],
  [' 0 ', 0],
  ['1.5', 1500],
  ['Thu, 01 Jan 1970 00:00:10 GMT', 4000],
  ['Thu, 01 Jan 1970 00:00:01 GMT', 0],
  ['Fri, 31 Dec 9999 23:59:59 GMT', 24 * 3600 * 1000],
  ['99999999999', 24 * 3600 * 1000],
  ['-5', undefined],
  ['soon', undefined],
  ['', undefined],
  [null, undefined],
  [undefined, undefined],
])('Retry-After %j says %s ms', (header, expected) => {
  expect(retryAfterMs(header, 6000)).toBe(expected);
});
