import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingHttpHeaders, RequestListener, ServerResponse } from 'node:http';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { ClusterConfig } from '../config.ts';

/** A request as it arrived. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export type Script = (request: SeenRequest, response: ServerResponse, number: number) => void | Promise<void>;

/** A real HTTP server on loopback that answers as a test says, and remembers what it was asked. */
export interface ScriptedServer extends AsyncDisposable {
  readonly config: ClusterConfig;
  readonly requests: SeenRequest[];
  /** Connections accepted since the start. */
  readonly connectionCount: () => number;
  /** Resolves with the `number`th request (from 1), which may have come already. */
  readonly nth: (number: number) => Promise<SeenRequest>;
  /** Cuts every connection. */
  readonly cut: () => void;
}

export async function startScriptedServer(script: Script): Promise<ScriptedServer> {
  return serve((listener) => createServer(listener), 'http', script);
}

/** The same over a server of the caller's making, such as one with TLS. */
export async function serve(
  create: (listener: RequestListener) => Server,
  scheme: 'http' | 'https',
  script: Script,
): Promise<ScriptedServer> {
  const requests: SeenRequest[] = [];
  const sockets = new Set<Socket>();
  const arrivals = new Map<number, PromiseWithResolvers<SeenRequest>>();
  let connections = 0;

  const arrival = (number: number) => {
    const known = arrivals.get(number) ?? Promise.withResolvers<SeenRequest>();
    arrivals.set(number, known);
    return known;
  };
  const server = create((incoming, response) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const url = new URL(incoming.url ?? '/', 'http://loopback');
      const request: SeenRequest = {
        method: incoming.method ?? '',
        path: url.pathname,
        query: Object.fromEntries(url.searchParams),
        headers: incoming.headers,
        body: Buffer.concat(chunks).toString('utf8'),
      };
      const number = requests.push(request);
      arrival(number).resolve(request);
      void script(request, response, number);
    });
  });
  server.on(scheme === 'https' ? 'secureConnection' : 'connection', (socket: Socket) => {
    connections++;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;

  const cut = () => {
    // Node cannot reset a TLS connection.
    for (const socket of sockets) {
      if (scheme === 'https') socket.destroy();
      else socket.resetAndDestroy();
    }
  };
  return {
    config: {
      cluster: { name: 'scripted', server: `${scheme}://127.0.0.1:${port}`, skipTLSVerify: true },
      user: { name: 'scripted', token: 'a-token' },
      origin: 'a test',
    },
    requests,
    connectionCount: () => connections,
    nth: (number) => arrival(number).promise,
    cut,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

export function answerJson(
  response: ServerResponse,
  status: number,
  body: object,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

/** An error as the API server words it. */
export function answerStatus(
  response: ServerResponse,
  code: number,
  reason: string,
  more: { message?: string; details?: object; headers?: Record<string, string> } = {},
): void {
  const { message = reason, details, headers } = more;
  answerJson(
    response,
    code,
    { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message, details },
    headers,
  );
}

/** Begins a watch and writes these events; the response stays open. */
export function answerWatch(response: ServerResponse, ...events: object[]): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.flushHeaders();
  for (const event of events) response.write(`${JSON.stringify(event)}\n`);
}

/** Everything an async iterable yields. */
export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = [];
  for await (const item of items) collected.push(item);
  return collected;
}
