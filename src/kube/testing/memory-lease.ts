import type { V1Lease } from '@kubernetes/client-node';
import type { KubeClient } from '../client.ts';
import { errorFromAnswer } from '../errors.ts';
import type { ResourceType, Wire } from '../resource.ts';

type Lease = Wire<V1Lease>;

/** One Lease in memory with the API server's optimistic concurrency, and a place to inject faults. */
export class MemoryLease {
  lease: Lease | undefined;
  /** Called before each call, and again after its effect; what it throws is what the caller gets. */
  fault: (call: 'get' | 'create' | 'replace', when: 'before' | 'after') => void | Promise<void> = () => {};
  #version = 0;

  readonly client = {
    get: async () => {
      await this.fault('get', 'before');
      if (this.lease === undefined) throw errorFromAnswer('GET lease', 404, '');
      return structuredClone(this.lease);
    },
    create: async (_: ResourceType<Lease>, lease: Lease) => {
      await this.fault('create', 'before');
      if (this.lease !== undefined)
        throw errorFromAnswer('POST lease', 409, JSON.stringify({ kind: 'Status', reason: 'AlreadyExists' }));
      return this.#store(lease, 'create');
    },
    replace: async (_: ResourceType<Lease>, lease: Lease) => {
      await this.fault('replace', 'before');
      if (this.lease?.metadata?.resourceVersion !== lease.metadata?.resourceVersion)
        throw errorFromAnswer('PUT lease', 409, '');
      return this.#store(lease, 'replace');
    },
  } as unknown as Pick<KubeClient, 'get' | 'create' | 'replace'>;

  async #store(lease: Lease, call: 'create' | 'replace'): Promise<Lease> {
    this.lease = structuredClone({
      ...lease,
      metadata: { ...lease.metadata, resourceVersion: String(++this.#version) },
    });
    const answer = structuredClone(this.lease);
    await this.fault(call, 'after');
    return answer;
  }
}
