import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { OUTCOME_REASONS, RESULT_REASONS, WAITING_REASONS } from '../src/crds/vocabulary.ts';

const page = readFileSync(join(import.meta.dirname, '../docs/troubleshooting.md'), 'utf8');

/** Nobody looks for what to do then. */
const FINE = ['Completed', 'AlreadyRecorded', 'DryRun', 'Cancelled', 'Stored', 'Collecting'];

test.each([
  ['waits', WAITING_REASONS],
  ['failed', OUTCOME_REASONS],
  ['lacks results', RESULT_REASONS],
])('whoever sees why a run %s finds on docs/troubleshooting.md what to do', (_, reasons) => {
  const missing = Object.keys(reasons).filter((reason) => !FINE.includes(reason) && !page.includes(`\`${reason}\``));
  expect(missing).toEqual([]);
});
