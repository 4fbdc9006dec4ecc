import { createHash } from 'node:crypto';
import { VERSION } from '../../version.ts';
import {
  RESULTS,
  RESULTS_API_VERSION,
  RESULTS_GROUP,
  RESULTS_ROOT,
  RESULTS_VERSION,
  type ResultsPart,
} from './protocol.ts';

/** The API server merges these into its own documents. */

interface Parameter {
  name: string;
  in: 'path' | 'query' | 'header';
  required: boolean;
  description: string;
  type: 'string' | 'integer';
}

const info = { title: 'worldflux results', version: VERSION };
const inPath = (name: string, description: string): Parameter => ({
  name,
  in: 'path',
  required: true,
  description,
  type: 'string',
});
const inQuery = (name: string, type: Parameter['type'], description: string): Parameter => ({
  name,
  in: 'query',
  required: false,
  description,
  type,
});

const RANK = inQuery('rank', 'integer', 'Node of a run with several; 0 when absent.');
const RANGE: Parameter = {
  name: 'Range',
  in: 'header',
  required: false,
  description: 'A single byte range.',
  type: 'string',
};

const OPERATIONS: Record<ResultsPart, { description: string; produces: string; query: Parameter[] }> = {
  log: {
    description: 'The log as the run store holds it, redacted; of a run that goes on, what is stored so far.',
    produces: 'text/plain',
    query: [RANK, inQuery('attempt', 'integer', 'The last one when absent.'), RANGE],
  },
  manifest: {
    description: 'The whole manifest in RFC 8785 form: the SHA-256 of these bytes is status.manifestDigest.',
    produces: 'application/json',
    query: [],
  },
  artifacts: {
    description: 'The list of artifacts; with a name the bytes of one, or where they are for five minutes.',
    produces: 'application/json',
    query: [inQuery('name', 'string', 'Of the artifact to read.'), RANK, RANGE],
  },
  events: {
    description:
      'Calls to vendors and to WorldFlux that served the run, one JSON object a line; so far, while it goes on.',
    produces: 'application/jsonl',
    query: [],
  },
};

function operations<T>(make: (part: ResultsPart, parameters: Parameter[]) => T): Record<string, { get: T }> {
  return Object.fromEntries(
    (Object.keys(RESULTS) as ResultsPart[]).map((part) => [
      `${RESULTS_ROOT}/namespaces/{namespace}/worldruns/{name}/${part}`,
      {
        get: make(part, [inPath('namespace', 'Of the run.'), inPath('name', 'Of the run.'), ...OPERATIONS[part].query]),
      },
    ]),
  );
}

const common = (part: ResultsPart) => ({
  description: OPERATIONS[part].description,
  operationId: `readResultsWorldfluxAiV1alpha1Namespaced${RESULTS[part]}`,
  tags: ['resultsWorldfluxAi_v1alpha1'],
  'x-kubernetes-action': 'get',
  'x-kubernetes-group-version-kind': { group: RESULTS_GROUP, version: RESULTS_VERSION, kind: RESULTS[part] },
});

export const OPENAPI_V2 = {
  swagger: '2.0',
  info,
  paths: operations((part, parameters) => ({
    ...common(part),
    produces: [OPERATIONS[part].produces],
    parameters: parameters.map((parameter) => ({ ...parameter, uniqueItems: true })),
    responses: { 200: { description: 'OK' }, 401: { description: 'Unauthorized' } },
  })),
  definitions: {},
};

export const OPENAPI_V3_PATH = `/openapi/v3/apis/${RESULTS_API_VERSION}`;
export const OPENAPI_V3 = {
  openapi: '3.0.0',
  info,
  paths: operations((part, parameters) => ({
    ...common(part),
    parameters: parameters.map(({ type, ...parameter }) => ({ ...parameter, schema: { type } })),
    responses: {
      200: { description: 'OK', content: { [OPERATIONS[part].produces]: { schema: {} } } },
      401: { description: 'Unauthorized' },
    },
  })),
  components: { schemas: {} },
};

const hash = createHash('sha256').update(JSON.stringify(OPENAPI_V3)).digest('hex').toUpperCase();
export const OPENAPI_V3_INDEX = {
  paths: { [`apis/${RESULTS_API_VERSION}`]: { serverRelativeURL: `${OPENAPI_V3_PATH}?hash=${hash}` } },
};
