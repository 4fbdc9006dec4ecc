import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

/** What was run against the real thing, and how it went: WorldForge's live smoke registry, with its statuses. */

export const EVIDENCE_FILE = 'docs/live-evidence.json';

const text = z.string().min(1).max(512);

const row = z
  .strictObject({
    provider: text,
    capability: text,
    /** What was, or would have to be, done. */
    command: text,
    /** The page that says how the runtime is set up. */
    runtime_manifest: z.string().regex(/^docs\/[\w/.-]+\.md$/),
    date: z.iso.date().nullable(),
    /** Of this operator. */
    version: text.nullable(),
    status: z.enum([
      'passed',
      'failed',
      'not_run',
      'skipped_missing_runtime',
      'skipped_missing_credentials',
      'skipped_not_configured',
    ]),
    /** Where its record can be looked up. */
    artifact_path: text.nullable(),
    skip_reason: text.nullable(),
    known_limitations: z.array(text),
  })
  .refine(
    ({ status, date, version }) =>
      (status === 'passed' || status === 'failed') === (date !== null) && (date !== null) === (version !== null),
    { message: 'what was run has a date and a version, and nothing else has' },
  )
  .refine(({ status, artifact_path }) => status !== 'passed' || artifact_path !== null, {
    message: 'what passed has a record',
  })
  .refine(({ status, skip_reason }) => (status === 'passed' || status === 'failed') === (skip_reason === null), {
    message: 'what was not run says why',
  });

export const liveEvidence = z
  .strictObject({ schema_version: z.literal(1), rows: z.array(row).min(1) })
  .refine(({ rows }) => new Set(rows.map((r) => `${r.provider} ${r.capability}`)).size === rows.length, {
    message: 'one row for each provider and capability',
  });
export type LiveEvidence = z.output<typeof liveEvidence>;

export function readEvidence(root: string): LiveEvidence {
  return liveEvidence.parse(JSON.parse(readFileSync(join(root, EVIDENCE_FILE), 'utf8')));
}

/** The page for people. */
export function evidencePage({ rows }: LiveEvidence): string {
  const passed = rows.filter(({ status }) => status === 'passed').length;
  const cells = rows.map(({ provider, capability, status, date, version, artifact_path, skip_reason, ...rest }) =>
    [
      `[${provider}](../../${rest.runtime_manifest})`,
      capability,
      `\`${status}\``,
      date ?? '–',
      version ?? '–',
      artifact_path ?? '–',
      [skip_reason, ...rest.known_limitations].filter(Boolean).join(' ').replaceAll('|', '\\|'),
    ].join(' | '),
  );
  return [
    '# Live evidence',
    '',
    `Generated from [\`${EVIDENCE_FILE}\`](../live-evidence.json) by \`npm run generate\`.`,
    '',
    'What was run against the real thing. Tests against stand-ins are no evidence of this kind, however many there are.',
    '',
    `**${passed} of ${rows.length} passed.**`,
    '',
    '| Provider | Capability | Status | Date | Version | Record | Why not, and what is known |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...cells.map((cell) => `| ${cell} |`),
    '',
  ].join('\n');
}
