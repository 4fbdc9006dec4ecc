import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { KubeClient } from '../../../src/kube/client.ts';
import { resourceType, type KubeObject } from '../../../src/kube/resource.ts';
import { run } from '../../cluster/process.ts';
import { copyOfProject } from './git-repository.ts';

const GIT_REPOSITORIES = resourceType<KubeObject>({
  group: 'source.toolkit.fluxcd.io',
  version: 'v1',
  plural: 'gitrepositories',
  namespaced: true,
  kind: 'GitRepository',
});

/**
 * Plays Flux's source-controller, which fetches a repository and offers it as an archive: it knows nothing of what is in there, and would
 * double the time it takes to build Flux.
 */
export class FluxSource {
  /** Where files are changed before they are published. */
  readonly tree: string;
  readonly #server: Server;
  #archive = Buffer.alloc(0);
  #published = 0;

  private constructor(tree: string) {
    this.tree = tree;
    this.#server = createServer((_, response) => response.end(this.#archive));
  }

  static async serve(tree: string): Promise<FluxSource> {
    await copyOfProject(tree);
    const source = new FluxSource(tree);
    source.#server.listen(0, '127.0.0.1');
    await once(source.#server, 'listening');
    return source;
  }

  /** Offers the tree as it stands as the state of the repository, and returns its revision. */
  async publish(client: KubeClient, repository: { namespace: string; name: string }): Promise<string> {
    const file = `${this.tree}.tar.gz`;
    await run(['tar', '-C', this.tree, '-czf', file, '.']);
    this.#archive = await readFile(file);
    this.#published += 1;
    const { port } = this.#server.address() as AddressInfo;
    const digest = createHash('sha256').update(this.#archive).digest('hex');
    const revision = `main@sha1:${String(this.#published).padStart(40, '0')}`;
    const now = new Date().toISOString().replace(/\.\d+Z/, 'Z');
    const artifact = {
      path: `${this.#published}.tar.gz`,
      url: `http://127.0.0.1:${port}/${this.#published}.tar.gz`,
      revision,
      digest: `sha256:${digest}`,
      size: this.#archive.length,
      lastUpdateTime: now,
    };
    const ready = { type: 'Ready', status: 'True', reason: 'Succeeded', message: revision, lastTransitionTime: now };
    const status = { observedGeneration: 1, artifact, conditions: [{ ...ready, observedGeneration: 1 }] };
    await client.patch(GIT_REPOSITORIES, repository, { merge: { status } }, { subresource: 'status' });
    return revision;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
