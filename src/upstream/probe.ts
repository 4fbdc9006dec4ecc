import { createHash } from 'node:crypto';
import {
  PINNED,
  ROLES,
  type Contract,
  type Known,
  type Problem,
  type Role,
  type Route,
  type Slot,
} from './contract.ts';
import { formFor, knownValue } from './names.ts';
import { operationsOf, type Field, type Operation } from './openapi.ts';

/**
 * Finds the sync routes in a server's OpenAPI document, also under other names, and maps the fields we have onto the
 * fields it asks for. What it cannot map it says; it never guesses a value.
 */

interface Search {
  readonly methods: readonly string[];
  /** One word of each group must be there. */
  readonly words: readonly (readonly string[])[];
  readonly without: readonly string[];
  /** What a request of this role may carry. */
  readonly values: readonly Known[];
  /** What it must be able to carry, to be worth anything. */
  readonly needs: readonly Known[];
  /** Its absence is a problem. */
  readonly expected: boolean;
}

const ARTIFACT = ['artifact', 'artifacts', 'upload', 'uploads'];
const LEDGER = ['ledger', 'ledgerhead'];
const RUN = ['run', 'runs'];
const BEGIN = ['initiate', 'init', 'begin', 'start', 'open', 'create', 'prepare', 'presign'];
const FINISH = ['commit', 'complete', 'finalize', 'finalise', 'finish', 'confirm'];
const GIVE_UP = ['abort', 'cancel', 'discard', 'abandon'];

const ARTIFACT_VALUES: Known[] = [
  'cloudRunId',
  'clientRunId',
  'project',
  'projectId',
  'artifactId',
  'artifactName',
  'artifactPath',
  'sizeBytes',
  'sha256',
  'contentType',
];
const FOUND_ARTIFACT: Known[] = [
  'cloudRunId',
  'clientRunId',
  'project',
  'projectId',
  'artifactId',
  'sizeBytes',
  'sha256',
];

const SEARCHES: Record<Role, Search> = {
  health: {
    methods: ['GET'],
    words: [['healthz', 'health', 'livez']],
    without: ['db', 'r2'],
    values: [],
    needs: [],
    expected: false,
  },
  projects: {
    methods: ['GET'],
    words: [['projects']],
    without: [...RUN, ...ARTIFACT],
    values: [],
    needs: [],
    expected: false,
  },
  ledgerRead: {
    methods: ['GET'],
    words: [LEDGER],
    without: ARTIFACT,
    values: ['project', 'projectId'],
    needs: [],
    expected: true,
  },
  ledgerWrite: {
    methods: ['POST', 'PUT', 'PATCH'],
    words: [LEDGER],
    without: ARTIFACT,
    values: ['project', 'projectId', 'expectedHead', 'head', 'clientRunId', 'cloudRunId', 'manifestDigest'],
    needs: ['head'],
    expected: true,
  },
  run: {
    methods: ['POST', 'PUT'],
    words: [['sync', 'synced'], RUN],
    without: [...ARTIFACT, ...LEDGER],
    values: ['project', 'projectId', 'clientRunId', 'manifest', 'manifestDigest', 'metrics', 'logLines'],
    needs: ['clientRunId', 'manifest'],
    expected: true,
  },
  initiate: {
    methods: ['POST', 'PUT'],
    words: [ARTIFACT, BEGIN],
    without: [...FINISH, ...GIVE_UP, ...LEDGER],
    values: ARTIFACT_VALUES,
    needs: ['artifactName'],
    expected: true,
  },
  commit: {
    methods: ['POST', 'PUT', 'PATCH'],
    words: [ARTIFACT, FINISH],
    without: LEDGER,
    values: FOUND_ARTIFACT,
    needs: ['artifactId'],
    expected: true,
  },
  abort: {
    methods: ['POST', 'PUT', 'DELETE'],
    words: [ARTIFACT, GIVE_UP],
    without: LEDGER,
    values: FOUND_ARTIFACT,
    needs: ['artifactId'],
    expected: true,
  },
  findRun: {
    methods: ['GET'],
    words: [['runs']],
    without: [...ARTIFACT, 'manifest', 'sync'],
    values: ['clientRunId', 'project', 'projectId'],
    needs: ['clientRunId'],
    expected: false,
  },
  readManifest: {
    methods: ['GET'],
    words: [['runs'], ['manifest']],
    without: ARTIFACT,
    values: ['cloudRunId'],
    needs: ['cloudRunId'],
    expected: false,
  },
  readArtifact: {
    methods: ['GET'],
    words: [['artifacts']],
    without: [...RUN, 'sync', 'download'],
    values: ['artifactId'],
    needs: ['artifactId'],
    expected: false,
  },
};

