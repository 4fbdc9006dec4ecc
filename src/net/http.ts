import { Readable } from 'node:stream';
import { GuardedConnections, type ConnectionOptions, type ExchangeAnswer } from './connections.ts';
import { asHttpError, HttpError } from './http-error.ts';
import { reclaim } from './reclaim.ts';
import type { UrlGuard, UrlPolicy } from './url-guard.ts';
import { Watchdog } from './watchdog.ts';

export { HttpError } from './http-error.ts';

/**
 * HTTP to places that are not this cluster: every URL and redirect passes the guard, credentials go to one origin only,
 * answers are capped, every request has a timeout and a signal.
 */

export type HttpMethod = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'HEAD';

/** Large bytes: opened at the moment they are sent, and again when a redirect asks for them elsewhere. */
export interface StreamBody {
  /** Bytes. */
  readonly size: number;
  /** The stream is destroyed whatever becomes of the request. */
  open(signal: AbortSignal): Promise<Readable>;
  /** Told of each chunk on its way out. Another stage in the pipe would hold chunks of its own. */
  passing?(chunk: Buffer): void;
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

const MAX_REDIRECTS = 3;
const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_STALL_MS = 60_000;
const DEFAULT_MAX_ANSWER = 1024 * 1024;

export class GuardedHttp {
  readonly #connections: GuardedConnections;

  constructor(policy: UrlPolicy, options?: ConnectionOptions, guard?: UrlGuard) {
    this.#connections = new GuardedConnections(policy, options, guard);
  }

  /** Throws HttpError; an answer of any status is a value. */
  async send(request: OutgoingRequest): Promise<OutgoingAnswer> {
    let url = this.#connections.allowed(request.method, request.url);
    let { method } = request;
    let body = request.body;
    for (let redirects = 0; ; redirects += 1) {
      const answer = await this.#once({ ...request, method, url, ...(body === undefined ? {} : { body }) }, url);
      const location = answer.headers['location'];
      if (answer.status < 300 || answer.status >= 400 || answer.status === 304 || location === undefined) return answer;
      if (redirects === MAX_REDIRECTS) throw new HttpError('answer', `${method} ${url.host}: redirected too often`);
      const next = this.#connections.allowed(method, new URL(location, url));
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
    await this.#connections.destroy();
  }

  async #once(request: OutgoingRequest, url: URL): Promise<OutgoingAnswer> {
    const { method, body, credentials } = request;
    const streamed = body !== undefined && !Buffer.isBuffer(body) ? body : undefined;
    const watch = new Watchdog(
      request.signal,
      streamed === undefined ? (request.timeoutMs ?? DEFAULT_TIMEOUT_MS) : (request.stallMs ?? DEFAULT_STALL_MS),
    );
    let stream: Readable | undefined;
    let source: Readable | undefined;
    let answered = false;
    try {
      const headers: Record<string, string> = { ...request.headers };
      if (credentials !== undefined && credentials.origin === url.origin)
        headers[credentials.header] = credentials.value;
      if (streamed !== undefined) {
        headers['content-length'] = String(streamed.size);
        stream = await opened(streamed, watch);
        source = Readable.from(counted(stream, streamed, watch), { objectMode: false, highWaterMark: 1 });
      }
      const answer = await this.#connections.exchange({
        method,
        url,
        headers,
        body: source ?? (body as Buffer | undefined) ?? null,
        watch,
      });
      answered = true;
      watch.touch();
      return {
        status: answer.status,
        headers: flat(answer.headers),
        body: await readCapped(answer.body, request.maxAnswerBytes ?? DEFAULT_MAX_ANSWER, `${method} ${url.host}`),
      };
    } catch (cause) {
      throw asHttpError(cause, `${method} ${url.host}`, watch, answered);
    } finally {
      watch.stop();
      source?.destroy();
      // A generator that was never asked for anything ends without closing what it would have read.
      stream?.destroy();
    }
  }
}

async function opened(body: StreamBody, watch: Watchdog): Promise<Readable> {
  try {
    return await body.open(watch.signal);
  } catch (cause) {
    throw new HttpError('body', 'the bytes to send cannot be opened', cause);
  }
}

/** Passes the bytes on; each one taken proves that the other side still reads. */
async function* counted(stream: Readable, { size, passing }: StreamBody, watch: Watchdog): AsyncGenerator<Buffer> {
  let sent = 0;
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      sent += chunk.length;
      if (sent > size) break;
      passing?.(chunk);
      yield chunk;
      watch.touch();
      reclaim(chunk.length);
    }
  } catch (cause) {
    throw new HttpError('body', 'the bytes to send could not be read to their end', cause);
  }
  if (sent !== size) throw new HttpError('body', `the bytes to send are not the ${size} that were announced`);
}

async function readCapped(body: Readable, max: number, what: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > max) throw new HttpError('answer', `${what}: the answer is longer than ${max} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function flat(headers: ExchangeAnswer['headers']): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) out[name.toLowerCase()] = Array.isArray(value) ? value.join(', ') : value;
  }
  return out;
}
