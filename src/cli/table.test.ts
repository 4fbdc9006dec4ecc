import { expect, test } from 'vitest';
import { age, duration, size, table } from './table.ts';

test('columns are as wide as their widest cell, and lines have no tail', () => {
  expect(
    table(
      ['NAME', 'PHASE'],
      [
        ['a-long-name', ''],
        ['b', 'Failed'],
      ],
    ),
  ).toBe('NAME          PHASE\na-long-name\nb             Failed');
});

test('what others wrote neither breaks a line nor commands the terminal', () => {
  expect(table(['MESSAGE'], [['two\r\nlines, \u001b[31mred\u009b2J']])).toBe('MESSAGE\ntwo lines,  [31mred 2J');
});

test.each([
  [0.25, '0.3s'],
  [5, '5s'],
  [65.4, '1m5s'],
  [3600, '1h'],
  [90_061, '1d1h'],
])('%d seconds are written as %s', (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});

test('an age that nobody knows is left out', () => {
  expect(age('', 0)).toBe('');
  expect(age('1970-01-01T00:00:00Z', 61_000)).toBe('1m1s');
});

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1536, '1.5 KiB'],
  [5 * 1024 ** 4, '5.0 TiB'],
])('%d bytes are written as %s', (bytes, text) => {
  expect(size(bytes)).toBe(text);
});
