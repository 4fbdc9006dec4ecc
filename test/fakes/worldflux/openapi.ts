import { z } from 'zod';
import { wireSchema } from './bodies.ts';
import type { BodyName, Dialect, RoutePlace } from './dialects.ts';

/** The document a FastAPI server of this dialect would serve: components, `$ref`s and 422 answers included. */

type Json = Record<string, unknown>;

const TITLES: Record<BodyName, string> = {
  runs: 'SyncRunRequest',
  initiate: 'ArtifactInitiateRequest',
  commit: 'ArtifactCommitRequest',
  abort: 'ArtifactAbortRequest',
  ledger: 'LedgerHeadRequest',
};

/** pydantic writes an optional or nullable field as `anyOf` with null. */
function asPydantic(schema: Json): Json {
  const required = new Set((schema['required'] as string[] | undefined) ?? []);
  const properties: Json = {};
  for (const [name, property] of Object.entries((schema['properties'] as Json | undefined) ?? {})) {
    properties[name] =
      required.has(name) || (property as Json)['anyOf'] !== undefined
        ? property
        : { anyOf: [property, { type: 'null' }] };
  }
  const { $schema: _, additionalProperties: __, ...rest } = schema;
  return { ...rest, properties };
}

function operation(place: RoutePlace, query: Json[], body?: string): [string, Json] {
  const parameters = [...place.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string', format: 'uuid' },
  }));
  return [
    place.method.toLowerCase(),
    {
      tags: ['sync'],
      operationId: place.operationId,
      parameters: [...parameters, ...query],
      security: [{ HTTPBearer: [] }],
      ...(body === undefined
        ? {}
        : {
            requestBody: {
              required: true,
              content: { 'application/json': { schema: { $ref: `#/components/schemas/${body}` } } },
            },
          }),
      responses: {
        '200': { description: 'Successful Response', content: { 'application/json': { schema: {} } } },
        '422': {
          description: 'Validation Error',
          content: { 'application/json': { schema: { $ref: '#/components/schemas/HTTPValidationError' } } },
        },
      },
    },
  ];
}

/** Reads that the documents name, and some routes that sync must never touch. */
const OTHERS: [RoutePlace, string[]][] = [
  [{ method: 'GET', path: '/healthz', operationId: 'healthz_healthz_get' }, []],
  [{ method: 'GET', path: '/health/r2', operationId: 'health_r2_health_r2_get' }, []],
  [{ method: 'GET', path: '/api/projects', operationId: 'list_projects_api_projects_get' }, []],
  [{ method: 'POST', path: '/api/projects', operationId: 'create_project_api_projects_post' }, []],
  [{ method: 'GET', path: '/api/runs', operationId: 'list_runs_api_runs_get' }, ['client_run_id']],
  [{ method: 'GET', path: '/api/runs/{run_id}', operationId: 'get_run_api_runs__run_id__get' }, []],
  [{ method: 'DELETE', path: '/api/runs/{run_id}', operationId: 'delete_run_api_runs__run_id__delete' }, []],
  [
    {
      method: 'GET',
      path: '/api/runs/{run_id}/manifest',
      operationId: 'get_run_manifest_api_runs__run_id__manifest_get',
    },
    [],
  ],
  [
    {
      method: 'GET',
      path: '/api/artifacts/{artifact_id}',
      operationId: 'get_artifact_api_artifacts__artifact_id__get',
    },
    [],
  ],
  [{ method: 'POST', path: '/api/shares', operationId: 'create_share_for_artifact_api_shares_post' }, []],
  [{ method: 'POST', path: '/api/claims/{claim_id}/artifacts/commit', operationId: 'commit_claim_artifact' }, []],
  [{ method: 'POST', path: '/api/cloud/sync/runs', operationId: 'bff_sync_run' }, []],
];

export function openApiOf(dialect: Dialect): Json {
  const schemas: Json = {
    HTTPValidationError: {
      title: 'HTTPValidationError',
      type: 'object',
      properties: { detail: { type: 'array', items: { type: 'object' } } },
    },
  };
  const paths: Record<string, Json> = {};
  const put = (place: RoutePlace, [method, value]: [string, Json]) => {
    paths[place.path] = { ...paths[place.path], [method]: value };
  };
  const bodyOf = (name: BodyName): string | undefined => {
    const schema = wireSchema(dialect, name);
    if (schema === undefined) return undefined;
    schemas[TITLES[name]] = { title: TITLES[name], ...asPydantic(z.toJSONSchema(schema) as Json) };
    return TITLES[name];
  };
  const { routes } = dialect;
  const projectName = dialect.names.ledger?.['project'] ?? 'project';
  put(routes.runs, operation(routes.runs, [], bodyOf('runs')));
  if (routes.ledgerRead !== undefined) {
    const scope = { name: projectName, in: 'query', required: true, schema: { type: 'string' } };
    put(routes.ledgerRead, operation(routes.ledgerRead, [scope]));
  }
  if (routes.ledgerWrite !== undefined) put(routes.ledgerWrite, operation(routes.ledgerWrite, [], bodyOf('ledger')));
  for (const name of ['initiate', 'commit', 'abort'] as const) {
    const place = routes[name];
    if (place !== undefined) put(place, operation(place, [], bodyOf(name)));
  }
  for (const [place, query] of OTHERS) {
    put(
      place,
      operation(
        place,
        query.map((name) => ({ name, in: 'query', required: false, schema: { type: 'string' } })),
      ),
    );
  }
  return {
    openapi: '3.1.0',
    info: { title: `Inferred sync API (${dialect.name})`, version: '0' },
    paths,
    components: { schemas },
  };
}
