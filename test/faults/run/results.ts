import type { ResultSink } from '../../../src/runtime/contract.ts';
import type { Results } from '../../../src/controller/run/ports.ts';
import type { StoredLog } from '../../../src/crds/world-run-status.ts';
import type { CollectedResult, Progress, RunAttempt, RunStore } from '../../../src/results/contract.ts';
import type { RunRecord } from '../../../src/results/records.ts';
import type { Calls } from './faults.ts';

/** What survives a process. */
export class RunStoreInMemory {
  readonly results = new Map<string, Map<number, CollectedResult>>();
  readonly logs = new Map<string, Map<number, StoredLog>>();
  readonly records = new Map<string, RunRecord>();
  /** Keys of what namespaces have spent. */
  readonly accounts = new Set<string>();
  /** Purchase id → clientRunId. */
  readonly purchases = new Map<string, string>();
}

/** The keys of the accounts, as one process reaches them. */
export function accountsOf({ accounts }: RunStoreInMemory, calls: Calls): Pick<RunStore, 'put' | 'list' | 'remove'> {
  return {
    put: (key) => calls.do('charge', () => void accounts.add(key)),
    remove: (key) => calls.do('forget a charge', () => void accounts.delete(key)),
    async *list(prefix) {
      for (const key of [...accounts].toSorted())
        if (key.startsWith(prefix)) yield { key, size: 2, modifiedAt: new Date(0) };
    },
  };
}

const durable = ({ clientRunId, runUid, attempt }: RunAttempt) => `${clientRunId}/${runUid}/${attempt}`;

interface Entry {
  progress: Progress | undefined;
  results: Map<number, CollectedResult>;
  logs: Map<number, StoredLog>;
}

/** One process's hub, log reader and store. */
export class ResultsOfProcess implements Results {
  readonly #store: RunStoreInMemory;
  readonly #calls: Calls;
  readonly #entries = new Map<string, Entry>();

  constructor(store: RunStoreInMemory, calls: Calls) {
    this.#store = store;
    this.#calls = calls;
  }

  #entry({ clientRunId, attempt }: { clientRunId: string; attempt: number }): Entry {
    const name = `${clientRunId}/${attempt}`;
    const entry = this.#entries.get(name) ?? { progress: undefined, results: new Map(), logs: new Map() };
    this.#entries.set(name, entry);
    return entry;
  }

  of(key: { clientRunId: string; attempt: number }): Entry {
    return this.#entry(key);
  }

  /** As the gateway does: the first result of a rank stands. */
  accept(key: RunAttempt, result: CollectedResult): void {
    const stored = this.#store.results.get(durable(key)) ?? new Map<number, CollectedResult>();
    this.#store.results.set(durable(key), stored);
    if (!stored.has(result.rank)) stored.set(result.rank, result);
    this.#entry(key).results.set(result.rank, stored.get(result.rank)!);
  }

  storeResult(key: RunAttempt, result: CollectedResult): Promise<void> {
    return this.#calls.do('store result', () => this.accept(key, result));
  }

  /** What the bytes are is the store's own business; that copying them may fail is not. */
  sink(_key: RunAttempt, { committed }: { committed: ReadonlySet<string> }): ResultSink {
    return {
      log: () => this.#calls.do('store vendor log', () => 'log.txt'),
      artifact: ({ name, path, contentType }) =>
        this.#calls.do('store vendor artifact', () => ({
          name,
          path,
          contentType,
          rank: 0,
          commit: committed.has(name),
          sizeBytes: 1,
          state: 'Stored' as const,
        })),
    };
  }

  progress(key: RunAttempt, progress: Progress): void {
    this.#entry(key).progress = progress;
  }

  load(key: RunAttempt): Promise<void> {
    return this.#calls.do('load results', () => {
      const entry = this.#entry(key);
      for (const [rank, result] of this.#store.results.get(durable(key)) ?? []) entry.results.set(rank, result);
      for (const [rank, log] of this.#store.logs.get(durable(key)) ?? []) entry.logs.set(rank, log);
    });
  }

  trackLog(): void {}

  finishLog(key: RunAttempt, pod: { rank: number }): Promise<void> {
    return this.#calls.do('finish log', () => {
      const log: StoredLog = {
        path: `${durable(key)}/log.txt`,
        bytes: 10,
        complete: true,
        headLost: false,
        gaps: 0,
        redacted: 0,
      };
      const logs = this.#store.logs.get(durable(key)) ?? new Map<number, StoredLog>();
      this.#store.logs.set(durable(key), logs.set(pod.rank, log));
      this.#entry(key).logs.set(pod.rank, log);
    });
  }

  forget(clientRunId: string): void {
    for (const name of this.#entries.keys()) if (name.startsWith(`${clientRunId}/`)) this.#entries.delete(name);
  }

  putRecord(record: RunRecord, purchase?: string): Promise<void> {
    return this.#calls.do('put record', () => {
      this.#store.records.set(record.clientRunId, structuredClone(record));
      if (purchase !== undefined) this.#store.purchases.set(purchase, record.clientRunId);
    });
  }

  getPurchase(purchase: string): Promise<RunRecord | undefined> {
    return this.#calls.do('get purchase', () => this.#store.records.get(this.#store.purchases.get(purchase) ?? ''));
  }

  getRecord(clientRunId: string): Promise<RunRecord | undefined> {
    return this.#calls.do('get record', () => this.#store.records.get(clientRunId));
  }

  usage(): number {
    return 0;
  }
}
