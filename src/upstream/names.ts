import type { Form, Known } from './contract.ts';
import type { Field, FieldKind } from './openapi.ts';

/** Which of a server's names mean which of our values. Case and separators do not count: `clientRunId` is `client_run_id`. */

const SYNONYMS: Record<Known, readonly string[]> = {
  clientRunId: ['clientrunid'],
  project: ['project', 'projectslug', 'projectname', 'projectref', 'projectkey'],
  projectId: ['projectid', 'projectuuid'],
  manifest: ['manifest', 'runmanifest', 'manifestjson'],
  manifestDigest: ['manifestdigest', 'manifestsha256', 'manifesthash'],
  metrics: ['metrics', 'metricvalues'],
  logLines: ['loglines', 'logs', 'log', 'logtext'],
  cloudRunId: ['runid', 'cloudrunid', 'run'],
  artifactId: ['artifactid', 'uploadid', 'artifact'],
  artifactName: ['name', 'artifactname', 'filename'],
  artifactPath: ['path', 'artifactpath', 'relativepath'],
  sizeBytes: ['sizebytes', 'size', 'bytesize', 'contentlength', 'filesize', 'bytes'],
  sha256: ['sha256', 'checksumsha256', 'sha256hex', 'contentsha256', 'checksum', 'digest'],
  contentType: ['contenttype', 'mimetype', 'mediatype'],
  expectedHead: [
    'expectedhead',
    'previoushead',
    'prevhead',
    'expectedprevioushead',
    'ifhead',
    'parenthead',
    'previous',
    'parent',
  ],
  head: ['head', 'newhead', 'ledgerhead', 'nexthead'],
};

/** What a value may be written as, by the JSON kind that the server asks for. */
const FORMS: Partial<Record<Known, Partial<Record<FieldKind, Form>>>> = {
  manifest: { object: 'Plain', string: 'Text' },
  metrics: { object: 'Plain' },
  logLines: { array: 'Lines', string: 'Text' },
  sizeBytes: { integer: 'Plain', number: 'Plain' },
};
const TEXT_ONLY: Partial<Record<FieldKind, Form>> = { string: 'Plain' };

const BY_NAME = new Map<string, Known>();
for (const [value, names] of Object.entries(SYNONYMS)) for (const name of names) BY_NAME.set(name, value as Known);

const plainName = (name: string): string => name.replaceAll(/[^A-Za-z0-9]/g, '').toLowerCase();

/** Values that make sense in a request of this role. */
export function knownValue(name: string, allowed: readonly Known[], format?: string): Known | undefined {
  const value = BY_NAME.get(plainName(name));
  if (value === 'project' && format === 'uuid' && allowed.includes('projectId')) return 'projectId';
  return value !== undefined && allowed.includes(value) ? value : undefined;
}

/** How `value` is written into this field; undefined where its type does not fit. */
export function formFor(value: Known, field: Field): Form | undefined {
  const forms = FORMS[value] ?? TEXT_ONLY;
  if (field.kinds.size === 0) return value === 'logLines' ? 'Lines' : 'Plain';
  // The richest form first: an object rather than its text.
  for (const kind of ['object', 'array', 'integer', 'number', 'string'] as const) {
    const form = forms[kind];
    if (form !== undefined && field.kinds.has(kind)) return form;
  }
  return undefined;
}
