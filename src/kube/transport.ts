import type { Readable } from 'node:stream';
import { Pool } from 'undici';
import type { Dispatcher } from 'undici';
import type { ClusterConfig } from './config.ts';
import { Credentials } from './credentials.ts';
import type { Access, TlsOptions } from './credentials.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path and query, below the server's own prefix. */
  readonly path: string;
  readonly body?: string;
  readonly contentType?: string;
  readonly signal: AbortSignal;
}

export interface HttpAnswer<Body> {
  readonly status: number;
  /** The `Retry-After` header as sent. */
  readonly retryAfter?: string;
  readonly body: Body;
}

/** The wire under the client: the place to inject faults. Throws only when there was no answer. */
export interface Transport {
  /** One request with its whole body. */
  request(request: HttpRequest): Promise<HttpAnswer<string>>;
  /** A long answer (watch, followed log) over connections of its own. The caller reads or destroys the body. */
  stream(request: HttpRequest): Promise<HttpAnswer<Readable>>;
  close(): Promise<void>;
}

export interface TransportOptions {
  /** Sent with every request, e.g. `worldflux-operator/1.2.0`. */
  readonly userAgent: string;
  /** Connections shared by all requests; more wait their turn. */
  readonly connections?: number;
}

interface Pools {
  readonly tlsFingerprint: string;
  readonly requests: Pool;
  readonly streams: Pool;
}

/** HTTP/1.1 to one API server: few lasting connections, opened anew when CA or client certificate are rotated. */
export class HttpTransport implements Transport {
  readonly #origin: string;
  readonly #prefix: string;
  readonly #credentials: Credentials;
  readonly #options: TransportOptions;
  #pools: Pools | undefined;

  constructor(config: ClusterConfig, options: TransportOptions) {
    const url = new URL(config.cluster.server);
    if (url.protocol !== 'https:' && !config.cluster.skipTLSVerify) {
      throw new TypeError(`${url.origin} is not https, so credentials would be sent in the clear`);
    }
    this.#origin = url.origin;
    this.#prefix = url.pathname.replace(/\/$/, '');
    this.#credentials = new Credentials(config);
    this.#options = options;
  }

  async request(request: HttpRequest): Promise<HttpAnswer<string>> {
    const answer = await this.#send(request, (pools) => pools.requests);
    return { ...answerOf(answer), body: await answer.body.text() };
  }

  async stream(request: HttpRequest): Promise<HttpAnswer<Readable>> {
    const answer = await this.#send(request, (pools) => pools.streams);
    return { ...answerOf(answer), body: answer.body };
  }

  async close(): Promise<void> {
    const pools = this.#pools;
    this.#pools = undefined;
    await Promise.all([pools?.requests.destroy(), pools?.streams.destroy()]);
  }

  /** Sends once; a second time with fresh credentials when the first are refused (401 means nothing was done). */
  async #send(request: HttpRequest, choose: (pools: Pools) => Pool): Promise<Dispatcher.ResponseData> {
    const access = await this.#credentials.current();
    const answer = await this.#sendWith(access, request, choose);
    if (answer.statusCode !== 401) return answer;
    this.#credentials.reject(access);
    const renewed = await this.#credentials.current();
    if (sameAccess(access, renewed)) return answer;
    await answer.body.dump();
    return this.#sendWith(renewed, request, choose);
  }

  #sendWith(access: Access, request: HttpRequest, choose: (pools: Pools) => Pool): Promise<Dispatcher.ResponseData> {
    const { method, path, body, contentType, signal } = request;
    return choose(this.#poolsFor(access)).request({
      method,
      path: this.#prefix + path,
      signal,
      body: body ?? null,
      headers: {
        'user-agent': this.#options.userAgent,
        accept: 'application/json',
        ...access.headers,
        ...(contentType === undefined ? {} : { 'content-type': contentType }),
      },
    });
  }

  #poolsFor(access: Access): Pools {
    if (this.#pools?.tlsFingerprint === access.tlsFingerprint) return this.#pools;
    // Requests in flight end on the connections that they began on; a watch ends at its own timeout.
    void this.#pools?.requests.close();
    void this.#pools?.streams.close();
    this.#pools = {
      tlsFingerprint: access.tlsFingerprint,
      requests: this.#pool(access.tls, this.#options.connections ?? 24),
      // Apart from the requests, so that watches never take the last connection. No limit: a stream that waited for
      // another to end would wait for minutes.
      streams: this.#pool(access.tls, null),
    };
    return this.#pools;
  }

  #pool(tls: TlsOptions, connections: number | null): Pool {
    return new Pool(this.#origin, {
      connections,
      pipelining: 1,
      allowH2: false,
      headersTimeout: 30_000,
      // undici's default of five minutes would end a quiet watch.
      bodyTimeout: 0,
      // Well below the API server's own idle timeout of 90 s: it never closes what we are about to write to.
      keepAliveTimeout: 30_000,
      connect: { ...tls, timeout: 10_000, keepAlive: true, keepAliveInitialDelay: 30_000 },
    });
  }
}

function answerOf({ statusCode, headers }: Dispatcher.ResponseData): { status: number; retryAfter?: string } {
  const retryAfter = headers['retry-after'];
  return { status: statusCode, ...(typeof retryAfter === 'string' ? { retryAfter } : {}) };
}

function sameAccess(a: Access, b: Access): boolean {
  return a.tlsFingerprint === b.tlsFingerprint && a.headers['authorization'] === b.headers['authorization'];
}
