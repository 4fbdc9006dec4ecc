import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { mapList, withRules } from './common.ts';
import { runtimeProfileCrd, structuralSchema, worldRunCrd } from './to-crd.ts';
import { MUTABLE_FIELDS, worldRunSpecShape } from './world-run.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const CRDS = { worldruns: worldRunCrd, runtimeprofiles: runtimeProfileCrd };

type Node = { [key: string]: unknown };

/** Every schema node below, with its path. */
function* nodes(node: Node, path = ''): Generator<[string, Node]> {
  yield [path, node];
  for (const [name, child] of Object.entries((node['properties'] ?? {}) as Record<string, Node>))
    yield* nodes(child, `${path}.${name}`);
  for (const key of ['items', 'additionalProperties']) {
    if (typeof node[key] === 'object') yield* nodes(node[key] as Node, `${path}[]`);
  }
}

function schemaOf(crd: Node): Node {
  const { versions } = crd['spec'] as { versions: { schema: { openAPIV3Schema: Node } }[] };
  return versions[0]!.schema.openAPIV3Schema;
}

describe('zod to a structural schema', () => {
  test('objects stay closed by leaving additionalProperties out: the API server prunes, and strict validation refuses', () => {
    expect(structuralSchema(z.strictObject({ a: z.string() }))).toEqual({
      type: 'object',
      properties: { a: { type: 'string' } },
      required: ['a'],
    });
  });

  test('defaults make a field optional, and reach the CRD', () => {
    const schema = structuralSchema(
      z.strictObject({ a: z.string().default('x'), b: z.strictObject({ c: z.boolean().default(true) }).prefault({}) }),
    );
    expect(schema).toMatchObject({
      properties: { a: { default: 'x' }, b: { default: {}, properties: { c: { default: true } } } },
    });
    expect(schema['required'] ?? []).toEqual([]);
  });

  test('numbers carry their format, without the noise of the safe-integer range', () => {
    const schema = structuralSchema(z.strictObject({ a: z.int(), b: z.int32().min(1), c: z.number() }));
    expect(schema['properties']).toMatchObject({
      a: { type: 'integer', format: 'int64' },
      b: { type: 'integer', minimum: 1, maximum: 2_147_483_647 },
      c: { type: 'number', format: 'double' },
    });
    expect(JSON.stringify(schema)).not.toContain(String(Number.MAX_SAFE_INTEGER));
  });

  test('maps keep their value schema, loose objects keep what is unknown', () => {
    expect(structuralSchema(z.record(z.string(), z.int32()))).toMatchObject({
      type: 'object',
      additionalProperties: { type: 'integer' },
    });
    expect(structuralSchema(z.looseObject({}))).toMatchObject({ 'x-kubernetes-preserve-unknown-fields': true });
  });

  test('what is empty is left out: the API server drops it, and a GitOps tool would see a difference for ever', () => {
    expect(structuralSchema(z.strictObject({}))).toEqual({ type: 'object' });
    for (const crd of Object.values(CRDS)) {
      const empty = [...nodes(schemaOf(crd))].filter(([, node]) =>
        Object.entries(node).some(([key, value]) => key !== 'default' && JSON.stringify(value) === '{}'),
      );
      expect(empty.map(([path]) => path)).toEqual([]);
    }
  });

  test('rules and list kinds are carried along', () => {
    const rule = { rule: 'self.size() > 0', message: 'm' };
    expect(
      structuralSchema(withRules(mapList(z.array(z.strictObject({ name: z.string() })), ['name']), [rule])),
    ).toMatchObject({
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['name'],
      'x-kubernetes-validations': [rule],
    });
  });

  test.each([
    ['a union', z.union([z.string(), z.int()])],
    ['keys with a pattern', z.record(z.string().regex(/^a/), z.string())],
  ])('%s is refused, because the API server would drop it without a word', (_, schema) => {
    expect(() => structuralSchema(schema)).toThrow(/structural|keys of a map/);
  });
});

describe.each(Object.entries(CRDS))('the CRD of %s', (name, crd) => {
  test('is small: the schema is read with every discovery and costs at every write', async () => {
    expect((await readFile(join(ROOT, 'manifests', 'crds', `${name}.yaml`))).length).toBeLessThan(200 * 1024);
  });

  test('bounds every list, map and string that a person writes: rules are priced by their worst case', () => {
    const spec = (schemaOf(crd)['properties'] as Record<string, Node>)['spec']!;
    const unbounded = [...nodes(spec, '.spec')].filter(
      ([, node]) =>
        (node['type'] === 'array' && node['maxItems'] === undefined) ||
        (node['type'] === 'string' && node['maxLength'] === undefined && node['enum'] === undefined) ||
        (node['additionalProperties'] !== undefined && node['maxProperties'] === undefined),
    );
    expect(unbounded.map(([path]) => path)).toEqual([]);
  });

  test('says in words what every field of its spec is for, or names it so that nothing needs saying', () => {
    const spec = (schemaOf(crd)['properties'] as Record<string, Node>)['spec']!;
    const top = Object.entries(spec['properties'] as Record<string, Node>);
    const bare = top.filter(
      ([field, node]) =>
        node['description'] === undefined &&
        ![
          'image',
          'command',
          'args',
          'env',
          'volumes',
          'nodeSelector',
          'queueName',
          'outputs',
          'limits',
          'retention',
          'retry',
          'nodeLostSeconds',
        ].includes(field),
    );
    expect(bare.map(([field]) => field)).toEqual([]);
  });

  test('uses patterns that RE2 knows', () => {
    const patterns = [...nodes(schemaOf(crd))].flatMap(([, node]) =>
      typeof node['pattern'] === 'string' ? [node['pattern']] : [],
    );
    // Lookaround and back references are what JavaScript has and RE2 has not.
    expect(patterns.filter((pattern) => /\(\?[=!<]|\\[1-9]/.test(pattern))).toEqual([]);
    for (const pattern of patterns) expect(() => new RegExp(pattern)).not.toThrow();
  });

  test('every rule says what would be right', () => {
    const rules = [...nodes(schemaOf(crd))].flatMap(
      ([, node]) => (node['x-kubernetes-validations'] ?? []) as { rule: string; message: string }[],
    );
    expect(rules.filter(({ message }) => message.length < 10)).toEqual([]);
  });
});

test('no field of a run but the mutable ones can change, appear or go', () => {
  const spec = (schemaOf(worldRunCrd)['properties'] as Record<string, Node>)['spec']!;
  const properties = spec['properties'] as Record<string, Node>;
  const rulesOf = (node: Node) =>
    ((node['x-kubernetes-validations'] ?? []) as { rule: string }[]).map(({ rule }) => rule);
  const fields = Object.keys(worldRunSpecShape).filter(
    (field) => !(MUTABLE_FIELDS as readonly string[]).includes(field),
  );
  const change = fields.filter((field) => !rulesOf(properties[field]!).includes('self == oldSelf'));
  // A default fills in what is left out: such a field is always there.
  const optional = fields.filter((field) => properties[field]!['default'] === undefined);
  const come = optional.filter((field) => !rulesOf(spec).includes(`has(self.${field}) == has(oldSelf.${field})`));
  expect({ change, come }).toEqual({ change: [], come: [] });
});

test('what is committed is what the schemas generate', async () => {
  const check = promisify(execFile)(process.execPath, [join(ROOT, 'scripts', 'generate.ts'), '--check'], { cwd: ROOT });
  await expect(check).resolves.toBeDefined();
}, 60_000);
