import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ReplicateRuntime } from '../src/runtime/replicate/runtime.ts';
import { evidencePage, liveEvidence, readEvidence, type LiveEvidence } from './live-evidence.ts';

const root = join(import.meta.dirname, '..');

describe('the record of what was run live', () => {
  const evidence = readEvidence(root);

  test('has a row for everything that a vendor’s runtime says it can do', () => {
    const rows = evidence.rows.map(({ provider, capability }) => `${provider} ${capability}`);
    expect(rows).toEqual(
      expect.arrayContaining(new ReplicateRuntime().traits.capabilities.map((name) => `replicate ${name}`)),
    );
  });

  test('names pages that are there', () => {
    const missing = evidence.rows.filter(({ runtime_manifest }) => !existsSync(join(root, runtime_manifest)));
    expect(missing).toEqual([]);
  });

  test('is what the page shows', () => {
    expect(readFileSync(join(root, 'docs/runtimes/evidence.md'), 'utf8')).toBe(evidencePage(evidence));
  });
});

describe('a record is refused', () => {
  const [first] = readEvidence(root).rows;
  const passed = { status: 'passed', date: '2026-11-21', version: '0.1.0', artifact_path: 'run/1', skip_reason: null };
  const withRow = (patch: object): unknown => ({ schema_version: 1, rows: [{ ...first, ...patch }] }) as LiveEvidence;

  test('not when something passed, with its date, version and record', () => {
    expect(liveEvidence.safeParse(withRow(passed)).error).toBeUndefined();
  });

  test.each([
    ['that passed without a record', { ...passed, artifact_path: null }],
    ['that passed on no day', { ...passed, date: null }],
    ['that passed in no version', { ...passed, version: null }],
    ['that was not run and does not say why', { skip_reason: null }],
    ['that was not run on some day', { date: '2026-11-21', version: '0.1.0' }],
    ['with a status that nobody knows', { status: 'fine' }],
    ['with a field that nobody knows', { confidence: 1 }],
  ])('%s', (_, patch) => {
    expect(liveEvidence.safeParse(withRow(patch)).success).toBe(false);
  });

  test('that has two rows for one thing', () => {
    expect(liveEvidence.safeParse({ schema_version: 1, rows: [first, first] }).success).toBe(false);
  });
});
