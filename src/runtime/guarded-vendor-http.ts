import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { OperationPolicy, RequestPolicy } from '../crds/runtime-profile.ts';
import type { GuardedConnections } from '../net/connections.ts';
import { asHttpError, HttpError } from '../net/http-error.ts';
import { retryAfterMs } from '../net/retry-after.ts';
import { Watchdog } from '../net/watchdog.ts';
import type { ProviderEventRecorder } from '../telemetry/provider-events.ts';
import type { SendOnce } from './contract.ts';
import type { CredentialScope } from './credential-scope.ts';
import { isRuntimeError, RuntimeError, type RuntimeFault } from './errors.ts';
import { VERSION } from '../version.ts';
import { underPolicy, type AttemptEnd, type PolicyClock, type PolicyReport } from './request-policy.ts';
import { ask, bytesOf, type VendorAnswer, type VendorRequest } from './vendor-exchange.ts';
import type { Operation, VendorHttp } from './vendor-http.ts';

export interface VendorHttpOptions {
  /** Name of the runtime, for events and messages. */
  readonly provider: string;
  /** Name of the profile, for events. */
  readonly profile: string;
  readonly policy: RequestPolicy;
  readonly scope: CredentialScope;
  /** Bytes of a download whose operation names no limit. */
  readonly maxDownloadBytes: number;
  readonly connections: GuardedConnections;
  readonly events: ProviderEventRecorder;
  readonly clock?: PolicyClock;
}

const TOO_LATE = 'not sent: the time to send it is over';
const DEFAULT_MAX_ANSWER = 16 * 1024 * 1024;

/** As every fetch sends them; some gateways turn away who sends none. */
const DEFAULT_HEADERS = { accept: '*/*', 'user-agent': `worldflux-operator/${VERSION}` };

const systemClock: PolicyClock = {
  now: () => Date.now(),
  sleep: async (ms, signal) => {
    await sleep(ms, undefined, { signal });
  },
};

/**
 * A `fetch` that cannot leave the profile's rules. An answer of any status is a value, the last one after the policy's
 * attempts too. Answers are whole when they are given, so that a half one is another attempt; but a download's good answer
 * streams, and then only what comes before its body is repeated.
 */
export class GuardedVendorHttp implements VendorHttp {
  readonly #options: VendorHttpOptions;
  readonly #clock: PolicyClock;
  readonly #signal: AbortSignal;

  constructor(options: VendorHttpOptions, signal: AbortSignal) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#signal = signal;
  }

  fetch(operation: Operation): typeof fetch {
    if (operation.once === undefined) {
      return (input, init) => this.#prepare(operation, input, init).then((call) => call.run());
    }
    // However often a client library tries: one request leaves, and every try gets what became of it.
    let only: Promise<Response> | undefined;
    return async (input, init) => {
      only ??= this.#prepare(operation, input, init).then((call) => call.run());
      return (await only).clone();
    };
  }

  async #prepare(operation: Operation, input: string | URL | Request, init?: RequestInit): Promise<Call> {
    const { provider } = this.#options;
    const what = `${provider} ${operation.name}`;
    let request: Request;
    try {
      // It settles what the body's type is and where its parts begin.
      request = new Request(input, { ...init, duplex: 'half' } as RequestInit);
    } catch (cause) {
      // Its own message would quote the URL.
      throw new RuntimeError({ kind: 'refused' }, `${what}: this is no request that can be sent`, cause);
    }
    try {
      const streams = isStream(init?.body) && operation.once === undefined;
      return new Call(this.#options, this.#clock, operation, {
        method: request.method,
        url: request.url,
        headers: { ...DEFAULT_HEADERS, ...Object.fromEntries(request.headers) },
        body:
          request.body === null ? null : streams ? webStream(request.body) : Buffer.from(await request.arrayBuffer()),
        redirect: request.redirect,
        signal: AbortSignal.any([this.#signal, request.signal]),
      });
    } catch (cause) {
      throw new RuntimeError(
        { kind: request.signal.aborted || this.#signal.aborted ? 'aborted' : 'retryable' },
        `${what}: the bytes to send cannot be read`,
        cause,
      );
    }
  }
}

type Prepared = Omit<VendorRequest, 'credentials' | 'maySend'> & { readonly signal: AbortSignal };

/** One use of a fetch: its attempts under the policy. */
class Call {
  readonly #options: VendorHttpOptions;
  readonly #clock: PolicyClock;
  readonly #operation: Operation;
  readonly #request: Prepared;
  readonly #policy: OperationPolicy;
  readonly #startedAt: number;
  /** Of the last attempt that had an answer. */
  #status: number | undefined;

