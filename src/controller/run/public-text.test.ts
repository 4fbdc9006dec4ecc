import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { SIGNED_PARAMETER } from '../../crds/manifest.ts';
import { secretsInUse } from '../../telemetry/secrets-in-use.ts';
import { clip, clipBytes, publicCommand, publicMessage, publicText } from './public-text.ts';

test.each([
  ['plain words', 'plain words'],
  ['https://u:pw@host/a?x=1#frag', 'https://host/a#frag'],
  ['https://u:p@ss@host/a', 'https://host/a'],
  ['s3://bucket/key?X-Amz-Signature=abc', 's3://bucket/key'],
  ['curl host/a?b=1&sig=abc&c=2', 'curl host/a?b=1&&c=2'],
  ['HF_TOKEN=hf_abc python x.py', 'HF_TOKEN=[redacted] python x.py'],
  ['PASSWORD="two words" run', 'PASSWORD=[redacted] run'],
  ["curl -H 'Authorization: Bearer abc.def'", "curl -H 'Authorization: [redacted]'"],
  ['git@github.com:acme/x', 'git@github.com:acme/x'],
])('%s', (text, expected) => {
  expect(publicText(text)).toBe(expected);
});

test('the value of a secret-like flag is hidden, in both spellings', () => {
  expect(publicCommand(['train', '--api-key', 'k', '--token=t', '--lr', '0.1', '--password', '--verbose'])).toEqual([
    'train',
    '--api-key',
    '[redacted]',
    '--token=[redacted]',
    '--lr',
    '0.1',
    '--password',
    '--verbose',
  ]);
});

const pieces = fc.array(
  fc.constantFrom(
    '?',
    '&',
    '=',
    '#',
    ' ',
    '/',
    '://',
    '@',
    'http',
    'token',
    'sig',
    'X-Amz-Signature',
    'Signature',
    '\u{1F600}',
    '"',
    'a',
  ),
  { maxLength: 60 },
);

test('whatever it is given: no signed parameter, bounded, well-formed', () => {
  fc.assert(
    fc.property(pieces, (parts) => {
      const text = publicText(parts.join(''), 64);
      expect(text.search(SIGNED_PARAMETER)).toBe(-1);
      expect(text.length).toBeLessThanOrEqual(64);
      expect(text.isWellFormed()).toBe(true);
    }),
    { numRuns: 3000 },
  );
});

test('clipping keeps what fits, and never half a character', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom('a', '"', '\u0000', '\u{1F600}', '\uD800', '\u00e9'), maxLength: 80 }),
      fc.integer({ min: 3, max: 60 }),
      (text, max) => {
        const clipped = clipBytes(text, max);
        expect(Buffer.byteLength(JSON.stringify(clipped)) - 2).toBeLessThanOrEqual(max);
        expect(clipped.isWellFormed()).toBe(true);
        expect(clip(text, max).length).toBeLessThanOrEqual(max);
      },
    ),
  );
  expect(clipBytes('short', 300)).toBe('short');
  expect(clipBytes('x'.repeat(400), 300)).toBe(`${'x'.repeat(297)}…`);
});

test('a long word of a hostile shape costs no more than a short one', () => {
  // 256 words of 32 KiB are what the API takes.
  const words = Array.from({ length: 256 }, () => 'a.-+'.repeat(8192));
  expect(publicCommand(words)).toHaveLength(256);
});

test('a message loses a value as soon as it is known, however often it was said before', () => {
  const words = 'the vendor said: opaque-value-of-a-secret, see https://host.example/x?id=1';
  expect(publicMessage(words)).toBe('the vendor said: opaque-value-of-a-secret, see https://host.example/x');
  secretsInUse.add(['opaque-value-of-a-secret'], 'test');
  try {
    expect(publicMessage(words)).toBe('the vendor said: [redacted], see https://host.example/x');
    expect(publicMessage(`${words} ${'y'.repeat(5000)}`, 60)).toMatch(/^the vendor said: \[redacted\], see .*…$/);
  } finally {
    secretsInUse.remove('test');
  }
  expect(publicMessage(words)).toContain('opaque-value-of-a-secret');
});
