/** An OpenAPI document as the probe needs it: operations with their parameters and the fields of their JSON body. */

export type FieldKind = 'string' | 'number' | 'integer' | 'boolean' | 'object' | 'array';

export interface Field {
  readonly name: string;
  readonly required: boolean;
  /** Empty: the schema does not say. */
  readonly kinds: ReadonlySet<FieldKind>;
  readonly format: string | undefined;
  /** Properties of an object; empty where it names none. */
  readonly fields: readonly Field[];
}

export interface Parameter {
  readonly name: string;
  readonly required: boolean;
}

export interface Operation {
  readonly method: string;
  /** A template such as `/api/runs/{run_id}`. */
  readonly path: string;
  /** Lower-case words of the path and of the operation id. */
  readonly words: ReadonlySet<string>;
  /** Lower-case words of the path alone. */
  readonly pathWords: ReadonlySet<string>;
  readonly pathParams: readonly string[];
  readonly query: readonly Parameter[];
  /** Headers and cookies that the operation insists on, credentials apart. */
  readonly demandedHeaders: readonly string[];
  /** Undefined: no JSON body. */
  readonly body: Field | undefined;
}

type Json = Record<string, unknown>;

interface Root {
  readonly document: Json;
  nodesLeft: number;
}

/** Schemas nest and refer to themselves; sync bodies are shallow. */
const MAX_DEPTH = 6;
/** A body's own fields, and those of one envelope. */
const MAX_NESTING = 2;
/** Schema nodes that are looked at in one document: a hostile one could refer to itself a million times over. */
const MAX_NODES = 50_000;
const METHODS = new Set(['get', 'post', 'put', 'patch', 'delete']);
const CREDENTIAL_HEADERS = new Set(['authorization', 'x-api-key', 'cookie']);

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

/** `artifact-uploads`, `beginUpload` and `begin_upload_post` → their words. */
export function wordsOf(name: string): string[] {
  return name
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== '');
}

/** Undefined for what is not an OpenAPI 3 document. */
export function operationsOf(document: unknown): Operation[] | undefined {
  if (!isObject(document) || !isObject(document['paths']) || !text(document['openapi'])?.startsWith('3.'))
    return undefined;
  const root: Root = { document, nodesLeft: MAX_NODES };
  return Object.entries(document['paths']).flatMap(([path, item]) =>
    isObject(item)
      ? Object.entries(item)
          .filter(([method, value]) => METHODS.has(method) && isObject(value))
          .map(([method, value]) => operationOf(root, path, method, value as Json, list(item['parameters'])))
      : [],
  );
}

function operationOf(root: Root, path: string, method: string, value: Json, shared: unknown[]): Operation {
  const parameters = [...shared, ...list(value['parameters'])].map((p) => resolve(root, p)).filter(isObject);
  const named = (place: string) =>
    parameters
      .filter((p) => p['in'] === place)
      .map((p): Parameter => ({ name: text(p['name']) ?? '', required: p['required'] === true }));
  const demandedHeaders = [...named('header'), ...named('cookie')]
    .filter(({ name, required }) => required && !CREDENTIAL_HEADERS.has(name.toLowerCase()))
    .map(({ name }) => name);
  const pathWords = new Set(wordsOf(path.replaceAll(/\{[^}]*\}/g, '/')));
  return {
    method: method.toUpperCase(),
    path,
    words: new Set([...pathWords, ...wordsOf(text(value['operationId']) ?? '')]),
    pathWords,
    pathParams: [...path.matchAll(/\{([^}]+)\}/g)].map(([, name]) => name ?? ''),
    query: named('query'),
    demandedHeaders,
    body: bodyOf(root, value['requestBody']),
  };
}

function bodyOf(root: Root, requestBody: unknown): Field | undefined {
  const body = resolve(root, requestBody);
  if (!isObject(body) || !isObject(body['content'])) return undefined;
  const json = Object.entries(body['content']).find(([type]) => /^application\/(.+\+)?json\b/.test(type))?.[1];
  if (!isObject(json)) return undefined;
  return fieldOf(root, '', json['schema'], body['required'] === true, 0);
}

function resolve(root: Root, value: unknown): unknown {
  let current = value;
  for (let hops = 0; hops < MAX_DEPTH && isObject(current); hops += 1) {
    const reference = text(current['$ref']);
    if (reference === undefined) return current;
    if (!reference.startsWith('#/')) return undefined;
    let target: unknown = root.document;
    for (const part of reference.slice(2).split('/')) {
      const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
      target = isObject(target) && Object.hasOwn(target, key) ? target[key] : undefined;
    }
    current = target;
  }
  return current;
}

function fieldOf(root: Root, name: string, schema: unknown, required: boolean, depth: number): Field {
  const kinds = new Set<FieldKind>();
  let format: string | undefined;
  const properties = new Map<string, unknown>();
  const demanded = new Set<string>();
  /** `allOf` adds up; of `anyOf` and `oneOf` null is dropped, and with one choice left that one is meant. */
  const absorb = (value: unknown, level: number): void => {
    const node = resolve(root, value);
    if (!isObject(node) || level > MAX_DEPTH || root.nodesLeft <= 0) return;
    const named = Object.entries(isObject(node['properties']) ? node['properties'] : {});
    root.nodesLeft -= 1 + named.length;
    for (const kind of [node['type']].flat())
      if (typeof kind === 'string' && kind !== 'null') kinds.add(kind as FieldKind);
    format ??= text(node['format']);
    for (const [key, property] of named) properties.set(key, property);
    for (const key of list(node['required'])) if (typeof key === 'string') demanded.add(key);
    for (const part of list(node['allOf'])) absorb(part, level + 1);
    const choices = [...list(node['anyOf']), ...list(node['oneOf'])].filter(
      (c) => !isObject(c) || c['type'] !== 'null',
    );
    for (const choice of choices) {
      if (choices.length === 1) absorb(choice, level + 1);
      else for (const kind of fieldOf(root, '', choice, false, MAX_NESTING).kinds) kinds.add(kind);
    }
  };
  absorb(schema, 0);
  const fields =
    depth >= MAX_NESTING
      ? []
      : [...properties].map(([key, value]) => fieldOf(root, key, value, demanded.has(key), depth + 1));
  return { name, required, kinds, format, fields };
}