/**
 * Words that make a route none of ours, whatever else it says: the dashboard's own routes, everything that publishes,
 * sells or belongs to a person. An operator must never end up there by a likeness of names.
 */
const NEVER = new Set(
  'cloud share shares public publish claim claims museum billing me audit usage invite invitations key keys auth admin webhook'.split(
    ' ',
  ),
);

export function probeOpenApi(document: unknown): Contract | undefined {
  const operations = operationsOf(document)?.filter((o) => ![...o.pathWords].some((word) => NEVER.has(word)));
  if (operations === undefined) return undefined;
  const routes: Partial<Record<Role, Route>> = {};
  const problems: Problem[] = [];
  const renamed: string[] = [];
  for (const role of Object.keys(ROLES) as Role[]) {
    const found = find(operations, role);
    if (found === 'Ambiguous') {
      problems.push({ role, text: 'several routes could be meant' });
    } else if (found === undefined) {
      if (SEARCHES[role].expected) problems.push({ role, text: 'no such route' });
    } else {
      const { route, missing } = mapRoute(found, SEARCHES[role]);
      if (missing.length === 0) routes[role] = route;
      // A read-back that does not fit is done without; the rest is for a person to look at.
      else if (SEARCHES[role].expected)
        problems.push(...missing.map((text) => ({ role, text: `${route.method} ${route.path} ${text}` })));
      const pinned = PINNED.routes[role];
      if (pinned !== undefined && (pinned.path !== route.path || pinned.method !== route.method))
        renamed.push(`${route.method} ${route.path}`);
    }
  }
  return {
    source: 'OpenAPI',
    digest: createHash('sha256').update(JSON.stringify(document)).digest('hex'),
    routes,
    problems,
    renamed,
  };
}

function find(operations: readonly Operation[], role: Role): Operation | 'Ambiguous' | undefined {
  const search = SEARCHES[role];
  const pinned = PINNED.routes[role];
  const documented = operations.find((o) => o.path === pinned?.path && o.method === pinned.method);
  if (documented !== undefined) return documented;
  const candidates = operations
    .filter((o) => search.methods.includes(o.method))
    .filter((o) => search.words.every((group) => group.some((word) => o.words.has(word))))
    .filter((o) => !search.without.some((word) => o.pathWords.has(word)))
    // A word of the operation id is weak evidence: "commit_run_and_create_artifact" is no initiate.
    .map((o) => ({
      o,
      score:
        (o.pathWords.has('sync') ? 8 : 0) +
        search.words.filter((group) => group.some((word) => o.pathWords.has(word))).length * 2 -
        o.pathParams.length,
    }))
    .toSorted((a, b) => b.score - a.score);
  const [best, second] = candidates;
  if (best === undefined) return undefined;
  return second !== undefined && second.score === best.score ? 'Ambiguous' : best.o;
}

function mapRoute(operation: Operation, search: Search): { route: Route; missing: string[] } {
  const missing: string[] = operation.demandedHeaders.map((name) => `asks for the header ${name}`);
  const params: Record<string, Known> = {};
  for (const name of operation.pathParams) {
    const value = knownValue(name, search.values);
    if (value === undefined) missing.push(`has the path parameter ${name}`);
    else params[name] = value;
  }
  const query: Record<string, Known> = {};
  for (const { name, required } of operation.query) {
    const value = knownValue(name, search.values);
    if (value !== undefined) query[name] = value;
    else if (required) missing.push(`asks for the query parameter ${name}`);
  }
  const slots = operation.body === undefined ? [] : slotsOf(operation.body, search.values, missing);
  const carried = new Set<Known>([
    ...Object.values(params),
    ...Object.values(query),
    ...slots.map(({ value }) => value),
  ]);
  for (const need of search.needs) if (!carried.has(need)) missing.push(`has no place for ${need}`);
  return {
    route: { method: operation.method as Route['method'], path: operation.path, params, query, slots },
    missing,
  };
}

/** Fields of the body, and of one envelope around them. */
function slotsOf(body: Field, values: readonly Known[], missing: string[], at: readonly string[] = []): Slot[] {
  return body.fields.flatMap((field): Slot[] => {
    const path = [...at, field.name];
    const value = knownValue(field.name, values, field.format);
    const form = value === undefined ? undefined : formFor(value, field);
    if (value !== undefined && form !== undefined) return [{ value, at: path, form }];
    if (field.fields.length > 0 && at.length === 0 && field.required) return slotsOf(field, values, missing, path);
    if (field.required) {
      missing.push(
        value === undefined
          ? `asks for the field ${path.join('.')}`
          : `wants ${path.join('.')} as ${[...field.kinds].join(' or ')}`,
      );
    }
    return [];
  });
}
