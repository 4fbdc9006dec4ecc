import type { Readable } from 'node:stream';
import { Pool } from 'undici';
import type { Dispatcher } from 'undici';
import { AnswerCollector } from './answer-collector.ts';
import type { ClusterConfig } from './config.ts';
import { Credentials } from './credentials.ts';
import type { Access, TlsOptions } from './credentials.ts';
import type { HttpAnswer, HttpRequest, Transport, TransportOptions } from './transport.ts';

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
    return this.#withAccess(
      (access) => {
        const { requests } = this.#poolsFor(access);
        const collector = new AnswerCollector(request.signal);
        requests.dispatch(this.#dispatchOptions(request, access), collector);
        return collector.answer;
      },
      () => {},
    );
  }

  async stream(request: HttpRequest): Promise<HttpAnswer<Readable>> {
    return this.#withAccess(
      async (access) => {
        const { streams } = this.#poolsFor(access);
        const answer = await streams.request({ ...this.#dispatchOptions(request, access), signal: request.signal });
        const retryAfter = answer.headers['retry-after'];
        const { statusCode: status, body, headers } = answer;
        return { status, body, headers, ...(typeof retryAfter === 'string' ? { retryAfter } : {}) };
      },
      (refused) => refused.destroy(),
    );
  }

  async close(): Promise<void> {
    const pools = this.#pools;
    this.#pools = undefined;
    await Promise.all([pools?.requests.destroy(), pools?.streams.destroy()]);
  }

  /** Sends once; a second time with fresh credentials when the first are refused (401 means that nothing was done). */
  async #withAccess<Body>(
    send: (access: Access) => Promise<HttpAnswer<Body>>,
    discard: (body: Body) => void,
  ): Promise<HttpAnswer<Body>> {
    const access = await this.#credentials.current();
    const answer = await send(access);
    if (answer.status !== 401) return answer;
    this.#credentials.reject(access);
    const renewed = await this.#credentials.current();
    if (sameAccess(access, renewed)) return answer;
    discard(answer.body);
    return send(renewed);
  }

  #dispatchOptions(
    { method, path, body, contentType, headers }: HttpRequest,
    access: Access,
  ): Dispatcher.DispatchOptions {
    return {
      method,
      path: this.#prefix + path,
      body: body ?? null,
      headers: {
        'user-agent': this.#options.userAgent,
        accept: 'application/json',
        ...headers,
        ...access.headers,
        ...(contentType === undefined ? {} : { 'content-type': contentType }),
      },
    };
  }

  #poolsFor(access: Access): Pools {
    if (this.#pools?.tlsFingerprint === access.tlsFingerprint) return this.#pools;
    // Requests in flight end on the connections that they began on; a watch ends at its own timeout.
    void this.#pools?.requests.close();
    void this.#pools?.streams.close();
    this.#pools = {
      tlsFingerprint: access.tlsFingerprint,
      // Without a limit for the headers: each request has a deadline of its own, which may be longer.
      requests: this.#pool(access.tls, this.#options.connections ?? 24, 0),
      // Apart from the requests, so that watches never take the last connection. No limit: a stream that waited for
      // another to end would wait for minutes.
      streams: this.#pool(access.tls, null, 30_000),
    };
    return this.#pools;
  }

  #pool(tls: TlsOptions, connections: number | null, headersTimeout: number): Pool {
    return new Pool(this.#origin, {
      connections,
      pipelining: 1,
      allowH2: false,
      headersTimeout,
      // undici's default of five minutes would end a quiet watch.
      bodyTimeout: 0,
      // Well below the API server's own idle timeout of 90 s: it never closes what we are about to write to.
      keepAliveTimeout: 30_000,
      connect: { ...tls, timeout: 10_000, keepAlive: true, keepAliveInitialDelay: 30_000 },
    });
  }
}

function sameAccess(a: Access, b: Access): boolean {
  return a.tlsFingerprint === b.tlsFingerprint && a.headers['authorization'] === b.headers['authorization'];
}
