import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { AttemptDirectory, CollectTask, RunStore } from '../contract.ts';
import type { ResultsHub } from '../hub.ts';
import { CachedReviews, resultsAudience, type TokenReviewer } from './auth.ts';
import { Handlers } from './handlers.ts';
import { refusalFrom, refuse, RefusalError, readBody } from './http.ts';
import { LeaderLink, type Leadership } from './leader-link.ts';
import { RateLimit } from './rate-limit.ts';
import type { ServingMaterial } from './tls.ts';

export interface GatewayOptions {
  /** Default every interface. */
  host?: string;
  /** 0 for any. */
  port: number;
  tls: ServingMaterial;
  /** For the way from a standby to the leader: the name in the certificate, and who signs it. */
  serverName: string;
  caPem: () => string;
  leadership: Leadership;
  installationId: string;
  store: RunStore;
  hub: ResultsHub;
  directory: AttemptDirectory;
  reviewer: TokenReviewer;
  /** A vendor's notice for a profile; answers the status to give. What it says is checked there. */
  onNotice?: (profile: string, headers: IncomingHttpHeaders, body: Buffer) => Promise<number>;
  /** Told of failures that are the operator's own; words only, never a secret. */
  onError?: (message: string, cause: unknown) => void;
}

const PATH = /^\/v1\/runs\/([0-9a-f-]{36})\/attempts\/([1-9]\d{0,5})\/([a-z0-9/]+)$/;
const NOTICE_PATH = /^\/v1\/notices\/([a-z0-9][a-z0-9.-]{0,252})$/;
const NOTICE_BYTES = 1024 * 1024;
const NOTICE_MS = 10_000;
const CLOSE_GRACE = 5_000;

/**
 * The HTTPS server in the operator that collectors push to. Only a pod of the live attempt is heard, by a token that
 * the API server reviewed, and only on its own results; nothing is taken once a result is recorded.
 */
export class Gateway {
  readonly #options: GatewayOptions;
  readonly #server: Server;
  readonly #reviews: CachedReviews;
  readonly #link: LeaderLink;
  readonly #handlers: Handlers;
  /** By pod. A burst is the uploads of 64 small artifacts. */
  readonly #requests = new RateLimit(250, 20);
  /** By profile. */
  readonly #notices = new RateLimit(200, 50);
  /** By remote address: wrong tokens only. */
  readonly #guesses = new RateLimit(50, 2);

  constructor(options: GatewayOptions) {
    this.#options = options;
    this.#reviews = new CachedReviews(options.reviewer);
    this.#link = new LeaderLink(options);
    this.#handlers = new Handlers({ ...options, link: this.#link, callers: () => this.#requests.callers });
    this.#server = createServer(
      { cert: options.tls.certPem, key: options.tls.keyPem, minVersion: 'TLSv1.2', maxHeaderSize: 16 * 1024 },
      (req, res) => void this.#serve(req, res),
    );
    this.#server.maxConnections = 2048;
    this.#server.headersTimeout = 10_000;
    // A PUT of gigabytes takes as long as it takes; the idle limit ends a dead one, and JSON bodies have their own.
    this.#server.requestTimeout = 0;
    this.#server.timeout = 120_000;
    this.#server.keepAliveTimeout = 15_000;
    this.#server.on('tlsClientError', () => undefined);
  }

  /** Answers the port that is listened on. */
  async listen(): Promise<number> {
    const { host, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ port, ...(host === undefined ? {} : { host }) }, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
    return (this.#server.address() as AddressInfo).port;
  }

  /** New connections get this certificate; live ones go on. */
  setTls({ certPem, keyPem }: ServingMaterial): void {
    this.#server.setSecureContext({ cert: certPem, key: keyPem, minVersion: 'TLSv1.2' });
  }

  /** Stops taking requests, gives running ones a moment, then ends them. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => this.#server.closeAllConnections(), CLOSE_GRACE);
    await closed;
    clearTimeout(timer);
    this.#link.close();
  }

  async #serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    // A peer that vanishes is no fault of ours; the handler's own read rejects.
    req.on('error', () => undefined);
    res.on('error', () => undefined);
    try {
      await this.#route(req, res);
    } catch (error) {
      const refusal = refusalFrom(error);
      if (refusal === undefined && !req.destroyed)
        this.#options.onError?.('a request to the results gateway failed', error);
      if (refusal?.status === 507) this.#options.onError?.('the run store is full', error);
      refuse(req, res, refusal ?? new RefusalError(500, 'unavailable', 'the operator failed'));
    }
  }

  async #route(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const url = new URL(req.url ?? '/', 'https://gateway');
    const [, profile] = NOTICE_PATH.exec(url.pathname) ?? [];
    if (profile !== undefined) return this.#notice(profile, req, res);
    const [, clientRunId, attempt, path] = PATH.exec(url.pathname) ?? [];
    if (clientRunId === undefined || path === undefined) throw new RefusalError(404, 'invalid', 'no such path');
    const task = this.#task(clientRunId, Number(attempt));
    const { rank, podUid } = await this.#sender(req, task, Number(attempt));
    if (!this.#requests.take(podUid)) throw new RefusalError(429, 'busy', 'too many requests', 1);
    await this.#handlers.handle({ task, rank, podUid, path, query: url.searchParams, req, res });
  }

  /** From the internet, where an ingress lets it in: nobody is known before the signature was checked. */
  async #notice(profile: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { onNotice } = this.#options;
    if (onNotice === undefined || req.method !== 'POST') throw new RefusalError(404, 'invalid', 'no such path');
    if (!this.#notices.take(profile)) throw new RefusalError(429, 'busy', 'too many notices', 1);
    const status = await onNotice(profile, req.headers, await readBody(req, NOTICE_BYTES, NOTICE_MS));
    res.writeHead(status).end();
  }

  #task(clientRunId: string, attempt: number): CollectTask {
    const task = this.#options.directory.find(clientRunId);
    if (task === 'over') throw new RefusalError(410, 'over', 'this run is over');
    // Retried by the collector: after a restart, or right after the start of a pod, the operator may not know it yet.
    if (task === undefined || attempt > task.attempt)
      throw new RefusalError(404, 'unknownRun', 'no such run is live', 2);
    return task;
  }

  async #sender(req: IncomingMessage, task: CollectTask, attempt: number): Promise<{ rank: number; podUid: string }> {
    const token = /^Bearer ([\w.~+/-]+=*)$/.exec(req.headers.authorization ?? '')?.[1];
    const audience = resultsAudience(this.#options.installationId, task.clientRunId);
    const review =
      token === undefined
        ? ({ ok: false, refusal: 'Invalid', message: 'a bearer token is needed' } as const)
        : await this.#reviews.review(token, audience);
    if (!review.ok && review.refusal === 'Unavailable') throw new RefusalError(503, 'unavailable', review.message, 2);
    if (!review.ok) {
      if (!this.#guesses.take(req.socket.remoteAddress ?? ''))
        throw new RefusalError(429, 'busy', 'too many wrong tokens', 5);
      throw new RefusalError(401, 'unauthorized', review.message);
    }
    const rank = review.namespace === task.namespace ? task.rankOf(review.podUid) : undefined;
    // The pod decides, not the number: a queue that evicts a run starts its next attempt from the same Job, whose pods
    // still name the attempt that it was made for.
    if (rank === undefined && attempt < task.attempt) throw new RefusalError(410, 'over', 'this attempt is over');
    if (rank === undefined) throw new RefusalError(403, 'unknownPod', 'this pod is not known as one of the attempt', 1);
    return { rank, podUid: review.podUid };
  }
}
