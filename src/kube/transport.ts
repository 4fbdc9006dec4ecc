import type { Readable } from 'node:stream';

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path and query, below the server's own prefix. */
  readonly path: string;
  readonly body?: string;
  readonly contentType?: string;
  /** Beside those that every request carries, such as `range`. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

export interface HttpAnswer<Body> {
  readonly status: number;
  /** The `Retry-After` header as sent. */
  readonly retryAfter?: string;
  /** Of a stream; names in lower case. */
  readonly headers?: Readonly<Record<string, string | string[] | undefined>>;
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
