import type { Readable } from 'node:stream';
import { Agent, Client, type Dispatcher } from 'undici';
import { asHttpError, HttpError } from './http-error.ts';
import { UrlGuard, type UrlPolicy } from './url-guard.ts';
import type { Watchdog } from './watchdog.ts';

/** One request to one place: no redirect is followed, nothing is repeated. */
export interface Exchange {
  readonly method: Dispatcher.HttpMethod;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | Readable | null;
  readonly watch: Watchdog;
  /** Asked right before the first byte is written; when it throws, nothing is written. */
  readonly beforeSend?: () => void;
  /**
   * A connection of its own, closed afterwards. The other side may close a kept connection just when a request goes
   * out on it, and whether that one arrived can then not be known.
   */
  readonly ownConnection?: boolean;
}

export interface ExchangeAnswer {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** To be read to its end or destroyed. */
  readonly body: Readable;
}

export interface ConnectionOptions {
  /** Connections to one origin. */
  readonly connections?: number;
  readonly connectTimeoutMs?: number;
}

/** Connections that go only to addresses which the guard has judged. */
export class GuardedConnections {
  readonly #guard: UrlGuard;
  readonly #client: Client.Options;
  readonly #agent: Agent;

  constructor(
    policy: UrlPolicy,
    { connections = 16, connectTimeoutMs = 10_000 }: ConnectionOptions = {},
    guard = new UrlGuard(policy),
  ) {
    this.#guard = guard;
    this.#client = {
      // One request on a connection: a lost connection then leaves one request in doubt, not several.
      pipelining: 1,
      allowH2: false,
      connect: { timeout: connectTimeoutMs, lookup: guard.lookup, autoSelectFamily: true },
    };
    this.#agent = new Agent({ ...this.#client, connections });
  }

  /** The URL, when the guard lets it pass; throws HttpError. */
  allowed(method: string, raw: string | URL): URL {
    try {
      return this.#guard.check(raw);
    } catch (cause) {
      throw new HttpError('refused', `${method}: ${(cause as Error).message}`, cause);
    }
  }

  /** `url` has passed {@link allowed}. Throws HttpError; what fails while the body is read is the reader's to translate. */
  async exchange({ method, url, headers, body, watch, beforeSend, ownConnection }: Exchange): Promise<ExchangeAnswer> {
    let sent = false;
    const start = (): void => {
      // The client library takes unanswered requests up again in some cases; whether to repeat is decided above it.
      watch.signal.throwIfAborted();
      if (sent) throw new HttpError('network', `${method} ${url.host}: the connection was lost`);
      beforeSend?.();
      sent = true;
    };
    const own = ownConnection === true ? new Client(url.origin, this.#client) : undefined;
    try {
      const request = (own ?? this.#agent).compose(askingFirst(start)).request({
        origin: url.origin,
        path: url.pathname + url.search,
        method,
        headers,
        body,
        signal: watch.signal,
        headersTimeout: 0,
        bodyTimeout: 0,
        // Not for connections of one's own alone: the other side need not wait either.
        ...(own !== undefined && { reset: true }),
      });
      const answer = await orAborted(request, watch.signal);
      // Whoever reads it sees the error as well; one who lets it go must not end the process with it.
      answer.body.on('error', () => undefined);
      if (own !== undefined) answer.body.once('close', () => void own.destroy());
      return { status: answer.statusCode, headers: answer.headers, body: answer.body };
    } catch (cause) {
      void own?.destroy();
      throw asHttpError(cause, `${method} ${url.host}`, watch, sent);
    }
  }

  /** Lets requests under way end. */
  async close(): Promise<void> {
    await this.#agent.close();
  }

  async destroy(): Promise<void> {
    await this.#agent.destroy();
  }
}

/** Undici hears of an abort when it comes to the request: one that waits for a name or a connection would wait on. */
function orAborted<T>(request: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const end = () => reject(signal.reason as Error);
    signal.addEventListener('abort', end, { once: true });
    void request.then(resolve, reject).finally(() => signal.removeEventListener('abort', end));
  });
}

/** Undici calls `onRequestStart` in the turn in which it writes, on a connection that stands; a throw takes it back. */
function askingFirst(start: () => void): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) =>
    dispatch(options, {
      onRequestStart(controller, context: unknown) {
        start();
        handler.onRequestStart?.(controller, context);
      },
      onRequestUpgrade: (...args) => handler.onRequestUpgrade?.(...args),
      onResponseStart: (...args) => handler.onResponseStart?.(...args),
      onResponseData: (...args) => handler.onResponseData?.(...args),
      onResponseEnd: (...args) => handler.onResponseEnd?.(...args),
      onResponseError: (...args) => handler.onResponseError?.(...args),
    });
}
