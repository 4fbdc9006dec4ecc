import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';
import {
  doctorOf,
  operatorReadiness,
  profileReadiness,
  type OperatorFacts,
  type OperatorReadiness,
  type ProfileFacts,
} from './readiness.ts';

export interface HealthOptions {
  port: number;
  registry: Registry;
  /** Leading is not a part of it: a standby is ready too. */
  operator(): OperatorFacts;
  leads(): boolean;
  profiles(): Iterable<ProfileFacts>;
  profile(name: string): ProfileFacts | undefined;
}

const PAGES = '/healthz, /readyz, /readyz/PROFILE, /leaderz and /metrics';

/**
 * `/healthz` speaks of this process alone, `/readyz` of what it needs, `/readyz/PROFILE` of one profile, `/leaderz` of
 * the Lease, `/metrics` of everything. Answers are JSON, and 503 wherever traffic should go elsewhere.
 */
export class HealthServer {
  readonly #o: HealthOptions;
  readonly #server: Server;

  constructor(options: HealthOptions) {
    this.#o = options;
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#server.requestTimeout = 10_000;
    this.#server.headersTimeout = 5_000;
  }

  /** Answers the port that is listened on. */
  async listen(): Promise<number> {
    const { port } = this.#o;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, resolve);
    });
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : port;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const id = requestIdOf(request);
    const say = (status: number, body: object): void => {
      response
        .writeHead(status, { 'content-type': 'application/json', 'x-request-id': id })
        .end(`${JSON.stringify({ request_id: id, ...body })}\n`);
    };
    const refuse = (status: number, message: string): void =>
      say(status, { error: { type: 'validation_error', message, status, request_id: id } });
    if (request.method !== 'GET' && request.method !== 'HEAD') return refuse(405, 'only GET is answered here');
    const url = URL.parse(request.url ?? '/', 'http://operator');
    const [, page, name, ...rest] = (url?.pathname ?? '').split('/');
    if (url === null || rest.length > 0 || (name !== undefined && page !== 'readyz'))
      return refuse(404, `there are ${PAGES}`);
    switch (page) {
      case 'healthz':
        return say(200, { status: 'live' });
      case 'leaderz':
        return say(200, { status: this.#o.leads() ? 'leading' : 'standby' });
      case 'readyz': {
        const profile = name ?? url.searchParams.get('profile');
        const operator = this.#operator();
        const body = profile === null ? operator : profileReadiness(profile, this.#o.profile(profile), operator);
        return say(body.traffic === 'accept' ? 200 : 503, body);
      }
      case 'metrics':
        return this.#metrics(response);
      default:
        return refuse(404, `there are ${PAGES}`);
    }
  }

  #operator(): OperatorReadiness {
    return operatorReadiness(this.#o.operator(), doctorOf(this.#o.profiles()));
  }

  #metrics(response: ServerResponse): void {
    const { registry } = this.#o;
    registry.metrics().then(
      (body) => response.writeHead(200, { 'content-type': registry.contentType }).end(body),
      () => response.writeHead(500, { 'content-type': 'text/plain' }).end('metrics could not be gathered\n'),
    );
  }
}

/** The caller's, so that its log and ours can be laid side by side; one of our own where it has none, or one that is odd. */
function requestIdOf({ headers }: IncomingMessage): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && /^[\w.:-]{1,128}$/.test(given) ? given : crypto.randomUUID().replaceAll('-', '');
}
