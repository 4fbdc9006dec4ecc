import { createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';

/** Called for every byte that arrives, with all that came on this connection so far. */
export type OnBytes = (received: string, socket: Socket, connection: number) => void;

/** A TCP server that keeps what it was sent, byte by byte, and answers only what a test tells it to. */
export class RawServer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** What arrived, connection by connection. */
  readonly received: string[] = [];

  constructor(onBytes: OnBytes, onConnection: (socket: Socket, connection: number) => void) {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      const connection = this.received.push('') - 1;
      // The other side ends as a test wants it: that is no failure of this server.
      socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket));
      onConnection(socket, connection);
      socket.on('data', (chunk) => {
        this.received[connection] += chunk.toString('latin1');
        onBytes(this.received[connection]!, socket, connection);
      });
    });
  }

  static async listen(
    onBytes: OnBytes,
    onConnection: (socket: Socket, connection: number) => void = () => undefined,
  ): Promise<RawServer> {
    const server = new RawServer(onBytes, onConnection);
    await new Promise<void>((done) => server.#server.listen(0, '127.0.0.1', done));
    return server;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Connections that stand. */
  get open(): number {
    return this.#sockets.size;
  }

  /** Requests of that method, over all connections. */
  count(method: string): number {
    return this.received.join('\n').split(`${method} /`).length - 1;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((done) => this.#server.close(() => done()));
  }
}

export function isWhole(request: string): boolean {
  const end = request.indexOf('\r\n\r\n');
  if (end === -1) return false;
  const length = /content-length: (\d+)/i.exec(request)?.[1] ?? '0';
  return request.length >= end + 4 + Number(length);
}

export const answer = (status: number, body = '', headers: readonly string[] = []): string =>
  [`HTTP/1.1 ${status} X`, `content-length: ${Buffer.byteLength(body)}`, ...headers, '', body].join('\r\n');
