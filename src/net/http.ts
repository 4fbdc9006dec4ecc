import { Readable } from 'node:stream';
import { Agent, errors, type Dispatcher } from 'undici';
import { reclaim } from './reclaim.ts';
import { UrlGuard, UrlRefused, type UrlPolicy } from './url-guard.ts';

/**
 * HTTP to places that are not this cluster: every URL and redirect passes the guard, credentials go to one origin only,
 * answers are capped, every request has a timeout and a signal.
 */

export type HttpMethod = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'HEAD';

/** Large bytes: opened at the moment they are sent, and again when a redirect asks for them elsewhere. */
export interface StreamBody {
  /** Bytes. */
  readonly size: number;
  open(signal: AbortSignal): Promise<Readable>;
}

export interface OutgoingRequest {
  readonly method: HttpMethod;
  readonly url: string | URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | StreamBody;
  /** Sent to `origin` and to no other, whatever a redirect says. */
  readonly credentials?: { readonly origin: string; readonly header: string; readonly value: string };
  readonly signal: AbortSignal;
  /** Milliseconds for the whole exchange; a streamed body has `stallMs` instead. */
  readonly timeoutMs?: number;
  /** Milliseconds without a byte taken by the other side, for a streamed body. */
  readonly stallMs?: number;
  /** Bytes; a longer answer is an error. */
  readonly maxAnswerBytes?: number;
}

export interface OutgoingAnswer {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** What went wrong before there was a whole answer. */
export type HttpFault =
  /** The guard refused the URL or the address; nothing was sent there. */
  | { readonly kind: 'refused' }
  /** No answer in time: the request may have been carried out. */
  | { readonly kind: 'timeout' }
  /** No connection, or it was lost: the request may have been carried out. */
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

  constructor(kind: HttpFault['kind'], message: string, cause?: unknown) {
    super(message, { cause });
    this.kind = kind;
  }
}

export interface HttpOptions {
  /** Connections to one origin. */
  readonly connections?: number;
  readonly connectTimeoutMs?: number;
}

const MAX_REDIRECTS = 3;
const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_STALL_MS = 60_000;
const DEFAULT_MAX_ANSWER = 1024 * 1024;

export class GuardedHttp {
  readonly #guard: UrlGuard;
  readonly #agent: Agent;

  constructor(
    policy: UrlPolicy,
    { connections = 16, connectTimeoutMs = 10_000 }: HttpOptions = {},
    guard = new UrlGuard(policy),
  ) {
    this.#guard = guard;
    this.#agent = new Agent({
      connections,
      // One request on a connection: a lost connection then leaves one request in doubt, not several.
      pipelining: 1,
      allowH2: false,
      connect: { timeout: connectTimeoutMs, lookup: guard.lookup, autoSelectFamily: true },
    });
  }

  /** Throws HttpError; an answer of any status is a value. */
  async send(request: OutgoingRequest): Promise<OutgoingAnswer> {
    let url = this.#allowed(request.method, request.url);
    let { method } = request;
    let body = request.body;
    for (let redirects = 0; ; redirects += 1) {
      const answer = await this.#once({ ...request, method, url, ...(body === undefined ? {} : { body }) }, url);
      const location = answer.headers['location'];
      if (answer.status < 300 || answer.status >= 400 || answer.status === 304 || location === undefined) return answer;
      if (redirects === MAX_REDIRECTS) throw new HttpError('answer', `${method} ${url.host}: redirected too often`);
      const next = this.#allowed(method, new URL(location, url));
      if (request.credentials !== undefined && next.origin !== request.credentials.origin) {
        throw new HttpError(
          'refused',
          `${method} ${url.host}: redirected to ${next.host}, which is not where the key belongs`,
        );
      }
      if (answer.status <= 303 && method !== 'GET' && method !== 'HEAD') {
        // A browser would go on with GET; for a write that would pass for success without one.
        throw new HttpError(
          'refused',
          `${method} ${url.host}: redirected with ${answer.status}, which would lose the request's body`,
        );
      }
      url = next;
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  #allowed(method: string, raw: string | URL): URL {
    try {
      return this.#guard.check(raw);
    } catch (cause) {
      throw new HttpError('refused', `${method}: ${(cause as Error).message}`, cause);
    }
  }

  async #once(request: OutgoingRequest, url: URL): Promise<OutgoingAnswer> {
    const { method, body, credentials } = request;
    const streamed = body !== undefined && !Buffer.isBuffer(body) ? body : undefined;
    const watch = new Watchdog(
      request.signal,
      streamed === undefined ? (request.timeoutMs ?? DEFAULT_TIMEOUT_MS) : (request.stallMs ?? DEFAULT_STALL_MS),
    );
    let source: Readable | undefined;
    try {
      const headers: Record<string, string> = { ...request.headers };
      if (credentials !== undefined && credentials.origin === url.origin)
        headers[credentials.header] = credentials.value;
      if (streamed !== undefined) {
        headers['content-length'] = String(streamed.size);
        source = await openBody(streamed, watch);
      }
      const answer = await this.#agent.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method,
        headers,
        body: source ?? (body as Buffer | undefined) ?? null,
        signal: watch.signal,
        headersTimeout: 0,
        bodyTimeout: 0,
      });
      watch.touch();
      return {
        status: answer.statusCode,
        headers: flat(answer.headers),
        body: await readCapped(answer.body, request.maxAnswerBytes ?? DEFAULT_MAX_ANSWER, `${method} ${url.host}`),
      };
    } catch (cause) {
      throw asHttpError(cause, `${method} ${url.host}`, watch);
    } finally {
      watch.stop();
      source?.destroy();
    }
  }
}

