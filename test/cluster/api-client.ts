import { Agent, request } from 'undici';
import { join } from 'node:path';
import { clusterDir } from './paths.ts';
import { readPem } from './pki.ts';
import type { ClusterState } from './state.ts';

const TIMEOUT_MS = 10_000;

/** The administrator's few calls that bringing a cluster up needs. */
export class ApiClient {
  readonly #server: string;
  readonly #agent: Agent;

  private constructor(server: string, agent: Agent) {
    this.#server = server;
    this.#agent = agent;
  }

  static async open(state: ClusterState): Promise<ApiClient> {
    const directory = join(clusterDir(state.name), 'pki');
    const [ca, admin] = await Promise.all([readPem(directory, 'ca'), readPem(directory, 'admin')]);
    return new ApiClient(
      state.apiServer,
      new Agent({ connect: { ca: ca.cert, cert: admin.cert, key: admin.key, timeout: TIMEOUT_MS } }),
    );
  }

  get(path: string): Promise<{ status: number; body: unknown }> {
    return this.#call('GET', path);
  }

  patchJson(path: string, operations: readonly object[]): Promise<{ status: number; body: unknown }> {
    return this.#call('PATCH', path, { type: 'application/json-patch+json', body: operations });
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }

  async #call(
    method: 'GET' | 'PATCH',
    path: string,
    o?: { type: string; body: unknown },
  ): Promise<{ status: number; body: unknown }> {
    const response = await request(this.#server + path, {
      method,
      dispatcher: this.#agent,
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...(o && { headers: { 'content-type': o.type }, body: JSON.stringify(o.body) }),
    });
    const text = await response.body.text();
    const isJson = response.headers['content-type']?.includes('json') === true;
    return { status: response.statusCode, body: isJson ? (JSON.parse(text) as unknown) : text };
  }
}
