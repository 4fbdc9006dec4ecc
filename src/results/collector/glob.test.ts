import { matchesGlob } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { globBase, globMatcher, isGlob } from './glob.ts';

describe('patterns', () => {
  it.each([
    ['ckpt/**', 'ckpt/a', true],
    ['ckpt/**', 'ckpt/a/b/c', true],
    ['ckpt/**', 'ckpt', false],
    ['ckpt/**', 'other/a', false],
    ['**/*.pt', 'a.pt', true],
    ['**/*.pt', 'x/y/a.pt', true],
    ['*.pt', 'x/a.pt', false],
    ['a/**/b', 'a/b', true],
    ['a/**/b', 'a/x/y/b', true],
    ['file?.txt', 'file1.txt', true],
    ['file?.txt', 'file/.txt', false],
    ['[a-c]x', 'bx', true],
    ['[!a-c]x', 'bx', false],
    ['[!a-c]x', '/x', false],
    ['{a,b/c}.txt', 'b/c.txt', true],
    ['{a,{b,c}}', 'c', true],
    ['*', '.hidden', false],
    ['**', '.git/config', false],
    ['.*', '.hidden', true],
    ['a.b+c(1)*', 'a.b+c(1)x', true],
    ['a.b*', 'axb', false],
    ['modèle*', 'modèle-1', true],
  ])('%s against %s', (pattern, path, expected) => {
    expect(globMatcher(pattern)(path)).toBe(expected);
  });

  it('agree with Node’s own on plain patterns', () => {
    const segment = fc
      .string({ unit: fc.constantFrom('a', 'b', '*', '?', '.x'), minLength: 1, maxLength: 4 })
      .filter((s) => !s.startsWith('.') && !/\*\*/.test(s));
    const pattern = fc
      .array(fc.oneof(segment, fc.constant('**')), { minLength: 1, maxLength: 4 })
      .map((s) => s.join('/'));
    const path = fc
      .array(
        fc
          .string({ unit: fc.constantFrom('a', 'b', '.x'), minLength: 1, maxLength: 4 })
          .filter((s) => !s.startsWith('.')),
        { minLength: 1, maxLength: 4 },
      )
      .map((s) => s.join('/'));
    fc.assert(
      fc.property(pattern, path, (one, two) => {
        // There `a/**` also matches `a` itself, which is no file below it.
        if (one.endsWith('**')) return;
        expect(globMatcher(one)(two), `${one} against ${two}`).toBe(matchesGlob(two, one));
      }),
      { numRuns: 2000 },
    );
  });

  it('are walked from the folder above their first wildcard', () => {
    expect([globBase('a/b/*.pt'), globBase('*'), globBase('a/{b,c}/d')]).toEqual(['a/b', '', 'a']);
    expect([isGlob('a/b.txt'), isGlob('a/*')]).toEqual([false, true]);
  });
});