  constructor(options: VendorHttpOptions, clock: PolicyClock, operation: Operation, request: Prepared) {
    this.#options = options;
    this.#clock = clock;
    this.#operation = operation;
    this.#request = request;
    this.#startedAt = operation.startedAt ?? clock.now();
    const policy = options.policy[operation.class];
    // A body that was streamed away cannot be sent again.
    const single = operation.once !== undefined || (request.body !== null && !Buffer.isBuffer(request.body));
    this.#policy = single ? { ...policy, maxAttempts: 1 } : policy;
  }

  /** Rejects with RuntimeError only. */
  async run(): Promise<Response> {
    try {
      return await underPolicy({
        policy: this.#policy,
        startedAt: this.#startedAt,
        signal: this.#request.signal,
        clock: this.#clock,
        attempt: (number, timeoutMs) => this.#attempt(number, timeoutMs),
        report: (report) => this.#report(report),
        budgetExceeded: (elapsedMs) => this.#budgetExceeded(elapsedMs),
      });
    } catch (cause) {
      if (isRuntimeError(cause)) throw cause;
      throw new RuntimeError({ kind: 'aborted' }, `${this.#what}: stopped`, cause);
    }
  }

  get #what(): string {
    return `${this.#options.provider} ${this.#operation.name}`;
  }

  async #attempt(number: number, timeoutMs: number): Promise<AttemptEnd<Response>> {
    const { once } = this.#operation;
    const { signal } = this.#request;
    this.#status = undefined;
    if (signal.aborted) return this.#failed(new HttpError('aborted', 'stopped'));
    const left = once === undefined ? timeoutMs : Math.min(timeoutMs, once.notAfter - this.#clock.now());
    if (left <= 0) return this.#failed(new HttpError('timeout', TOO_LATE));
    const watch = new Watchdog(signal, left);
    const maySend = once && (() => this.#askMaySend(once));
    let answered = false;
    let streaming = false;
    try {
      const answer = await ask(
        this.#options.connections,
        this.#options.scope,
        { ...this.#request, credentials: this.#operation.credentials === true, ...(maySend && { maySend }) },
        watch,
      );
      answered = true;
      this.#status = answer.status;
      streaming = this.#operation.class === 'download' && answer.status >= 200 && answer.status < 300;
      return streaming ? await this.#streamed(answer, watch, number) : await this.#whole(answer);
    } catch (cause) {
      return this.#failed(asHttpError(cause, this.#where, watch, answered));
    } finally {
      if (!streaming) watch.stop();
    }
  }

  #askMaySend({ notAfter, maySend }: SendOnce): void {
    // A process that was paused while it connected finds itself here hours later.
    if (this.#clock.now() >= notAfter) throw new HttpError('timeout', TOO_LATE);
    try {
      maySend();
    } catch (cause) {
      throw new HttpError('aborted', 'not sent: this process may not send it any more', cause);
    }
  }

  get #where(): string {
    return `${this.#request.method} ${new URL(this.#request.url).host}`;
  }

  async #whole(answer: VendorAnswer): Promise<AttemptEnd<Response>> {
    const max = this.#operation.maxAnswerBytes ?? DEFAULT_MAX_ANSWER;
    const body: Buffer[] = await Readable.from(bytesOf(answer, max, this.#where)).toArray();
    const good = answer.status >= 200 && answer.status < 400;
    return {
      outcome: { value: responseOf(answer, Buffer.concat(body)) },
      phase: good ? 'success' : 'failure',
      repeatable: this.#policy.retryableStatusCodes.includes(answer.status),
      retryAfterMs: retryAfterMs(text(answer.headers['retry-after']), this.#clock.now()),
    };
  }

  async #streamed(answer: VendorAnswer, watch: Watchdog, attempt: number): Promise<AttemptEnd<Response>> {
    const bytes = this.#download(answer, watch, attempt);
    // Begun here: what was never begun cannot be cancelled, and its connection would wait for a reader.
    await bytes.next();
    const value = responseOf(answer, ReadableStream.from(bytes));
    return { outcome: { value }, phase: 'silent', repeatable: false };
  }

  /** Nothing first, then its bytes. Reports the download when it has ended, however that was. */
  async *#download(answer: VendorAnswer, watch: Watchdog, attempt: number): AsyncGenerator<Buffer> {
    const begun = this.#clock.now();
    const max = this.#operation.maxAnswerBytes ?? this.#options.maxDownloadBytes;
    let bytes = 0;
    // Who cancels has no complaint about the provider.
    let end: { phase: PolicyReport<never>['phase']; message: string } | undefined = {
      phase: 'success',
      message: 'the reader wanted no more',
    };
    try {
      yield Buffer.alloc(0);
      for await (const chunk of bytesOf(answer, max, this.#where, () => watch.touch())) {
        if (this.#isOverBudget()) throw new HttpError('timeout', 'the budget is used up');
        bytes += chunk.length;
        yield chunk;
      }
      end = { phase: 'success', message: '' };
    } catch (cause) {
      const error = this.#isOverBudget()
        ? this.#budgetExceeded(this.#elapsedMs())
        : this.#errorOf(asHttpError(cause, this.#where, watch, true));
      const phase = error.kind === 'budget' ? 'budget_exceeded' : 'failure';
      end = error.kind === 'aborted' ? undefined : { phase, message: error.message };
      throw error;
    } finally {
      watch.stop();
      answer.body.destroy();
      const metadata = { bytes };
      const durationMs = Math.max(0, this.#clock.now() - begun);
      if (end !== undefined) this.#emit({ ...end, attempt, durationMs, metadata });
    }
  }

  #elapsedMs(): number {
    return this.#clock.now() - this.#startedAt;
  }

  #isOverBudget(): boolean {
    const { maxElapsedSeconds } = this.#policy;
    return maxElapsedSeconds !== undefined && this.#elapsedMs() > maxElapsedSeconds * 1000;
  }

  #failed(error: HttpError): AttemptEnd<Response> {
    return {
      outcome: { error: this.#errorOf(error) },
      // Our own end says nothing about the provider.
      phase: error.kind === 'aborted' ? 'silent' : 'failure',
      repeatable: error.kind === 'timeout' || error.kind === 'network',
    };
  }

  #errorOf(error: HttpError): RuntimeError {
    const { once } = this.#operation;
    const kind = once !== undefined && error.inDoubt ? 'unknownOutcome' : KINDS[error.kind];
    // What `maySend` says is the controller's own word.
    if (!error.inDoubt && isRuntimeError(error.cause)) return error.cause;
    return new RuntimeError({ kind } as RuntimeFault, `${this.#what}: ${error.message}`, error);
  }

  #budgetExceeded(elapsedMs: number): RuntimeError {
    const budget = (this.#policy.maxElapsedSeconds ?? 0).toFixed(3);
    const { provider } = this.#options;
    return new RuntimeError(
      { kind: 'budget' },
      `Provider '${provider}' ${this.#operation.name} exceeded budget ${budget}s after ${(elapsedMs / 1000).toFixed(3)}s.`,
    );
  }

  #report({ phase, attempt, durationMs, end, delayMs }: PolicyReport<Response>): void {
    const failed = end !== undefined && 'error' in end.outcome ? (end.outcome.error as RuntimeError) : undefined;
    this.#emit({
      phase,
      attempt,
      durationMs,
      message: failed?.message ?? '',
      metadata: {
        ...(failed !== undefined && { fault: failed.kind }),
        ...(delayMs !== undefined && { next_delay_seconds: delayMs / 1000 }),
        ...(phase === 'budget_exceeded' && { max_elapsed_seconds: this.#policy.maxElapsedSeconds ?? null }),
      },
    });
  }

  #emit(event: {
    phase: PolicyReport<never>['phase'];
    attempt: number;
    durationMs: number;
    message: string;
    metadata: Record<string, string | number | null>;
  }): void {
    const { provider, profile, events } = this.#options;
    const { name, capability, runId } = this.#operation;
    const { origin, pathname } = new URL(this.#request.url);
    try {
      events.emit({
        ...event,
        provider,
        profile,
        operation: name,
        maxAttempts: Math.max(this.#policy.maxAttempts, event.attempt),
        method: this.#request.method,
        target: origin + pathname,
        capability: capability ?? 'unknown',
        healthCheck: this.#operation.class === 'health',
        ...(this.#status !== undefined && { statusCode: this.#status }),
        ...(runId !== undefined && { runId }),
      });
    } catch {
      // What is told of a call never decides how it ends.
    }
  }
}

const KINDS = {
  refused: 'refused',
  timeout: 'retryable',
  network: 'retryable',
  answer: 'terminal',
  body: 'retryable',
  aborted: 'aborted',
} as const satisfies Record<HttpError['kind'], RuntimeFault['kind']>;

function isStream(body: unknown): boolean {
  return body instanceof ReadableStream || (typeof body === 'object' && body !== null && Symbol.asyncIterator in body);
}

function webStream(body: ReadableStream<Uint8Array>): Readable {
  return Readable.fromWeb(body as Parameters<typeof Readable.fromWeb>[0]);
}

const text = (value: string | string[] | undefined): string | undefined => (Array.isArray(value) ? value[0] : value);

const NO_BODY = new Set([204, 205, 304]);

function responseOf(answer: VendorAnswer, body: Buffer | ReadableStream): Response {
  const headers = new Headers();
  for (const [name, value] of Object.entries(answer.headers)) {
    for (const one of Array.isArray(value) ? value : [value ?? '']) headers.append(name, one);
  }
  const response = new Response(
    NO_BODY.has(answer.status) ? null : (body as ConstructorParameters<typeof Response>[0]),
    {
      status: answer.status,
      headers,
    },
  );
  Object.defineProperties(response, {
    url: { value: answer.url.href },
    redirected: { value: answer.redirected },
  });
  return response;
}
