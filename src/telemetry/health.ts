import { createServer, type Server } from 'node:http';
import type { Registry } from 'prom-client';

export interface HealthOptions {
  port: number;
  registry: Registry;
  /** Why the operator is not ready, or undefined when it is. Leading is not a part of it: a standby is ready too. */
  unready(): string | undefined;
}

/** `/healthz` speaks of this process alone, `/readyz` of what it needs, `/metrics` of everything. */
export class HealthServer {
  readonly #server: Server;
  readonly #port: number;

  constructor({ port, registry, unready }: HealthOptions) {
    this.#port = port;
    this.#server = createServer((request, response) => {
      const answer = (status: number, body: string, type = 'text/plain; charset=utf-8') => {
        response.writeHead(status, { 'content-type': type }).end(body);
      };
      switch (request.url?.split('?')[0]) {
        case '/healthz':
          return answer(200, 'ok\n');
        case '/readyz': {
          const why = unready();
          return answer(why === undefined ? 200 : 503, `${why ?? 'ok'}\n`);
        }
        case '/metrics':
          registry.metrics().then(
            (body) => answer(200, body, registry.contentType),
            () => answer(500, 'metrics could not be gathered\n'),
          );
          return;
        default:
          return answer(404, 'there are /healthz, /readyz and /metrics\n');
      }
    });
    this.#server.requestTimeout = 10_000;
    this.#server.headersTimeout = 5_000;
  }

  /** Answers the port that is listened on. */
  async listen(): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#port, resolve);
    });
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : this.#port;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }
}
