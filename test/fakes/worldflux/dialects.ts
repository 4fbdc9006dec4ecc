/**
 * One meaning, several spellings: where a server puts its sync routes and how it names their fields. The real names are
 * not public, so the operator has to find them in `/openapi.json`; these differ on purpose.
 */

export const BODIES = ['runs', 'initiate', 'commit', 'abort', 'ledger'] as const;
export type BodyName = (typeof BODIES)[number];

/** Canonical name → name on the wire; `null`: the dialect has no such field. Fields not listed keep their name. */
export type Names = Record<string, string | null>;

export interface RoutePlace {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** OpenAPI template; `{…}` holds a canonical field name or one of its wire names. */
  path: string;
  operationId: string;
}

export interface Dialect {
  name: string;
  routes: { runs: RoutePlace } & Partial<
    Record<'ledgerRead' | 'ledgerWrite' | 'initiate' | 'commit' | 'abort', RoutePlace>
  >;
  names: Partial<Record<BodyName, Names>>;
  /** Everything of `POST runs` lies in one object of this name. */
  wrapRun?: string;
  project: 'slug' | 'id';
  log: 'lines' | 'text';
  answers: 'flat' | 'nested';
  /** Further fields that `POST runs` insists on, and that nobody can know. */
  demands?: string[];
}

const documented = {
  runs: { method: 'POST', path: '/api/sync/runs', operationId: 'sync_run_api_sync_runs_post' },
  ledgerRead: { method: 'GET', path: '/api/sync/ledger-head', operationId: 'get_ledger_head_api_sync_ledger_head_get' },
  ledgerWrite: {
    method: 'POST',
    path: '/api/sync/ledger-head',
    operationId: 'set_ledger_head_api_sync_ledger_head_post',
  },
} satisfies Partial<Dialect['routes']>;

/** What the operator assumes where no OpenAPI is served. */
export const plain: Dialect = {
  name: 'plain',
  routes: {
    ...documented,
    initiate: {
      method: 'POST',
      path: '/api/sync/artifacts/initiate',
      operationId: 'initiate_artifact_api_sync_artifacts_initiate_post',
    },
    commit: {
      method: 'POST',
      path: '/api/sync/artifacts/commit',
      operationId: 'commit_artifact_api_sync_artifacts_commit_post',
    },
    abort: {
      method: 'POST',
      path: '/api/sync/artifacts/abort',
      operationId: 'abort_artifact_api_sync_artifacts_abort_post',
    },
  },
  names: {},
  project: 'slug',
  log: 'lines',
  answers: 'flat',
};

/** Ids in the path, other words for size and digest, the log as one text. */
export const nested: Dialect = {
  name: 'nested',
  routes: {
    ...documented,
    initiate: { method: 'POST', path: '/api/sync/runs/{run_id}/artifacts/initiate', operationId: 'artifact_initiate' },
    commit: { method: 'POST', path: '/api/sync/artifacts/{artifact_id}/commit', operationId: 'artifact_commit' },
    abort: { method: 'POST', path: '/api/sync/artifacts/{artifact_id}/abort', operationId: 'artifact_abort' },
  },
  names: {
    runs: { project: 'project_slug', log_lines: 'logs' },
    initiate: {
      run_id: null,
      size_bytes: 'byte_size',
      sha256: 'checksum_sha256',
      content_type: 'mime_type',
      name: 'artifact_name',
    },
    commit: { artifact_id: null, sha256: 'checksum_sha256', size_bytes: 'byte_size' },
    abort: { artifact_id: null },
    ledger: { expected_head: 'previous_head', head: 'new_head', project: 'project_slug' },
  },
  project: 'slug',
  log: 'text',
  answers: 'nested',
};

/** Nothing is called what the documents call it, projects go by UUID, the run lies in an envelope. */
export const renamed: Dialect = {
  name: 'renamed',
  routes: {
    runs: { method: 'PUT', path: '/api/v2/sync/run', operationId: 'upsert_synced_run' },
    ledgerRead: { method: 'GET', path: '/api/v2/sync/ledger', operationId: 'read_ledger' },
    ledgerWrite: { method: 'PUT', path: '/api/v2/sync/ledger', operationId: 'advance_ledger' },
    initiate: { method: 'POST', path: '/api/v2/sync/artifact-uploads', operationId: 'begin_artifact_upload' },
    commit: {
      method: 'POST',
      path: '/api/v2/sync/artifact-uploads/{upload_id}/complete',
      operationId: 'complete_artifact_upload',
    },
    abort: {
      method: 'DELETE',
      path: '/api/v2/sync/artifact-uploads/{upload_id}',
      operationId: 'discard_artifact_upload',
    },
  },
  names: {
    runs: { client_run_id: 'clientRunId', project: 'projectId', manifest: 'runManifest', log_lines: null },
    initiate: { run_id: 'cloudRunId', size_bytes: 'contentLength', content_type: 'contentType', path: null },
    commit: { artifact_id: null, size_bytes: null },
    abort: { artifact_id: null },
    ledger: { expected_head: 'ifHead', head: 'ledgerHead', project: 'projectId', client_run_id: null },
  },
  wrapRun: 'run',
  project: 'id',
  log: 'lines',
  answers: 'nested',
};

/** Asks for something that no client can know. */
export const demanding: Dialect = { ...plain, name: 'demanding', demands: ['residency_zone'] };

/** Takes runs, has no artifact channel. */
export const withoutArtifacts: Dialect = {
  ...plain,
  name: 'withoutArtifacts',
  routes: documented,
};

/** Keeps no ledger: its runs need not go one after the other. */
export const withoutLedger: Dialect = {
  ...plain,
  name: 'withoutLedger',
  routes: Object.fromEntries(
    Object.entries(plain.routes).filter(([name]) => !name.startsWith('ledger')),
  ) as Dialect['routes'],
};

export const DIALECTS: readonly Dialect[] = [plain, nested, renamed, demanding, withoutArtifacts, withoutLedger];
