import { constants } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { TLSSocket, type SecureContextOptions } from 'node:tls';
import type { KubeClient } from '../../kube/client.ts';
import type { RunStore } from '../contract.ts';
import type { ServingMaterial } from '../gateway/tls.ts';
import { AccessReviews } from './access.ts';
import {
  AGGREGATED_DISCOVERY,
  AGGREGATED_TYPE,
  API_GROUP,
  API_GROUP_LIST,
  API_RESOURCE_LIST,
  wantsAggregated,
} from './discovery.ts';
import { FrontProxyWatch, userOf, type FrontProxyTrust, type RequestUser } from './front-proxy.ts';
import { ResultsHandlers } from './handlers.ts';
import { OPENAPI_V2, OPENAPI_V3, OPENAPI_V3_INDEX, OPENAPI_V3_PATH } from './openapi.ts';
import { RESULTS, RESULTS_GROUP, RESULTS_ROOT, type ResultsPart } from './protocol.ts';
import { answerJson, ApiRefusal, notFound, refusalOf, refuse, unavailable } from './refusal.ts';
import type { ClientRunIdOf } from './run-results.ts';

export interface ResultsApiOptions {
  /** Default every interface. */
  host?: string;
  /** 0 for any. */
  port: number;
  tls: ServingMaterial;
  client: Pick<KubeClient, 'get' | 'create'>;
  store: RunStore;
  clientRunIdOf: ClientRunIdOf;
  /** Told of failures that are the operator's own; words only. */
  onError?: (message: string, cause: unknown) => void;
}

const DOCUMENTS: Record<string, object> = {
  '/apis': API_GROUP_LIST,
  [`/apis/${RESULTS_GROUP}`]: API_GROUP,
  [RESULTS_ROOT]: API_RESOURCE_LIST,
  '/openapi/v2': OPENAPI_V2,
  '/openapi/v3': OPENAPI_V3_INDEX,
  [OPENAPI_V3_PATH]: OPENAPI_V3,
};

/** Nothing else can be a name, and so nothing else becomes part of a path that the operator asks for. */
const NAME = '[a-z0-9][a-z0-9.-]{0,252}';
const PATH = new RegExp(
  `^${RESULTS_ROOT.replaceAll('.', '\\.')}/namespaces/(${NAME})/worldruns/(${NAME})/(${Object.keys(RESULTS).join('|')})$`,
);

/** Results that are read at the same time: of everybody, and of one user. */
const MOST_AT_ONCE = 64;
const MOST_PER_USER = 16;
const LONGEST_MS = 3600_000;
const CLOSE_GRACE = 5_000;

/**
 * The aggregated API `results.worldflux.ai`. Only the API server may speak to it, proven by its front-proxy certificate;
 * it names the user, and the cluster's authorizer is asked about that user once more, in the run's namespace.
 */
export class ResultsApi {
  readonly #options: ResultsApiOptions;
  readonly #server: Server;
  readonly #handlers: ResultsHandlers;
  readonly #watch: FrontProxyWatch;
  readonly #reading = new Map<string, number>();
  /** Which trust a connection was checked against. */
  readonly #checkedBy = new WeakMap<TLSSocket, FrontProxyTrust | undefined>();
  #tls: ServingMaterial;
  #trust: FrontProxyTrust | undefined;

