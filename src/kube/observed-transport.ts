import type { Readable } from 'node:stream';
import type { HttpAnswer, HttpRequest, Transport } from './transport.ts';

/** Told of each request: its status, or `<error>` where no answer came (client-go's word for it). It must not throw. */
export type RequestObserver = (code: string, method: string) => void;

/** A transport that tells of every request; retries count each. */
export class ObservedTransport implements Transport {
  readonly #inner: Transport;
  readonly #onRequest: RequestObserver;

  constructor(inner: Transport, onRequest: RequestObserver) {
    this.#inner = inner;
    this.#onRequest = onRequest;
  }

  async request(request: HttpRequest): Promise<HttpAnswer<string>> {
    return this.#observe(request, this.#inner.request(request));
  }

  async stream(request: HttpRequest): Promise<HttpAnswer<Readable>> {
    return this.#observe(request, this.#inner.stream(request));
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }

  async #observe<Body>({ method }: HttpRequest, answer: Promise<HttpAnswer<Body>>): Promise<HttpAnswer<Body>> {
    let code = '<error>';
    try {
      const arrived = await answer;
      code = String(arrived.status);
      return arrived;
    } finally {
      this.#onRequest(code, method);
    }
  }
}
