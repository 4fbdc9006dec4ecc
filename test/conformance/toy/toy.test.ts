import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { docExamples } from '../../../scripts/doc-examples.ts';
import { conformance } from '../suite.ts';
import { acme } from './harness.ts';

const root = join(import.meta.dirname, '../../..');

test('the runtime here is the one that the page describes', async () => {
  for (const [path, text] of Object.entries(docExamples(root)))
    expect(await readFile(join(root, path), 'utf8'), path).toBe(text);
});

conformance(acme);
