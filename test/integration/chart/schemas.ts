import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cluster } from '../../cluster/index.ts';

/** Of an OpenAPI 3 document, what matters here. */
interface Schema {
  properties?: Record<string, Schema>;
  items?: Schema;
  additionalProperties?: unknown;
  'x-kubernetes-preserve-unknown-fields'?: boolean;
  'x-kubernetes-group-version-kind'?: { group: string; version: string; kind: string }[];
}
interface OpenApi {
  components?: { schemas?: Record<string, Schema> };
}

/** For kubeconform's `-schema-location`, relative to the folder. */
export const SCHEMA_FILE = '{{ .Group }}_{{ .ResourceAPIVersion }}_{{ .ResourceKind }}.json';

/**
 * Writes a strict JSON schema for each of these kinds (`apps/v1/Deployment`; the core group's is empty), from what the
 * API server says about itself: public collections of such schemas are neither needed nor as new.
 */
export async function writeSchemas(
  cluster: Pick<Cluster, 'kubectl'>,
  kinds: Iterable<string>,
  folder: string,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const wanted of new Set(kinds)) {
    const [group, version, kind] = wanted.split('/') as [string, string, string];
    const path = group === '' ? `api/${version}` : `apis/${group}/${version}`;
    const document = JSON.parse(await cluster.kubectl(['get', '--raw', `/openapi/v3/${path}`])) as OpenApi;
    const schemas = document.components?.schemas ?? {};
    const [name] =
      Object.entries(schemas).find(([, schema]) =>
        schema['x-kubernetes-group-version-kind']?.some(
          (of) => of.group === group && of.version === version && of.kind === kind,
        ),
      ) ?? [];
    if (name === undefined) throw new Error(`the API server describes no ${wanted}`);
    for (const schema of Object.values(schemas)) close(schema);
    // kubeconform calls the core group by its version.
    const file = join(folder, `${group || version}_${version}_${kind.toLowerCase()}.json`);
    await writeFile(file, JSON.stringify({ $ref: `#/components/schemas/${name}`, components: { schemas } }));
  }
}

/** A field that the server does not know is a mistake. */
function close(schema: Schema): void {
  const { properties, items } = schema;
  if (properties !== undefined && schema['x-kubernetes-preserve-unknown-fields'] !== true)
    schema.additionalProperties ??= false;
  for (const child of Object.values(properties ?? {})) close(child);
  if (items !== undefined) close(items);
}
