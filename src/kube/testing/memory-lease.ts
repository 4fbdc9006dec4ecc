import type { V1Lease } from '@kubernetes/client-node';
import type { CallOptions, KubeClient } from '../client.ts';
import { errorFromAnswer, kubeError } from '../errors.ts';
import type { ObjectRef, ResourceType, Wire } from '../resource.ts';

type Lease = Wire<V1Lease>;
type LeaseClient = Pick<KubeClient, 'get' | 'create' | 'replace'>;

/** One Lease in memory with the API server's optimistic concurrency, and a place to inject faults. */
export class MemoryLease {
  lease: Lease | undefined;
  /** Called before each call, and again after its effect: what it throws is the answer, and what never settles hangs. */
  fault: (call: 'get' | 'create' | 'replace', when: 'before' | 'after') => void | Promise<void> = () => {};
  #version = 0;

  readonly client = {
    get: async (_: ResourceType<Lease>, __: ObjectRef, options: CallOptions) => {
      await this.#meet('get', 'before', options);
      if (this.lease === undefined) throw errorFromAnswer('GET lease', 404, '');
      return structuredClone(this.lease);
    },
    create: async (_: ResourceType<Lease>, lease: Lease, options: CallOptions) => {
      await this.#meet('create', 'before', options);
      const exists = JSON.stringify({ kind: 'Status', reason: 'AlreadyExists' });
      if (this.lease !== undefined) throw errorFromAnswer('POST lease', 409, exists);
      return this.#store(lease, 'create', options);
    },
    replace: async (_: ResourceType<Lease>, lease: Lease, options: CallOptions) => {
      await this.#meet('replace', 'before', options);
      const isCurrent = this.lease?.metadata?.resourceVersion === lease.metadata?.resourceVersion;
      if (!isCurrent) throw errorFromAnswer('PUT lease', 409, '');
      return this.#store(lease, 'replace', options);
    },
  } as unknown as LeaseClient;

  async #store(lease: Lease, call: 'create' | 'replace', options: CallOptions): Promise<Lease> {
    const metadata = { ...lease.metadata, resourceVersion: String(++this.#version) };
    this.lease = structuredClone({ ...lease, metadata });
    const answer = structuredClone(this.lease);
    await this.#meet(call, 'after', options);
    return answer;
  }

  /** Ends with the caller's signal, as the real client does. */
  async #meet(call: 'get' | 'create' | 'replace', when: 'before' | 'after', { signal }: CallOptions): Promise<void> {
    const { promise, reject } = Promise.withResolvers<never>();
    const abort = () => reject(kubeError({ kind: 'aborted' }, 'aborted', { request: `${call} lease` }));
    signal?.addEventListener('abort', abort, { once: true });
    const fault = async () => this.fault(call, when);
    await Promise.race([fault(), promise]).finally(() => signal?.removeEventListener('abort', abort));
  }
}
