import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export interface Endpoint {
  port: number;
  /** `http://…`, without the path. */
  healthUrl: string;
}

/** Milliseconds between two looks at who is ready, and for one of them. */
const PERIOD = 500;

/**
 * In front of operators that are processes of this host, what a Service is in a cluster: one address, new connections to
 * those that say they are ready, in turn.
 */
export class Service {
  readonly #server: Server;
  readonly #timer: NodeJS.Timeout;
  readonly #sockets = new Set<Socket>();
  #endpoints: readonly Endpoint[] = [];
  #ready: readonly Endpoint[] = [];
  #turn = 0;

  private constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket) => this.#serve(socket));
    this.#timer = setInterval(() => void this.#look(), PERIOD);
  }

  static async open(): Promise<Service> {
    const server = createServer();
    server.listen(0, '0.0.0.0');
    await once(server, 'listening');
    return new Service(server);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** From here on these are behind it, and no others; live connections stay. */
  async select(...endpoints: readonly Endpoint[]): Promise<void> {
    this.#endpoints = endpoints;
    await this.#look();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  async #look(): Promise<void> {
    const endpoints = this.#endpoints;
    const answers = await Promise.all(
      endpoints.map(({ healthUrl }) =>
        fetch(`${healthUrl}/readyz`, { signal: AbortSignal.timeout(PERIOD) }).then(
          ({ ok }) => ok,
          () => false,
        ),
      ),
    );
    if (endpoints === this.#endpoints) this.#ready = endpoints.filter((_, i) => answers[i]);
  }

  #serve(socket: Socket): void {
    const endpoint = this.#ready[this.#turn++ % Math.max(1, this.#ready.length)];
    if (endpoint === undefined) return void socket.destroy();
    const behind = connect(endpoint.port, '127.0.0.1');
    for (const [one, other] of [
      [socket, behind],
      [behind, socket],
    ] as const) {
      this.#sockets.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        this.#sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  }
}
