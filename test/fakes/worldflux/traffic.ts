import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { RouteName } from './faults.ts';

/** What arrived: request by request, and (if asked for) byte by byte. */

export interface SeenRequest {
  at: number;
  route: RouteName | 'unknown';
  method: string;
  /** With its query. */
  url: string;
  headers: Record<string, string | string[] | undefined>;
  /** JSON bodies as they came; undefined for uploads. */
  body?: Buffer;
  /** Uploads: what was received. */
  upload?: { size: number; sha256: string };
  status?: number;
}

export class Traffic {
  readonly requests: SeenRequest[] = [];
  /** What no well-behaved client does: a key on the upload host, a route that sync has no business with. */
  readonly violations: string[] = [];
  /** Connections' requests that came in, also those that an outage swallowed. */
  accepted = 0;
  #open = 0;
  #peak = 0;

  of(route: RouteName): SeenRequest[] {
    return this.requests.filter((request) => request.route === route);
  }

  begin(): void {
    this.accepted += 1;
    this.#open += 1;
    this.#peak = Math.max(this.#peak, this.#open);
  }

  end(): void {
    this.#open -= 1;
  }

  /** The most requests that were open at one time. */
  get peak(): number {
    return this.#peak;
  }
}

/** A door in front of a server that keeps every byte that came in, headers included. */
export class RecordingDoor {
  readonly received: Buffer[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(targetPort: number) {
    this.#server = createServer((client) => {
      const inner = connect(targetPort, '127.0.0.1');
      for (const socket of [client, inner]) {
        this.#sockets.add(socket);
        socket.on('error', () => socket.destroy());
        socket.on('close', () => {
          this.#sockets.delete(socket);
          client.destroy();
          inner.destroy();
        });
      }
      client.on('data', (chunk: Buffer) => this.received.push(chunk));
      client.pipe(inner);
      inner.pipe(client);
    });
  }

  async listen(): Promise<number> {
    await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done));
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}
