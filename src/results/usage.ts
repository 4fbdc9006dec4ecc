import type { RunStore } from './contract.ts';
import type { RunRecord } from './records.ts';

/**
 * How many bytes each namespace has in the store. Kept as empty objects whose keys hold the numbers, so that a start
 * costs one listing and no reads, however much is stored.
 */

const PREFIX = 'usage/';
const prefixOf = (namespace: string, clientRunId: string): string => `${PREFIX}${namespace}/${clientRunId}/`;

export class Usage {
  readonly #store: RunStore;
  readonly #bytes = new Map<string, number>();
  #total = 0;

  constructor(store: RunStore) {
    this.#store = store;
  }

  /** Call before the first `add` of a term: another replica has counted meanwhile. Throws StoreError. */
  async load(signal?: AbortSignal): Promise<void> {
    this.#bytes.clear();
    this.#total = 0;
    for await (const { key } of this.#store.list(PREFIX, signal)) {
      const [, namespace, bytes] = /^usage\/([^/]+)\/[^/]+\/[^/]+\.(\d+)$/.exec(key) ?? [];
      if (namespace !== undefined) this.#change(namespace, Number(bytes));
    }
  }

  /** Bytes of all namespaces. */
  get total(): number {
    return this.#total;
  }

  of(namespace: string): number {
    return this.#bytes.get(namespace) ?? 0;
  }

  /** Counts a finished run; again changes nothing. Throws StoreError. */
  async add({ namespace, clientRunId, uid, bytes = 0 }: RunRecord, signal?: AbortSignal): Promise<void> {
    const key = `${prefixOf(namespace, clientRunId)}${uid}.${bytes}`;
    if (bytes === 0 || (await this.#store.get(key, signal)) !== undefined) return;
    await this.#store.put(key, Buffer.from('{}'), 'application/json', signal);
    this.#change(namespace, bytes);
  }

  /** Everything of a run is gone. Throws StoreError. */
  async removed(namespace: string, clientRunId: string, signal?: AbortSignal): Promise<void> {
    const prefix = prefixOf(namespace, clientRunId);
    for await (const { key } of this.#store.list(prefix, signal))
      this.#change(namespace, -Number(key.slice(key.lastIndexOf('.') + 1)));
    await this.#store.remove(prefix, signal);
  }

  #change(namespace: string, by: number): void {
    const before = this.of(namespace);
    const now = Math.max(0, before + by);
    this.#bytes.set(namespace, now);
    this.#total += now - before;
  }
}
