import type { HttpMethod } from '../net/http.ts';

/**
 * Where the sync routes are and how their fields are called: pinned to what is documented and guessed, or read from the
 * server's own `/openapi.json`. Nothing outside this folder knows a path or a JSON key.
 */

/** Everything that a request can carry. What has no name here cannot be sent. */
export interface Values {
  readonly clientRunId?: string;
  /** Short name, such as `demo-box`. */
  readonly project?: string;
  /** The same project by the id that the server gave. */
  readonly projectId?: string;
  /** RFC 8785 canonical JSON. */
  readonly manifest?: string;
  readonly manifestDigest?: string;
  readonly metrics?: Readonly<Record<string, number>>;
  readonly logLines?: readonly string[];
  readonly cloudRunId?: string;
  readonly artifactId?: string;
  readonly artifactName?: string;
  readonly artifactPath?: string;
  /** Bytes. */
  readonly sizeBytes?: number;
  /** Lower-case hex. */
  readonly sha256?: string;
  readonly contentType?: string;
  /** The head that was read before; null where the ledger is empty. */
  readonly expectedHead?: string | null;
  readonly head?: string;
}
export type Known = keyof Values;

/** How a value is written where there is a choice. */
export type Form = 'Plain' | 'Text' | 'Lines';

export interface Slot {
  readonly value: Known;
  /** Keys from the body's root. */
  readonly at: readonly string[];
  readonly form: Form;
}

export interface Route {
  readonly method: HttpMethod;
  readonly path: string;
  /** Path parameter → what belongs there. */
  readonly params: Readonly<Record<string, Known>>;
  readonly query: Readonly<Record<string, Known>>;
  readonly slots: readonly Slot[];
}

/** What each route is for. */
export const ROLES = {
  health: 'health',
  projects: 'list of projects',
  ledgerRead: 'read the ledger head',
  ledgerWrite: 'set the ledger head',
  run: 'post a run',
  initiate: 'initiate an artifact',
  commit: 'commit an artifact',
  abort: 'abort an artifact',
  findRun: 'find a run by its client_run_id',
  readManifest: 'read a run’s manifest',
  readArtifact: 'read an artifact',
} as const;
export type Role = keyof typeof ROLES;

export interface Problem {
  readonly role: Role;
  /** In words, for the person who can tell whether it matters; names of routes and fields, no data. */
  readonly text: string;
}

export interface Contract {
  /** Pinned: no document was served, and nothing is known but what the public documents say. */
  readonly source: 'Pinned' | 'OpenAPI';
  /** SHA-256 of the document, hex. */
  readonly digest: string | undefined;
  readonly routes: Readonly<Partial<Record<Role, Route>>>;
  readonly problems: readonly Problem[];
  /** What was found under another name than the pinned one. */
  readonly renamed: readonly string[];
}

/** Routes that a sync cannot do without, and those that only artifacts need. */
export const RUN_ROLES = ['run'] as const satisfies readonly Role[];
export const ARTIFACT_ROLES = ['initiate', 'commit', 'abort'] as const satisfies readonly Role[];
/** With these, runs of one target go one after the other. */
export const LEDGER_ROLES = ['ledgerRead', 'ledgerWrite'] as const satisfies readonly Role[];

export interface Verdict {
  readonly status: 'True' | 'False' | 'Unknown';
  readonly message: string;
}

/** What `ContractVerified` says. */
export function verdictOf(contract: Contract): Verdict {
  if (contract.source === 'Pinned') {
    return {
      status: 'Unknown',
      message: 'The target serves no /openapi.json; the documented routes and inferred fields are used.',
    };
  }
  if (contract.problems.length > 0) {
    return {
      status: 'False',
      message: contract.problems.map(({ role, text }) => `${ROLES[role]}: ${text}`).join('; '),
    };
  }
  const renamed = contract.renamed.length === 0 ? '' : ` Under other names: ${contract.renamed.join(', ')}.`;
  return { status: 'True', message: `Every sync route and field was found in /openapi.json.${renamed}` };
}

/** Problems that keep these roles from being used. */
export function problemsOf(contract: Contract, roles: readonly Role[]): Problem[] {
  return contract.problems.filter(({ role }) => roles.includes(role));
}

export const hasLedger = (contract: Contract): boolean =>
  LEDGER_ROLES.every((role) => contract.routes[role] !== undefined);
export const hasArtifacts = (contract: Contract): boolean =>
  ARTIFACT_ROLES.every((role) => contract.routes[role] !== undefined) &&
  problemsOf(contract, ARTIFACT_ROLES).length === 0;

const plain = (...names: [string, Known][]): Slot[] =>
  names.map(([name, value]) => ({ value, at: [name], form: value === 'logLines' ? 'Lines' : 'Plain' }));

const route = (
  method: HttpMethod,
  path: string,
  more: Partial<Pick<Route, 'params' | 'query' | 'slots'>> = {},
): Route => ({
  method,
  path,
  params: {},
  query: {},
  slots: [],
  ...more,
});

/** Documented routes; the artifact paths and every field name are inferred. */
export const PINNED: Contract = {
  source: 'Pinned',
  digest: undefined,
  problems: [],
  renamed: [],
  routes: {
    health: route('GET', '/healthz'),
    projects: route('GET', '/api/projects'),
    ledgerRead: route('GET', '/api/sync/ledger-head', { query: { project: 'project' } }),
    ledgerWrite: route('POST', '/api/sync/ledger-head', {
      slots: plain(
        ['project', 'project'],
        ['expected_head', 'expectedHead'],
        ['head', 'head'],
        ['client_run_id', 'clientRunId'],
      ),
    }),
    run: route('POST', '/api/sync/runs', {
      slots: plain(
        ['project', 'project'],
        ['client_run_id', 'clientRunId'],
        ['manifest', 'manifest'],
        ['metrics', 'metrics'],
        ['log_lines', 'logLines'],
      ),
    }),
    initiate: route('POST', '/api/sync/artifacts/initiate', {
      slots: plain(
        ['run_id', 'cloudRunId'],
        ['name', 'artifactName'],
        ['path', 'artifactPath'],
        ['size_bytes', 'sizeBytes'],
        ['sha256', 'sha256'],
        ['content_type', 'contentType'],
      ),
    }),
    commit: route('POST', '/api/sync/artifacts/commit', {
      slots: plain(['artifact_id', 'artifactId'], ['sha256', 'sha256'], ['size_bytes', 'sizeBytes']),
    }),
    abort: route('POST', '/api/sync/artifacts/abort', { slots: plain(['artifact_id', 'artifactId']) }),
    findRun: route('GET', '/api/runs', { query: { client_run_id: 'clientRunId' } }),
    readManifest: route('GET', '/api/runs/{run_id}/manifest', { params: { run_id: 'cloudRunId' } }),
    readArtifact: route('GET', '/api/artifacts/{artifact_id}', { params: { artifact_id: 'artifactId' } }),
  },
};
