import * as vocabulary from '../src/crds/vocabulary.ts';
import { describeOptions } from '../src/options.ts';
import { runtimeProfileCrd, worldRunCrd } from '../src/crds/to-crd.ts';

/** The reference pages that are written by machine: fields, reasons, settings. */

type Schema = {
  type?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  properties?: Record<string, Schema>;
  items?: Schema;
  additionalProperties?: Schema;
  required?: string[];
  pattern?: string;
};

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

function typeOf(schema: Schema): string {
  if (schema.enum !== undefined) return schema.enum.map((v) => `\`${String(v)}\``).join(', ');
  if (schema.type === 'array') return `list of ${typeOf(schema.items ?? {})}`;
  if (schema.additionalProperties !== undefined) return `map of ${typeOf(schema.additionalProperties)}`;
  return schema.type ?? 'object';
}

function rows(schema: Schema, path: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, child]) => {
    const at = path === '' ? name : `${path}.${name}`;
    const facts =
      child.default === undefined || (typeof child.default === 'object' && child.properties !== undefined)
        ? ''
        : `\`${JSON.stringify(child.default)}\``;
    const required = schema.required?.includes(name) === true ? 'yes' : '';
    const inner = child.type === 'array' ? rows(child.items ?? {}, `${at}[]`) : rows(child, at);
    return [
      `| \`${at}\` | ${cell(typeOf(child))} | ${required} | ${cell(facts)} | ${cell(child.description ?? '')} |`,
      ...inner,
    ];
  });
}

function fieldPage(title: string, crd: object): string {
  const { spec } = crd as { spec: { versions: { schema: { openAPIV3Schema: Schema } }[] } };
  const schema = spec.versions[0]!.schema.openAPIV3Schema.properties!;
  const head = '| Field | Type | Required | Default | Meaning |\n| --- | --- | --- | --- | --- |';
  return `# ${title}\n\n${generated('src/crds')}\n\n## spec\n\n${head}\n${rows(schema['spec']!, '').join('\n')}\n\n## status\n\n${head}\n${rows(schema['status']!, '').join('\n')}\n`;
}

const generated = (from: string): string => `Generated from \`${from}\` by \`npm run generate\`.`;

const GROUPS = [
  ['Condition types', vocabulary.CONDITION_TYPES],
  ['While a run waits', vocabulary.WAITING_REASONS],
  ['When a run is refused for good', vocabulary.REFUSED_REASONS],
  ['While a run is at work', vocabulary.PROGRESS_REASONS],
  ['How a run ended', vocabulary.OUTCOME_REASONS],
  ['What became of its results', vocabulary.RESULT_REASONS],
  ['Whether it is at WorldFlux', vocabulary.SYNC_REASONS],
  ['On a RuntimeProfile', vocabulary.PROFILE_REASONS],
  ['On a RuntimeProfile that syncs', vocabulary.SYNC_PROFILE_REASONS],
] as const;

function reasonPage(): string {
  const groups = GROUPS.map(
    ([title, words]) =>
      `## ${title}\n\n| Word | Meaning |\n| --- | --- |\n${Object.entries(words)
        .map(([word, meaning]) => `| \`${word}\` | ${cell(meaning)} |`)
        .join('\n')}\n`,
  );
  const retryable = vocabulary.RETRYABLE_REASONS.map((r) => `\`${r}\``).join(', ');
  return `# Conditions and reasons\n\n${generated('src/crds/vocabulary.ts')} What to do about each: [troubleshooting](../troubleshooting.md).\n\n${groups.join('\n')}\n\`spec.retry.onReasons\` may name ${retryable}.\n`;
}

export const referencePages: Record<string, string> = {
  'docs/reference/worldrun.md': fieldPage('WorldRun', worldRunCrd),
  'docs/reference/runtimeprofile.md': fieldPage('RuntimeProfile', runtimeProfileCrd),
  'docs/reference/reasons.md': reasonPage(),
  'docs/reference/settings.md': `# Settings of the operator\n\n${generated('src/options.ts')}\n\n\`\`\`text\n${describeOptions()}\`\`\`\n`,
};
