/** One cause out of a `Status`: which field, what is wrong with it. */
export interface FieldCause {
  /** JSON path such as `spec.image`, or empty. */
  readonly field: string;
  /** Machine-readable, e.g. `FieldValueRequired`, `FieldManagerConflict`. */
  readonly reason: string;
  readonly message: string;
}

/** What went wrong, by what a caller can do about it. Delays are milliseconds. */
export type KubeFault =
  | { readonly kind: 'notFound' }
  | { readonly kind: 'alreadyExists' }
  /** Someone else changed the object, or owns the field (server-side apply). */
  | { readonly kind: 'conflict' }
  /** The resource version or continue token is too old: list again. */
  | { readonly kind: 'gone' }
  | { readonly kind: 'forbidden' }
  | { readonly kind: 'unauthorized' }
  /** Refused by schema, CEL or admission; `causes` names the fields. */
  | { readonly kind: 'invalid' }
  /** The server did not process the request. */
  | { readonly kind: 'tooManyRequests'; readonly retryAfterMs: number }
  /** No answer in time, ours or the server's: a write may have happened. */
  | { readonly kind: 'timeout' }
  /** No connection, a lost connection, or 503: a write may have happened. */
  | { readonly kind: 'unavailable'; readonly retryAfterMs?: number }
  | { readonly kind: 'serverError'; readonly retryAfterMs?: number }
  /** An answer that is not what the API promises (broken JSON, another 4xx). */
  | { readonly kind: 'unexpected' }
  /** The caller's own signal ended it. */
  | { readonly kind: 'aborted' };

export type KubeErrorKind = KubeFault['kind'];

interface KubeErrorFacts extends Error {
  /** HTTP status; absent when there was no answer. */
  readonly status?: number;
  /** The server's `reason`, e.g. `AlreadyExists`; empty when it gave none. */
  readonly reason: string;
  readonly causes: readonly FieldCause[];
  /** Method and path, without query. */
  readonly request: string;
}

/** Every error that leaves this folder's client. Narrow it by `kind`. */
export type KubeError = KubeErrorFacts & KubeFault;

class KubeFailure extends Error {
  override readonly name = 'KubeError';
}

/** True for a KubeError, of one of the given kinds when some are given. */
export function isKubeError(error: unknown): error is KubeError;
export function isKubeError<K extends KubeErrorKind>(error: unknown, ...kinds: K[]): error is KubeError & { kind: K };
export function isKubeError(error: unknown, ...kinds: KubeErrorKind[]): boolean {
  return error instanceof KubeFailure && (kinds.length === 0 || kinds.includes((error as unknown as KubeError).kind));
}

interface Origin {
  readonly request: string;
  readonly status?: number;
  readonly reason?: string;
  readonly causes?: readonly FieldCause[];
  readonly cause?: unknown;
}

export function kubeError(fault: KubeFault, message: string, origin: Origin): KubeError {
  const error = new KubeFailure(`${origin.request}: ${message}`, { cause: origin.cause });
  const { request, status, reason = '', causes = [] } = origin;
  return Object.assign(error, fault, { request, reason, causes }, status === undefined ? {} : { status });
}

interface StatusBody {
  code?: number;
  reason?: string;
  message?: string;
  details?: { retryAfterSeconds?: number; causes?: { field?: string; reason?: string; message?: string }[] };
}

/** What an API server answers when it gives no delay of its own. */
const DEFAULT_RETRY_AFTER_MS = 1000;

/** From an answer with status >= 400, whether its body is a `Status`, plain text or a proxy's HTML. */
export function errorFromAnswer(request: string, status: number, body: string, retryAfter?: string): KubeError {
  const parsed = parseStatus(body);
  if (parsed !== undefined) return errorFromStatus(request, { ...parsed, code: parsed.code ?? status }, retryAfter);
  const text = body.length > 300 ? `${body.slice(0, 300)}…` : body;
  return errorFromStatus(request, { code: status, message: text.trim() || `HTTP ${status}` }, retryAfter);
}

/** From a `Status` object: an error body, or the object of an `ERROR` watch event. */
export function errorFromStatus(request: string, body: StatusBody, retryAfter?: string): KubeError {
  const status = body.code ?? 500;
  const reason = body.reason ?? '';
  const causes = (body.details?.causes ?? []).map((cause) => ({
    field: cause.field ?? '',
    reason: cause.reason ?? '',
    message: cause.message ?? '',
  }));
  const retryAfterMs = delayFrom(retryAfter) ?? delayFrom(body.details?.retryAfterSeconds);
  const fault = faultOf(status, reason, retryAfterMs);
  return kubeError(fault, body.message ?? `HTTP ${status} ${reason}`.trim(), { request, status, reason, causes });
}

/** From whatever the HTTP library threw. */
export function errorFromNetwork(request: string, cause: unknown): KubeError {
  if (isKubeError(cause)) return cause;
  const { code, message } = describe(cause);
  if (TIMEOUT_CODES.has(code)) return kubeError({ kind: 'timeout' }, message, { request, reason: code, cause });
  return kubeError({ kind: 'unavailable' }, message, { request, reason: code, cause });
}

const TIMEOUT_CODES = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT', 'ETIMEDOUT']);

function faultOf(status: number, reason: string, retryAfterMs: number | undefined): KubeFault {
  const later = retryAfterMs === undefined ? {} : { retryAfterMs };
  switch (status) {
    case 401:
      return { kind: 'unauthorized' };
    case 403:
      return { kind: 'forbidden' };
    case 404:
      return { kind: 'notFound' };
    case 409:
      return { kind: reason === 'AlreadyExists' ? 'alreadyExists' : 'conflict' };
    case 410:
      return { kind: 'gone' };
    case 400:
    case 413:
    case 422:
      return { kind: 'invalid' };
    case 429:
      return { kind: 'tooManyRequests', retryAfterMs: retryAfterMs ?? DEFAULT_RETRY_AFTER_MS };
    case 408:
    case 504:
      return { kind: 'timeout' };
    case 502:
    case 503:
      return { kind: 'unavailable', ...later };
    default:
      return status >= 500 ? { kind: 'serverError', ...later } : { kind: 'unexpected' };
  }
}

function delayFrom(seconds: string | number | undefined): number | undefined {
  // The API server sends whole seconds; the HTTP-date form of other servers is not worth a clock comparison.
  const value = Number(seconds);
  return seconds !== undefined && Number.isFinite(value) && value >= 0 ? value * 1000 : undefined;
}

function parseStatus(body: string): StatusBody | undefined {
  if (!body.startsWith('{')) return undefined;
  try {
    const parsed = JSON.parse(body) as StatusBody & { kind?: string };
    return parsed.kind === 'Status' ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function describe(cause: unknown): { code: string; message: string } {
  if (!(cause instanceof Error)) return { code: '', message: String(cause) };
  const inner = cause.cause instanceof Error ? cause.cause : undefined;
  const code = 'code' in cause ? String(cause.code) : inner && 'code' in inner ? String(inner.code) : '';
  return { code, message: cause.message || code || cause.name };
}
