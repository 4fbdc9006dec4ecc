import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import type { HttpAnswer } from './transport.ts';

/**
 * Collects one answer. undici's own `request` makes a stream of each, whose garbage outlives the young generation: under
 * load that is 60 MB more of resident memory, and a quarter more of CPU time.
 */
export class AnswerCollector implements Dispatcher.DispatchHandler {
  readonly answer: Promise<HttpAnswer<string>>;
  readonly #resolve: (answer: HttpAnswer<string>) => void;
  readonly #reject: (reason: unknown) => void;
  readonly #signal: AbortSignal;
  readonly #chunks: Buffer[] = [];
  #controller: Dispatcher.DispatchController | undefined;
  #status = 0;
  #retryAfter: string | undefined;

  constructor(signal: AbortSignal) {
    const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer<string>>();
    this.answer = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#signal = signal;
    signal.addEventListener('abort', this.#abort, { once: true });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    // Aborted while it waited for a connection: nothing must be sent.
    if (this.#signal.aborted) this.#abort();
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    this.#status = status;
    this.#retryAfter = headers['retry-after'];
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#chunks.push(chunk);
  }

  onResponseEnd(): void {
    const [first, ...others] = this.#chunks;
    const bytes = others.length === 0 ? first : Buffer.concat(this.#chunks);
    const answer = { status: this.#status, body: bytes?.toString('utf8') ?? '' };
    this.#forgetSignal();
    this.#resolve(this.#retryAfter === undefined ? answer : { ...answer, retryAfter: this.#retryAfter });
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    this.#forgetSignal();
    this.#reject(error);
  }

  readonly #abort = (): void => {
    const { reason } = this.#signal as { reason: Error };
    // Rejected here and not only when undici has heard of it: a request that waits for a connection hears nothing.
    this.#reject(reason);
    this.#controller?.abort(reason);
  };

  #forgetSignal(): void {
    this.#signal.removeEventListener('abort', this.#abort);
  }
}
