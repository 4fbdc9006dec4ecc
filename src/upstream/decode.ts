/** Answers, read leniently: their shapes are not documented, their contents are not trusted. */

type Json = Record<string, unknown>;
const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Undefined for what is not JSON. */
export function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}

/** An id is a short word; anything else would end up in a path or a status unseen. */
const ID = /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$/;

export function idAt(value: unknown, keys: readonly string[]): string | undefined {
  if (!isObject(value)) return undefined;
  for (const key of keys) {
    const id = value[key];
    if (typeof id === 'string' && ID.test(id)) return id;
  }
  return undefined;
}

const envelopes = (body: unknown, names: readonly string[]): unknown[] =>
  isObject(body) ? names.map((name) => body[name]).filter((value) => value !== undefined) : [];

export function runIdIn(body: unknown): string | undefined {
  for (const source of [body, ...envelopes(body, ['run', 'data'])]) {
    const id = idAt(source, ['run_id', 'cloud_run_id', 'runId', 'id']);
    if (id !== undefined) return id;
  }
  return undefined;
}

export interface UploadInstructions {
  readonly url: string;
  readonly method: 'PUT' | 'POST';
  readonly headers: Readonly<Record<string, string>>;
}

export interface Initiated {
  readonly artifactId: string | undefined;
  readonly upload: UploadInstructions | undefined;
}

const URL_KEYS = ['upload_url', 'uploadUrl', 'presigned_url', 'put_url', 'signed_url', 'url'];
/** Headers that a signature may cover. What steers the connection or carries credentials is ours alone. */
const UPLOAD_HEADER =
  /^(content-type|content-md5|content-disposition|content-encoding|cache-control|x-amz-[a-z0-9-]+|x-goog-[a-z0-9-]+|x-ms-[a-z0-9-]+|if-none-match)$/;

export function initiatedIn(body: unknown): Initiated {
  const artifactSources = [...envelopes(body, ['artifact', 'data']), body, ...envelopes(body, ['upload'])];
  let artifactId: string | undefined;
  for (const source of artifactSources)
    artifactId ??= idAt(source, ['artifact_id', 'artifactId', 'upload_id', 'uploadId', 'id']);
  for (const source of [body, ...envelopes(body, ['upload', 'artifact', 'data'])]) {
    if (!isObject(source)) continue;
    const url = URL_KEYS.map((key) => source[key]).find((value) => typeof value === 'string');
    if (url === undefined) continue;
    const headers: Record<string, string> = {};
    const given = isObject(source['headers']) ? source['headers'] : {};
    for (const [name, value] of Object.entries(given)) {
      if (typeof value === 'string' && UPLOAD_HEADER.test(name.toLowerCase())) headers[name.toLowerCase()] = value;
    }
    return {
      artifactId,
      upload: { url: url as string, method: source['method'] === 'POST' ? 'POST' : 'PUT', headers },
    };
  }
  return { artifactId, upload: undefined };
}

/** `undefined`: the answer holds no head. `null`: the ledger is empty. */
export function headIn(body: unknown): string | null | undefined {
  for (const source of [body, ...envelopes(body, ['ledger', 'data'])]) {
    if (!isObject(source)) continue;
    for (const key of ['head', 'ledger_head', 'ledgerHead']) {
      const head = source[key];
      if (head === null) return null;
      if (typeof head === 'string' && head.length <= 1024) return head;
    }
  }
  return undefined;
}

export interface Project {
  readonly id: string;
  readonly names: readonly string[];
}

function rowsIn(body: unknown, keys: readonly string[]): unknown[] | undefined {
  if (Array.isArray(body)) return body;
  return envelopes(body, keys).find((value) => Array.isArray(value));
}

export interface ProjectList {
  readonly projects: readonly Project[];
  /** False: the answer says that there are more than it holds. */
  readonly whole: boolean;
}

/** Undefined where the answer holds no list. */
export function projectsIn(body: unknown): ProjectList | undefined {
  const rows = rowsIn(body, ['items', 'projects', 'data', 'results']);
  if (rows === undefined) return undefined;
  const projects = rows.flatMap((row) => {
    const id = idAt(row, ['id', 'project_id', 'projectId']);
    if (id === undefined || !isObject(row)) return [];
    return [{ id, names: [id, row['slug'], row['name']].filter((name) => typeof name === 'string') }];
  });
  return { projects, whole: !hasMore(body, rows.length) };
}

/** How pages are marked where they are; nothing of it is documented. */
function hasMore(body: unknown, rows: number): boolean {
  if (!isObject(body)) return false;
  const next = ['next', 'next_page', 'next_cursor', 'next_page_token', 'nextCursor', 'nextPageToken'];
  const counts = ['total', 'count', 'total_count', 'totalCount'];
  return (
    body['has_more'] === true ||
    body['hasMore'] === true ||
    next.some((key) => Boolean(body[key])) ||
    counts.some((key) => typeof body[key] === 'number' && body[key] > rows)
  );
}

/** The id of the run that carries this client_run_id, out of a list or a single run. */
export function findRunIn(body: unknown, clientRunId: string): string | undefined {
  const rows = rowsIn(body, ['items', 'runs', 'data', 'results']);
  const match = (rows ?? [body]).find(
    (row) => isObject(row) && (row['client_run_id'] ?? row['clientRunId']) === clientRunId,
  );
  return runIdIn(match);
}

export interface ReadArtifact {
  readonly committed: boolean;
  readonly sha256: string | undefined;
}

export function artifactIn(body: unknown): ReadArtifact | undefined {
  const [source] = [...envelopes(body, ['artifact', 'data']), body].filter(isObject);
  if (source === undefined) return undefined;
  const state = source['status'] ?? source['state'];
  const sha256 = source['sha256'] ?? source['checksum_sha256'];
  return {
    committed: typeof state === 'string' && /^(committed|complete|completed|available|ready|stored)$/i.test(state),
    sha256: typeof sha256 === 'string' ? sha256.replace(/^sha256:/, '').toLowerCase() : undefined,
  };
}

/** A manifest that was read back, whether bare or in an envelope. */
export function manifestIn(body: unknown): unknown {
  return isObject(body) && isObject(body['manifest']) ? body['manifest'] : body;
}
