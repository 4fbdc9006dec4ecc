import { errors } from 'undici';
import { UrlRefused } from './url-guard.ts';
import type { Watchdog } from './watchdog.ts';

/** What went wrong before there was a whole answer. */
export type HttpFault =
  /** The guard refused the URL or the address; nothing was sent there. */
  | { readonly kind: 'refused' }
  /** No answer in time. */
  | { readonly kind: 'timeout' }
  /** No connection, or it was lost. */
  | { readonly kind: 'network' }
  /** The answer is longer than allowed, or redirects without end. */
  | { readonly kind: 'answer' }
  /** The bytes to send could not be read, or were not as many as announced. */
  | { readonly kind: 'body' }
  /** The caller's own signal ended it. */
  | { readonly kind: 'aborted' };

/** The message holds method and host, never a path, a query or a header. */
export class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly kind: HttpFault['kind'];
  /** The request may have been carried out: a byte of it may have left, and no answer denies it. */
  readonly inDoubt: boolean;

  constructor(kind: HttpFault['kind'], message: string, cause?: unknown, inDoubt = false) {
    super(message, { cause });
    this.kind = kind;
    this.inDoubt = inDoubt;
  }
}

/** `what` is method and host; `sent` says whether a byte of the request may have left. */
export function asHttpError(cause: unknown, what: string, watch: Watchdog, sent: boolean): HttpError {
  const inDoubt = sent || (cause instanceof HttpError && cause.inDoubt);
  if (watch.cancelled) return new HttpError('aborted', `${what}: stopped`, cause, inDoubt);
  if (watch.expired) return new HttpError('timeout', `${what}: no answer in time`, cause, inDoubt);
  for (let error: unknown = cause; error instanceof Error; error = error.cause) {
    if (error instanceof HttpError) return new HttpError(error.kind, error.message, error.cause, inDoubt);
    if (error instanceof UrlRefused) return new HttpError('refused', `${what}: ${error.message}`, cause, inDoubt);
  }
  if (cause instanceof errors.ConnectTimeoutError)
    return new HttpError('timeout', `${what}: no connection in time`, cause, inDoubt);
  return new HttpError('network', `${what}: ${networkWords(cause)}`, cause, inDoubt);
}

/** Node's own code for what happened to the connection; a message could quote an address or a certificate. */
function networkWords(cause: unknown): string {
  for (let error: unknown = cause; error instanceof Error; error = error.cause) {
    if ('code' in error && typeof error.code === 'string') return error.code;
  }
  return 'the connection failed';
}
