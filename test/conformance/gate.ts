import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Agent } from 'undici';
import { type Calls, type Fault, HTTP_FAULTS } from './calls.ts';

export interface GateOptions {
  readonly calls: Calls;
  /** Origin of what lies behind it. */
  readonly target: string;
  /** The key is exchanged: the old one is refused, the Secret holds the new one at once, or only a minute later. */
  readonly rotate: (when: 'at once' | 'later') => void;
  /** Faults that make sense here. */
  readonly faults?: readonly Fault[];
}

/** Stands between a runtime and its vendor as the network does: real connections, on which things go wrong. */
export class Gate {
  readonly #o: GateOptions;
  readonly #server: Server;
  readonly #behind = new Agent();

  private constructor(options: GateOptions) {
    this.#o = options;
    this.#server = createServer((request, response) => {
      this.#pass(request, response).catch(() => response.destroy());
    });
  }

  static async open(options: GateOptions): Promise<Gate> {
    const gate = new Gate(options);
    await new Promise<void>((done) => gate.#server.listen(0, '127.0.0.1', done));
    return gate;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((done) => this.#server.close(() => done()));
    await this.#behind.destroy();
  }

  async #pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { calls, rotate } = this.#o;
    const body = Buffer.concat(await request.toArray());
    const path = request.url!.replace(/\?.*/, '').replaceAll(/\/[a-z0-9]{20,}/g, '/…');
    // Requests of a process that has just died fail here.
    const fault = calls.begin(`${request.method} ${path}`, this.#o.faults ?? HTTP_FAULTS);
    const refuse = (status: number, headers = {}) => void response.writeHead(status, headers).end('{}');
    switch (fault) {
      case 'the process dies before it':
        calls.die();
        return void response.destroy();
      case 'the connection is lost before it':
        return void response.destroy();
      case 'throttled, with Retry-After':
        return refuse(429, { 'retry-after': '7' });
      case 'throttled, without Retry-After':
        return refuse(429);
      case '503, nothing done':
        return refuse(503);
      case 'the key is rotated before it':
        rotate('at once');
        break;
      case 'the key is revoked before it':
        rotate('later');
        break;
      default:
    }
    const answer = await this.#behind.request({
      origin: this.#o.target,
      path: request.url!,
      method: request.method as 'GET',
      headers: withoutHop(request.headers),
      body: body.length > 0 ? body : null,
    });
    const answered = Buffer.from(await answer.body.arrayBuffer());
    if (fault === 'the process dies after its effect') calls.die();
    if (calls.dead || fault === 'it takes effect and the connection is lost') return void response.destroy();
    if (fault === '500 after its effect') return refuse(500);
    response.writeHead(answer.statusCode, withoutHop(answer.headers)).end(answered);
  }
}

/** What concerns one connection alone. */
function withoutHop(headers: IncomingMessage['headers']): IncomingMessage['headers'] {
  const { connection: _c, 'keep-alive': _k, 'transfer-encoding': _t, host: _h, ...rest } = headers;
  return rest;
}
