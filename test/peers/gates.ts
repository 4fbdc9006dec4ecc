import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Cluster } from '../cluster/index.ts';

/** What a run waits for until the test lets it go on: the same on every start, whatever its number. */
export class Gates {
  readonly #server: Server;
  readonly #address: string;
  readonly #open = new Set<string>();

  private constructor(server: Server, address: string) {
    this.#server = server;
    this.#address = address;
  }

  static async listen(cluster: Cluster): Promise<Gates> {
    const server = createServer((req, res) => res.writeHead(gates.#open.has(req.url ?? '') ? 200 : 404).end());
    const gates = new Gates(server, cluster.hostAddress);
    server.listen(0, '0.0.0.0');
    await once(server, 'listening');
    return gates;
  }

  /** A command for an image with Node: it ends once the gate is open, and at once when it is told to stop. */
  command(gate: string): string[] {
    const { port } = this.#server.address() as AddressInfo;
    const script = `
      console.log('start', process.env.HOSTNAME, 'of', process.env.WORLDFLUX_ATTEMPT);
      process.on('SIGTERM', () => process.exit(143));
      const isOpen = () => fetch('http://${this.#address}:${port}/${gate}').then((r) => r.ok, () => false);
      while (!(await isOpen())) await new Promise((resolve) => setTimeout(resolve, 200));
      console.log('end');
      process.exit();`;
    return ['node', '--input-type=module', '-e', script];
  }

  open(gate: string): void {
    this.#open.add(`/${gate}`);
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
