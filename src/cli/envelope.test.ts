import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { KINDS } from './envelope.ts';

const PAGE = readFileSync(join(import.meta.dirname, '../../docs/cli.md'), 'utf8');

/** Names of fields, at every depth; a schema that stands in the page under its list's name alone is not gone into. */
function fieldsOf(schema: unknown): string[] {
  if (schema instanceof z.ZodNullable || schema instanceof z.ZodOptional) return fieldsOf(schema.unwrap());
  if (schema instanceof z.ZodArray) return fieldsOf(schema.element);
  if (!(schema instanceof z.ZodObject)) return [];
  return Object.entries(schema.shape).flatMap(([name, of]) => [name, ...fieldsOf(of)]);
}

test.each(Object.entries(KINDS))('the page names every field of %s', (kind, schema) => {
  const row = PAGE.split('\n').find((line) => line.includes(`| \`${kind}\``));
  expect(row, `docs/cli.md has a row for ${kind}`).toBeDefined();
  // A run has what a line of the list has, and conditions, checks and attempts have the fields of the API.
  const elsewhere = /^(Run|RunList|RuntimeDoctor)$/.test(kind) ? PAGE : row!;
  const missing = fieldsOf(schema).filter(
    (name) => !elsewhere.includes(`\`${name}\``) && !elsewhere.includes(`\`${name}[]\``),
  );
  expect(missing.filter((name) => !['type', 'status', 'number', 'node', 'exitCode'].includes(name))).toEqual([]);
});