  constructor(options: ResultsApiOptions) {
    this.#options = options;
    this.#tls = options.tls;
    this.#handlers = new ResultsHandlers({ ...options, access: new AccessReviews(options.client) });
    this.#server = createServer(
      // Checked by hand: a stranger is told why it is refused, and no certificate can be forgotten to be looked at.
      { ...this.#context(), requestCert: true, rejectUnauthorized: false, maxHeaderSize: 64 * 1024 },
      (req, res) => void this.#serve(req, res),
    );
    this.#server.maxConnections = 1024;
    this.#server.headersTimeout = 10_000;
    this.#server.requestTimeout = 30_000;
    this.#server.timeout = 120_000;
    // Longer than the API server keeps its own idle connections: it never uses one that we are about to close.
    this.#server.keepAliveTimeout = 100_000;
    this.#server.on('tlsClientError', () => undefined);
    this.#server.on('secureConnection', (socket: TLSSocket) => this.#checkedBy.set(socket, this.#trust));
    this.#watch = new FrontProxyWatch(
      options.client,
      (trust) => {
        this.#trust = trust;
        this.#server.setSecureContext(this.#context());
        // Connections that an authority opened which is trusted no more.
        this.#server.closeIdleConnections();
        if (trust === undefined)
          this.#fail('the cluster names no front proxy: the results API refuses everybody', undefined);
      },
      (error) => this.#fail('the front proxy’s authority could not be read', error),
    );
  }

  /** Answers the port that is listened on. */
  async listen(): Promise<number> {
    await this.#watch.start();
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
  setTls(tls: ServingMaterial): void {
    this.#tls = tls;
    this.#server.setSecureContext(this.#context());
  }

  /** Stops taking requests, gives running ones a moment, then ends them. */
  async close(): Promise<void> {
    this.#watch.stop();
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => this.#server.closeAllConnections(), CLOSE_GRACE);
    await closed;
    clearTimeout(timer);
  }

  #context(): SecureContextOptions {
    return {
      cert: this.#tls.certPem,
      key: this.#tls.keyPem,
      minVersion: 'TLSv1.2',
      // A resumed session would bring its certificate's old verdict with it.
      secureOptions: constants.SSL_OP_NO_TICKET,
      // Without an authority Node would ask the public ones. The request is refused before that matters.
      ca: this.#trust?.caPem ?? this.#tls.certPem,
    };
  }

  async #serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    req.on('error', () => undefined);
    res.on('error', () => undefined);
    req.resume();
    try {
      await this.#route(req, res);
    } catch (error) {
      if (res.destroyed) return;
      const refusal = refusalOf(error);
      if (refusal === undefined || refusal.code === 503) this.#fail('a request to the results API failed', error);
      refuse(req, res, refusal ?? new ApiRefusal(500, 'InternalError', 'the operator failed'));
    }
  }

  async #route(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const user = this.#caller(req, res);
    const { pathname, searchParams: query } = new URL(req.url ?? '/', 'https://results');
    if (req.method !== 'GET' && req.method !== 'HEAD')
      throw new ApiRefusal(
        405,
        'MethodNotAllowed',
        'results are read with GET, and nothing else can be done with them',
      );
    const path = pathname.replace(/\/$/, '');
    if (path === '/apis' && wantsAggregated(req.headers.accept))
      return answerJson(res, 200, AGGREGATED_DISCOVERY, AGGREGATED_TYPE);
    const document = DOCUMENTS[path];
    if (document !== undefined) return answerJson(res, 200, document);
    const [, namespace, name, part] = PATH.exec(path) ?? [];
    if (namespace === undefined || name === undefined)
      throw notFound('the server could not find the requested resource');
    const wanted = { namespace, name, part: part as ResultsPart };
    return this.#limited(user, res, (signal) => this.#handlers.handle({ user, wanted, query, req, res, signal }));
  }

  /** Headers are believed on a connection that the front proxy opened, and on no other. */
  #caller(req: IncomingMessage, res: ServerResponse): RequestUser {
    const trust = this.#trust;
    if (trust === undefined) throw unavailable('the front proxy’s authority is not known yet');
    const { socket } = req;
    if (socket instanceof TLSSocket && this.#checkedBy.get(socket) !== trust) {
      // Checked against an authority of before: the next connection is checked anew.
      res.setHeader('connection', 'close');
      throw unavailable('the front proxy’s authority has changed: connect again');
    }
    const proven = socket instanceof TLSSocket && socket.authorized && isAllowed(socket, trust);
    const user = proven ? userOf(req.headersDistinct, trust) : undefined;
    if (user === undefined)
      throw new ApiRefusal(401, 'Unauthorized', `only the API server may ask here: read ${RESULTS_ROOT} through it`);
    return user;
  }

  async #limited(
    { username }: RequestUser,
    res: ServerResponse,
    work: (signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const own = this.#reading.get(username) ?? 0;
    let all = 0;
    for (const count of this.#reading.values()) all += count;
    if (own >= MOST_PER_USER || all >= MOST_AT_ONCE)
      throw new ApiRefusal(429, 'TooManyRequests', 'too many results are read at once', 2);
    this.#reading.set(username, own + 1);
    const gone = new AbortController();
    const end = (): void => gone.abort(new Error('the caller is gone'));
    const timer = setTimeout(() => gone.abort(new Error('the time is up')), LONGEST_MS);
    res.once('close', end);
    try {
      await work(gone.signal);
    } finally {
      clearTimeout(timer);
      res.off('close', end);
      const left = (this.#reading.get(username) ?? 1) - 1;
      if (left === 0) this.#reading.delete(username);
      else this.#reading.set(username, left);
    }
  }

  #fail(message: string, cause: unknown): void {
    this.#options.onError?.(message, cause);
  }
}

function isAllowed(socket: TLSSocket, { allowedNames }: FrontProxyTrust): boolean {
  if (allowedNames.length === 0) return true;
  const { CN } = socket.getPeerCertificate().subject;
  return typeof CN === 'string' && allowedNames.includes(CN);
}
