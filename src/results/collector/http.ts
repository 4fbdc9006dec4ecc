import { request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import { readFile } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { rootCertificates } from 'node:tls';
import { backoffMs } from '../../kube/backoff.ts';
import { pause } from '../../kube/pause.ts';
import type { Refusal, RefusalCode } from '../protocol.ts';
import type { CollectorConfig } from './config.ts';

/** An answer that says no for good, or the last word of one that was tried until time ran out. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  readonly code: RefusalCode | 'unreachable';
  constructor(code: RefusedError['code'], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/** Trying again would change nothing. Everything else (also 401, 403 and 404) may be an operator that knows us not yet. */
const FINAL = new Set([400, 405, 409, 410, 411, 413, 422]);
const CALL_TIMEOUT = 120_000;
const IDLE_TIMEOUT = 60_000;
const BACKOFF = { baseMs: 250, maxMs: 5_000 };

interface Answer {
  status: number;
  body: string;
  retryAfterMs: number;
}

/** The gateway, and the store behind presigned URLs, as the collector calls them. */
export class GatewayClient {
  readonly #base: string;
  readonly #tokenFile: string;
  readonly #gateway: Agent;
  readonly #store: Agent;

  constructor(config: CollectorConfig) {
    const { gatewayUrl, clientRunId, attempt, caPem, storeCaPem, tokenFile } = config;
    this.#base = `${gatewayUrl.replace(/\/$/, '')}/v1/runs/${clientRunId}/attempts/${attempt}/`;
    this.#tokenFile = tokenFile;
    this.#gateway = new Agent({ ca: caPem, keepAlive: true, maxSockets: 8 });
    this.#store = new Agent({
      keepAlive: true,
      maxSockets: 8,
      // A list of one's own replaces the public ones: those are named too.
      ...(storeCaPem === undefined ? {} : { ca: [...rootCertificates, storeCaPem] }),
    });
  }

  /** Once. Rejects with RefusedError or a network error. */
  async post<T>(path: string, body: object, signal: AbortSignal): Promise<T> {
    const answer = await this.#call(path, body, signal);
    if (answer.status >= 300) throw refused(answer);
    return (answer.body === '' ? {} : JSON.parse(answer.body)) as T;
  }

  /** Until it is answered for good or the signal aborts. Rejects with RefusedError. */
  async postUntil<T>(path: string, body: object, signal: AbortSignal): Promise<T> {
    let last: unknown;
    for (let failures = 1; !signal.aborted; failures++) {
      let wait = backoffMs(failures, BACKOFF);
      try {
        const answer = await this.#call(path, body, signal);
        if (answer.status < 300) return (answer.body === '' ? {} : JSON.parse(answer.body)) as T;
        last = refused(answer);
        if (FINAL.has(answer.status)) throw last;
        wait = Math.max(wait, answer.retryAfterMs);
      } catch (error) {
        if (error instanceof RefusedError && error === last) throw error;
        last = error;
      }
      await pause(wait, signal);
    }
    if (last instanceof RefusedError) throw last;
    throw new RefusedError('unreachable', 'the results gateway could not be reached', last);
  }

  /** One part's bytes; the URL is absolute, or a path on the gateway. Answers the HTTP status. Rejects on a network error. */
  async put(
    url: string,
    headers: Record<string, string>,
    size: number,
    body: AsyncIterable<Buffer>,
    signal: AbortSignal,
  ): Promise<Answer> {
    const own = url.startsWith('/');
    const target = own ? new URL(url, this.#base) : new URL(url);
    const all = { ...headers, 'content-length': String(size), ...(own ? await this.#authorization() : {}) };
    const agent = target.protocol === 'http:' ? {} : { agent: own ? this.#gateway : this.#store };
    const send = target.protocol === 'http:' ? httpRequest : httpsRequest;
    const request = send(target, { method: 'PUT', headers: all, signal, ...agent });
    request.setTimeout(IDLE_TIMEOUT, () => request.destroy(new Error('the connection stalled')));
    const answered = new Promise<Answer>((resolve, reject) => {
      request.once('response', (response) => void readAnswer(response).then(resolve, reject));
      request.once('error', reject);
    });
    // A server that refuses answers before it has read everything, and then the rest cannot be written.
    const written = pipeline(body, request).then(() => answered);
    try {
      return await Promise.race([answered, written.catch(() => answered)]);
    } finally {
      if (!request.writableFinished) request.destroy();
    }
  }

  close(): void {
    this.#gateway.destroy();
    this.#store.destroy();
  }

  async #call(path: string, body: object, signal: AbortSignal): Promise<Answer> {
    const text = JSON.stringify(body);
    const headers = {
      ...(await this.#authorization()),
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(text)),
    };
    const limit = AbortSignal.any([signal, AbortSignal.timeout(CALL_TIMEOUT)]);
    return new Promise<Answer>((resolve, reject) => {
      const target = new URL(path, this.#base);
      const request = httpsRequest(
        target,
        { method: 'POST', headers, signal: limit, agent: this.#gateway },
        (response) => {
          readAnswer(response).then(resolve, reject);
        },
      );
      request.once('error', reject);
      request.end(text);
    });
  }

  async #authorization(): Promise<{ authorization: string }> {
    return { authorization: `Bearer ${(await readFile(this.#tokenFile, 'utf8')).trim()}` };
  }
}

async function readAnswer(response: IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const seconds = Number(response.headers['retry-after'] ?? 0);
  return {
    status: response.statusCode ?? 0,
    body: Buffer.concat(chunks).toString('utf8'),
    retryAfterMs: Number.isFinite(seconds) ? Math.min(60, Math.max(0, seconds)) * 1000 : 0,
  };
}

export function refused({ status, body }: Answer): RefusedError {
  try {
    const { code, message } = JSON.parse(body) as Partial<Refusal>;
    if (typeof code === 'string' && typeof message === 'string') return new RefusedError(code, message);
  } catch {
    // Not from the gateway: a proxy, or something else on its address.
  }
  return new RefusedError('unavailable', `HTTP ${status}`);
}
