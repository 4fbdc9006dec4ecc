import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import type { ClusterConfig } from '../../../src/kube/config.ts';

/** A TCP proxy in front of the API server whose connections can be cut at any moment. */
export interface CuttingProxy extends AsyncDisposable {
  /** The same cluster, through the proxy. */
  readonly config: ClusterConfig;
  /** Resets every connection, and refuses new ones until `mend`. */
  cut(): void;
  mend(): void;
}

export async function startCuttingProxy(config: ClusterConfig): Promise<CuttingProxy> {
  const target = new URL(config.cluster.server);
  const sockets = new Set<Socket>();
  let isCut = false;
  const server = createServer((near) => {
    if (isCut) return void near.resetAndDestroy();
    const far = connect(Number(target.port), target.hostname);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    config: {
      ...config,
      cluster: { ...config.cluster, server: `https://127.0.0.1:${port}`, tlsServerName: 'localhost' },
    },
    cut: () => {
      isCut = true;
      for (const socket of sockets) socket.resetAndDestroy();
    },
    mend: () => {
      isCut = false;
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
