import { HttpError } from '../net/http.ts';
import { retryAfterMs } from '../net/retry-after.ts';
import { idAt } from './decode.ts';

/** What went wrong upstream, by what can be done about it. Delays are milliseconds. */
export type UpstreamFault =
  /** No connection, or it was lost: the request may have been carried out. */
  | { readonly kind: 'network' }
  /** No answer in time: the request may have been carried out. */
  | { readonly kind: 'timeout' }
  /** The server says when to come again. */
  | { readonly kind: 'throttled'; readonly retryAfterMs: number }
  /** 5xx: the request may have been carried out. */
  | { readonly kind: 'unavailable' }
  /** 401, 403: waits for another key, not for time. `forbidden`: the key is known, but may not do this. */
  | { readonly kind: 'credentials'; readonly forbidden: boolean }
  /** 402 and its like. */
  | { readonly kind: 'quota' }
  /** 404, 405: no such route, or no such thing. */
  | { readonly kind: 'notFound' }
  /** 409, 412: perhaps already there; the id that the answer names, if any. */
  | { readonly kind: 'conflict'; readonly id: string | undefined }
  | { readonly kind: 'tooLarge' }
  /** 400, 422: where the server found fault. Locations only: its messages may echo data. */
  | { readonly kind: 'invalid'; readonly locations: readonly string[] }
  /** The guard refused a URL, ours or one out of an answer; nothing was sent there. */
  | { readonly kind: 'refused' }
  /** An upload URL that is no longer accepted. */
  | { readonly kind: 'expired' }
  /** The bytes to send could not be read from the store. */
  | { readonly kind: 'source' }
  /** An answer that is not what was agreed. */
  | { readonly kind: 'unexpected' }
  /** The contract has no such route, or asks for what we do not have. */
  | { readonly kind: 'contract' }
  /** The caller's own signal ended it. */
  | { readonly kind: 'aborted' };
export type UpstreamFaultKind = UpstreamFault['kind'];

/** The message is made here, of our own words, the status and the locations: never of what the server said. */
export class UpstreamError extends Error {
  override readonly name = 'UpstreamError';
  readonly fault: UpstreamFault;
  /** What was tried, such as `post a run`. */
  readonly doing: string;

  constructor(fault: UpstreamFault, doing: string, words: string, cause?: unknown) {
    super(`${doing}: ${words}`, { cause });
    this.fault = fault;
    this.doing = doing;
  }
}

export function fromHttp(doing: string, cause: unknown): UpstreamError {
  if (cause instanceof UpstreamError) return cause;
  if (!(cause instanceof HttpError))
    return new UpstreamError({ kind: 'unexpected' }, doing, 'failed in an unforeseen way', cause);
  const kinds = {
    refused: 'refused',
    timeout: 'timeout',
    network: 'network',
    answer: 'unexpected',
    body: 'source',
    aborted: 'aborted',
  } as const;
  return new UpstreamError({ kind: kinds[cause.kind] }, doing, cause.message, cause);
}

/** From an answer that is no success. */
export function fromStatus(
  doing: string,
  status: number,
  headers: Readonly<Record<string, string>>,
  body: unknown,
  now: number,
): UpstreamError {
  const fault = faultOf(status, headers, body, now);
  const where = fault.kind === 'invalid' && fault.locations.length > 0 ? ` at ${fault.locations.join(', ')}` : '';
  return new UpstreamError(fault, doing, `${WORDS[fault.kind] ?? 'was refused'} (${status})${where}`);
}

/** From an answer of an object store, whose words for the same things differ. */
export function fromUploadStatus(
  doing: string,
  status: number,
  headers: Readonly<Record<string, string>>,
  body: Buffer,
  now: number,
): UpstreamError {
  // S3 says 400 to what is larger than one PUT may be. Another URL would be refused just so, after as many bytes.
  if (status >= 400 && status < 500 && TOO_LARGE_CODE.test(body.subarray(0, 4096).toString('latin1')))
    return new UpstreamError({ kind: 'tooLarge' }, doing, `is larger than one upload may be (${status})`);
  // 400 with an expired signature, 403, 404 and 410 all mean: ask for another URL.
  if (status === 400 || status === 401 || status === 403 || status === 404 || status === 410) {
    return new UpstreamError({ kind: 'expired' }, doing, `the upload URL is not accepted any more (${status})`);
  }
  return fromStatus(doing, status, headers, undefined, now);
}

const TOO_LARGE_CODE = /<Code>(EntityTooLarge|MaxMessageLengthExceeded)<\/Code>/;

const WORDS: Partial<Record<UpstreamFaultKind, string>> = {
  throttled: 'the server asks to wait',
  unavailable: 'the server failed',
  credentials: 'the key was refused',
  quota: 'a quota is used up',
  notFound: 'there is no such thing',
  conflict: 'something else is already there',
  tooLarge: 'is larger than the server takes',
  invalid: 'the server found the request wrong',
  unexpected: 'was answered in an unforeseen way',
};

const DEFAULT_RETRY_AFTER_MS = 30_000;

function faultOf(status: number, headers: Readonly<Record<string, string>>, body: unknown, now: number): UpstreamFault {
  const waitMs = retryAfterMs(headers['retry-after'], now);
  switch (status) {
    case 401:
    case 403:
      return { kind: 'credentials', forbidden: status === 403 };
    case 402:
      return { kind: 'quota' };
    case 404:
    case 405:
    case 410:
      return { kind: 'notFound' };
    case 409:
    case 412:
      return { kind: 'conflict', id: conflictId(body) };
    case 413:
      return { kind: 'tooLarge' };
    case 400:
    case 422:
      return { kind: 'invalid', locations: locationsOf(body) };
    case 408:
      return { kind: 'timeout' };
    case 425:
    case 429:
      return { kind: 'throttled', retryAfterMs: waitMs ?? DEFAULT_RETRY_AFTER_MS };
    default:
      if (status < 500) return { kind: 'unexpected' };
      return waitMs === undefined ? { kind: 'unavailable' } : { kind: 'throttled', retryAfterMs: waitMs };
  }
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

function conflictId(body: unknown): string | undefined {
  const sources = isObject(body) ? [body, body['detail']] : [];
  return sources.map((source) => idAt(source, ['run_id', 'artifact_id', 'id'])).find((id) => id !== undefined);
}

/** FastAPI's `detail[].loc`, as `body.manifest.metrics`; at most ten, and only words that look like field names. */
function locationsOf(body: unknown): string[] {
  const detail = isObject(body) && Array.isArray(body['detail']) ? body['detail'] : [];
  const locations = detail.slice(0, 10).flatMap((entry: unknown) => {
    if (!isObject(entry) || !Array.isArray(entry['loc'])) return [];
    // A key of a map (a metric's name, say) would be data.
    const words = entry['loc']
      .slice(0, 3)
      .map((part) => (typeof part === 'number' ? '#' : /^\w{1,40}$/.test(String(part)) ? String(part) : '…'));
    return [words.join('.')];
  });
  return [...new Set(locations)];
}
