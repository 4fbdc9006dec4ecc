import { z } from 'zod';
import { API_VERSION, GROUP, VERSION, type CelRule } from './common.ts';
import { runtimeProfileSpec, runtimeProfileStatus } from './runtime-profile.ts';
import { worldRunSpec, worldRunSpecFieldRules } from './world-run.ts';
import { INITIAL_STATUS, worldRunStatus } from './world-run-status.ts';

/**
 * zod → structural OpenAPI schema → CustomResourceDefinition.
 *
 * The API server is stricter than JSON Schema: no `additionalProperties: false`, no `$ref`, RE2 patterns only. What it
 * would drop without a word (`propertyNames`) is refused here instead.
 */

type Json = { [key: string]: unknown };

export interface PrinterColumn {
  name: string;
  type: 'string' | 'integer' | 'number' | 'date' | 'boolean';
  jsonPath: string;
  description?: string;
  priority?: number;
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** JSON Schema as zod writes it → the structural subset, node by node. Throws on what a CRD cannot express. */
export function toStructural(node: Json, path = ''): Json {
  const out: Json = {};
  for (const [key, value] of Object.entries(node)) {
    switch (key) {
      case '$schema':
      case 'id':
        break;
      case 'additionalProperties':
        if (value === false) break;
        if (isObject(value) && Object.keys(value).length > 0) {
          out[key] = toStructural(value, `${path}.*`);
        } else {
          out['x-kubernetes-preserve-unknown-fields'] = true;
        }
        break;
      case 'properties':
        // The API server drops an empty one, and Argo CD would show the CRD as out of sync for ever.
        if (Object.keys(value as Json).length === 0) break;
        out[key] = Object.fromEntries(
          Object.entries(value as Json).map(([name, child]) => [name, toStructural(child as Json, `${path}.${name}`)]),
        );
        break;
      case 'items':
        out[key] = toStructural(value as Json, `${path}[]`);
        break;
      case 'allOf':
      case 'anyOf':
      case 'oneOf':
      case 'not':
      case '$ref':
        throw new Error(`${path}: ${key} is not structural; say it with plain properties and a CEL rule`);
      case 'maximum':
      case 'minimum':
        // zod states the safe-integer range of every integer; it is noise in `kubectl explain`.
        if (Math.abs(value as number) < Number.MAX_SAFE_INTEGER) out[key] = value;
        break;
      default:
        out[key] = value;
    }
  }
  if (out['type'] === 'integer' && out['format'] === undefined) out['format'] = 'int64';
  if (out['type'] === 'number' && out['format'] === undefined) out['format'] = 'double';
  return out;
}

function refuseKeyRules(node: Json, path: string): void {
  const { propertyNames } = node;
  if (isObject(propertyNames) && ('pattern' in propertyNames || 'enum' in propertyNames)) {
    throw new Error(`${path}: a CRD cannot restrict the keys of a map; check them with CEL`);
  }
  for (const [key, child] of Object.entries(node)) if (isObject(child)) refuseKeyRules(child, `${path}.${key}`);
}

export function structuralSchema(schema: z.ZodType): Json {
  // In the OpenAPI form zod itself drops what it says of a map's keys; only the newer form shows that it is there.
  refuseKeyRules(z.toJSONSchema(schema, { io: 'input' }) as Json, '');
  return toStructural(z.toJSONSchema(schema, { target: 'openapi-3.0', io: 'input' }) as Json);
}

interface Kind {
  kind: string;
  plural: string;
  singular: string;
  shortNames: string[];
  scope: 'Namespaced' | 'Cluster';
  description: string;
  spec: z.ZodType;
  /** Further rules at single fields of the spec. */
  specFieldRules?: Record<string, CelRule[]>;
  status: z.ZodType;
  statusDefault?: unknown;
  columns: PrinterColumn[];
}

function withFieldRules(schema: Json, rules: Record<string, CelRule[]>): Json {
  const properties = schema['properties'] as Record<string, Json>;
  for (const [field, more] of Object.entries(rules)) {
    const own = (properties[field]!['x-kubernetes-validations'] ?? []) as CelRule[];
    properties[field]!['x-kubernetes-validations'] = [...own, ...more];
  }
  return schema;
}

function crd(k: Kind): Json {
  const status = structuralSchema(k.status);
  if (k.statusDefault !== undefined) status['default'] = k.statusDefault;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${k.plural}.${GROUP}` },
    spec: {
      group: GROUP,
      scope: k.scope,
      names: {
        kind: k.kind,
        listKind: `${k.kind}List`,
        plural: k.plural,
        singular: k.singular,
        shortNames: k.shortNames,
        categories: ['worldflux'],
      },
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: k.columns,
          schema: {
            openAPIV3Schema: {
              type: 'object',
              description: k.description,
              required: ['spec'],
              properties: {
                apiVersion: { type: 'string' },
                kind: { type: 'string' },
                metadata: { type: 'object' },
                spec: withFieldRules(structuralSchema(k.spec), k.specFieldRules ?? {}),
                status,
              },
            },
          },
        },
      ],
    },
  };
}

const condition = (type: string, field: 'status' | 'reason') => `.status.conditions[?(@.type=='${type}')].${field}`;

export const worldRunCrd = crd({
  kind: 'WorldRun',
  plural: 'worldruns',
  singular: 'worldrun',
  shortNames: ['wr'],
  scope: 'Namespaced',
  description: `One run of a world model (${API_VERSION}): what to run, what to keep, how long it may take.`,
  spec: worldRunSpec.describe(
    'What to run. Fixed from creation, except suspend, cancel, sync.mode and ttlSecondsAfterFinished.',
  ),
  specFieldRules: worldRunSpecFieldRules,
  status: worldRunStatus.describe('Written by the operator alone.'),
  statusDefault: INITIAL_STATUS,
  columns: [
    { name: 'Phase', type: 'string', jsonPath: '.status.phase' },
    { name: 'Reason', type: 'string', jsonPath: condition('Ready', 'reason') },
    { name: 'Runtime', type: 'string', jsonPath: '.status.profile.runtime' },
    {
      name: 'Progress',
      type: 'number',
      jsonPath: '.status.progress.percent',
      description: 'Percent, as the run reports it',
    },
    { name: 'Duration', type: 'number', jsonPath: '.status.result.durationSeconds', description: 'Seconds' },
    { name: 'Cost', type: 'string', jsonPath: '.status.result.costEstimateUSD', description: 'US dollars, estimated' },
    { name: 'Synced', type: 'string', jsonPath: condition('Synced', 'status') },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
    { name: 'Profile', type: 'string', jsonPath: '.status.profile.name', priority: 1 },
    { name: 'Attempt', type: 'integer', jsonPath: '.status.attemptCount', priority: 1 },
    { name: 'Stored', type: 'string', jsonPath: condition('ResultsStored', 'status'), priority: 1 },
    { name: 'Node', type: 'string', jsonPath: '.status.attempts[-1:].node', priority: 1 },
    {
      name: 'External-ID',
      type: 'string',
      jsonPath: '.status.attempts[-1:].externalId',
      description: 'The vendor’s id of the work',
      priority: 1,
    },
    { name: 'Message', type: 'string', jsonPath: ".status.conditions[?(@.type=='Ready')].message", priority: 1 },
  ],
});

export const runtimeProfileCrd = crd({
  kind: 'RuntimeProfile',
  plural: 'runtimeprofiles',
  singular: 'runtimeprofile',
  shortNames: ['rtp'],
  scope: 'Cluster',
  description: `Where WorldRuns may run, on what hardware and at what price (${API_VERSION}).`,
  spec: runtimeProfileSpec,
  status: runtimeProfileStatus.describe('Written by the operator alone.'),
  columns: [
    { name: 'Runtime', type: 'string', jsonPath: '.spec.runtime' },
    { name: 'Ready', type: 'string', jsonPath: condition('Ready', 'status') },
    { name: 'Reason', type: 'string', jsonPath: condition('Ready', 'reason') },
    { name: 'Degraded', type: 'string', jsonPath: condition('Degraded', 'status') },
    { name: 'Support', type: 'string', jsonPath: '.spec.supportLevel', priority: 1 },
    { name: 'Contract', type: 'string', jsonPath: condition('ContractVerified', 'status'), priority: 1 },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
    { name: 'Message', type: 'string', jsonPath: ".status.conditions[?(@.type=='Ready')].message", priority: 1 },
  ],
});
