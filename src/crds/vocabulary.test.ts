import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import * as vocabulary from './vocabulary.ts';

/** Every list of reasons in the file, by its name. */
const LISTS = Object.entries(vocabulary)
  .filter(([name, list]) => name.endsWith('_REASONS') && !Array.isArray(list))
  .map(([name, list]) => [name, list as Record<string, string>] as const);

const SOURCE = join(import.meta.dirname, '..');
const code = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts') && file !== join('crds', 'vocabulary.ts'))
  .map((file) => readFileSync(join(SOURCE, file), 'utf8'))
  .join('\n');

describe.each([...LISTS, ['CONDITION_TYPES', vocabulary.CONDITION_TYPES] as const])('%s', (_, list) => {
  test('has a sentence for each word', () => {
    for (const [word, line] of Object.entries(list)) expect(line, word).toMatch(/^.{15,}[.]$/s);
  });

  test('uses CamelCase, as Kubernetes does', () => {
    expect(Object.keys(list).filter((word) => !/^[A-Z][A-Za-z0-9]{1,63}$/.test(word))).toEqual([]);
  });
});

test('a reason never stands for two things', () => {
  const all = LISTS.flatMap(([, list]) => Object.keys(list));
  // Collecting is both: results are on their way while the run is at it.
  const twice = all.filter((word, i) => all.indexOf(word) !== i && word !== 'Collecting');
  expect(twice).toEqual([]);
});

test('a reason that nobody says is not documented', () => {
  const unsaid = LISTS.flatMap(([, list]) => Object.keys(list)).filter(
    (word) => !new RegExp(`['"\`.]${word}\\b`).test(code) && !new RegExp(`\\b${word}:`).test(code),
  );
  expect(unsaid).toEqual([]);
});

test('what may be retried is an outcome', () => {
  expect(Object.keys(vocabulary.OUTCOME_REASONS)).toEqual(expect.arrayContaining([...vocabulary.RETRYABLE_REASONS]));
});