/** Ends a request when the caller does, or when nothing has moved for too long. */
class Watchdog {
  readonly signal: AbortSignal;
  readonly #own = new AbortController();
  readonly #caller: AbortSignal;
  readonly #timer: NodeJS.Timeout;
  expired = false;

  constructor(caller: AbortSignal, ms: number) {
    this.#caller = caller;
    this.signal = AbortSignal.any([caller, this.#own.signal]);
    this.#timer = setTimeout(() => {
      this.expired = true;
      this.#own.abort();
    }, ms);
  }

  get cancelled(): boolean {
    return this.#caller.aborted;
  }

  touch(): void {
    this.#timer.refresh();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

async function openBody(body: StreamBody, watch: Watchdog): Promise<Readable> {
  let stream: Readable;
  try {
    stream = await body.open(watch.signal);
  } catch (cause) {
    throw new HttpError('body', 'the bytes to send cannot be opened', cause);
  }
  return Readable.from(counted(stream, body.size, watch), { objectMode: false, highWaterMark: 64 * 1024 });
}

/** Passes the bytes on; each one taken proves that the other side still reads. */
async function* counted(stream: Readable, size: number, watch: Watchdog): AsyncGenerator<Buffer> {
  let sent = 0;
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      sent += chunk.length;
      if (sent > size) break;
      yield chunk;
      watch.touch();
      reclaim(chunk.length);
    }
  } catch (cause) {
    throw new HttpError('body', 'the bytes to send could not be read to their end', cause);
  }
  if (sent !== size) throw new HttpError('body', `the bytes to send are not the ${size} that were announced`);
}

async function readCapped(body: Dispatcher.ResponseData['body'], max: number, what: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > max) throw new HttpError('answer', `${what}: the answer is longer than ${max} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function flat(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) out[name.toLowerCase()] = Array.isArray(value) ? value.join(', ') : value;
  }
  return out;
}

function asHttpError(cause: unknown, what: string, watch: Watchdog): HttpError {
  if (watch.cancelled) return new HttpError('aborted', `${what}: stopped`, cause);
  if (watch.expired) return new HttpError('timeout', `${what}: no answer in time`, cause);
  for (let error: unknown = cause; error instanceof Error; error = error.cause) {
    if (error instanceof HttpError) return error;
    if (error instanceof UrlRefused) return new HttpError('refused', `${what}: ${error.message}`, cause);
  }
  if (cause instanceof errors.ConnectTimeoutError)
    return new HttpError('timeout', `${what}: no connection in time`, cause);
  return new HttpError('network', `${what}: ${networkWords(cause)}`, cause);
}

/** Node's own code for what happened to the connection; a message could quote an address or a certificate. */
function networkWords(cause: unknown): string {
  for (let error: unknown = cause; error instanceof Error; error = error.cause) {
    if ('code' in error && typeof error.code === 'string') return error.code;
  }
  return 'the connection failed';
}
