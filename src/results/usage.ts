import type { RunStore } from './contract.ts';
import type { RunRecord } from './records.ts';

/**
 * How many bytes each namespace has in the store. Kept as empty objects whose keys hold the numbers, so that a start
 * costs one listing and no reads, however much is stored.
 */

type UsageStore = Pick<RunStore, 'get' | 'put' | 'list' | 'remove'>;

const PREFIX = 'usage/';
const prefixOf = (namespace: string, clientRunId: string): string => `${PREFIX}${namespace}/${clientRunId}/`;

export class Usage {
  readonly #store: UsageStore;
  readonly #bytes = new Map<string, number>();
  #total = 0;
  /** While a listing is under way: keys that came (true) or went, which it may have or not. */
  #changes: Map<string, boolean> | undefined;

  constructor(store: UsageStore) {
    this.#store = store;
  }

  /** Reads everything anew: another replica may have counted meanwhile. What is known stands until then. Throws StoreError. */
  async load(signal?: AbortSignal): Promise<void> {
    const changes = (this.#changes = new Map<string, boolean>());
    const keys = new Set<string>();
    try {
      for await (const { key } of this.#store.list(PREFIX, signal)) keys.add(key);
    } finally {
      this.#changes = undefined;
    }
    for (const [key, isThere] of changes) {
      if (isThere) keys.add(key);
      else keys.delete(key);
    }
    this.#bytes.clear();
    this.#total = 0;
    for (const key of keys) this.#count(key, 1);
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
    this.#changes?.set(key, true);
    this.#count(key, 1);
  }

  /** Everything of a run is gone. Throws StoreError. */
  async removed(namespace: string, clientRunId: string, signal?: AbortSignal): Promise<void> {
    const prefix = prefixOf(namespace, clientRunId);
    for await (const { key } of this.#store.list(prefix, signal)) {
      this.#changes?.set(key, false);
      this.#count(key, -1);
    }
    await this.#store.remove(prefix, signal);
  }

  #count(key: string, sign: 1 | -1): void {
    const [, namespace, bytes] = /^usage\/([^/]+)\/[^/]+\/[^/]+\.(\d+)$/.exec(key) ?? [];
    if (namespace === undefined) return;
    const before = this.of(namespace);
    const now = Math.max(0, before + sign * Number(bytes));
    this.#bytes.set(namespace, now);
    this.#total += now - before;
  }
}
