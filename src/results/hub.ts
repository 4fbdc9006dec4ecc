import type { FingerprintSet } from '../telemetry/fingerprints.ts';
import type { StoredLog } from '../crds/world-run-status.ts';
import type { AttemptKey, AttemptResults, CollectedResult, Progress, RunAttempt, RunStore } from './contract.ts';
import { JSON_TYPE, jsonBytes, readJson } from './documents.ts';
import { logRecordKey, resultKey } from './keys.ts';
import { isStoreError } from './store/errors.ts';
import { redact } from '../telemetry/secrets-in-use.ts';

interface Entry {
  runUid: string | undefined;
  progress: Progress | undefined;
  results: Map<number, CollectedResult>;
  logs: Map<number, StoredLog>;
  /** By rank. Never stored, never logged. */
  fingerprints: Map<number, FingerprintSet>;
}

/** Characters of a metric's name, as the manifest has them. */
const LONGEST_NAME = 128;

const NOTHING: AttemptResults = { progress: undefined, results: new Map(), logs: new Map() };

/**
 * What has arrived for every live attempt: the gateway and the log capture write, the controller reads and is told.
 * Memory only, but for results, which are in the store before they are seen here; `load` brings them back.
 */
export class ResultsHub {
  readonly #store: RunStore;
  readonly #entries = new Map<string, Entry>();
  readonly #listeners = new Set<(key: AttemptKey) => void>();

  constructor(store: RunStore) {
    this.#store = store;
  }

  get(key: AttemptKey): AttemptResults {
    return this.#entries.get(nameOf(key)) ?? NOTHING;
  }

  /** Called after every change. Answers a function that ends it. */
  onChange(listener: (key: AttemptKey) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Reads results and log records of an attempt back from the store. Throws StoreError. */
  async load(key: RunAttempt, nodes: number, signal?: AbortSignal): Promise<AttemptResults> {
    const entry = this.#entry(key);
    await Promise.all(
      Array.from({ length: nodes }, async (_, rank) => {
        const [result, log] = await Promise.all([
          readJson(this.#store, resultKey(key, rank), signal),
          readJson(this.#store, logRecordKey(key, rank), signal),
        ]);
        // Both documents were written by this operator alone, from validated values.
        if (result !== undefined && !entry.results.has(rank)) entry.results.set(rank, result as CollectedResult);
        if (log !== undefined && !entry.logs.has(rank)) entry.logs.set(rank, log as StoredLog);
      }),
    );
    this.#changed(key);
    return entry;
  }

  /**
   * Stores a rank's result and only then shows it. The first result of a rank stands: a collector that posts again
   * after a lost answer, or a termination message read later, changes nothing. Throws StoreError.
   */
  async accept(key: RunAttempt, result: CollectedResult, signal?: AbortSignal): Promise<CollectedResult> {
    const entry = this.#entry(key);
    const first = entry.results.get(result.rank);
    if (first !== undefined) return first;
    // Names of metrics are words of somebody else's code, whichever way they came.
    const metrics = Object.fromEntries(
      Object.entries(result.metrics).map(([name, value]) => [redact(name).slice(0, LONGEST_NAME), value]),
    );
    const stored = await this.#putOnce(resultKey(key, result.rank), { ...result, metrics }, signal);
    entry.results.set(result.rank, stored);
    this.#changed(key);
    return stored;
  }

  /** Rank 0's progress stands for the run. */
  setProgress(key: RunAttempt, progress: Progress): void {
    this.#entry(key).progress = progress;
    this.#changed(key);
  }

  /** Stores the record of a finished log and only then shows it. Throws StoreError. */
  async setLog(key: RunAttempt, rank: number, log: StoredLog, signal?: AbortSignal): Promise<void> {
    await this.#store.replace(logRecordKey(key, rank), jsonBytes(log), JSON_TYPE, signal);
    this.#entry(key).logs.set(rank, log);
    this.#changed(key);
  }

  setFingerprints(key: RunAttempt, rank: number, set: FingerprintSet): void {
    this.#entry(key).fingerprints.set(rank, set);
  }

  fingerprints(key: AttemptKey, rank: number): FingerprintSet | undefined {
    return this.#entries.get(nameOf(key))?.fingerprints.get(rank);
  }

  /** Drops every attempt of a run from memory; the store is untouched. */
  forget(clientRunId: string): void {
    for (const name of this.#entries.keys()) if (name.startsWith(`${clientRunId}/`)) this.#entries.delete(name);
  }

  /** What is stored then: this, or what was there before. */
  async #putOnce(at: string, result: CollectedResult, signal?: AbortSignal): Promise<CollectedResult> {
    try {
      await this.#store.put(at, jsonBytes(result), JSON_TYPE, signal);
      return result;
    } catch (error) {
      if (!isStoreError(error, 'conflict')) throw error;
      return (await readJson(this.#store, at, signal)) as CollectedResult;
    }
  }

  #entry(key: RunAttempt): Entry {
    const name = nameOf(key);
    const known = this.#entries.get(name);
    if (known !== undefined && known.runUid === key.runUid) return known;
    const entry: Entry = {
      runUid: key.runUid,
      progress: undefined,
      results: new Map(),
      logs: new Map(),
      fingerprints: new Map(),
    };
    this.#entries.set(name, entry);
    return entry;
  }

  #changed(key: AttemptKey): void {
    const { clientRunId, attempt } = key;
    for (const listener of this.#listeners) listener({ clientRunId, attempt });
  }
}

const nameOf = ({ clientRunId, attempt }: AttemptKey): string => `${clientRunId}/${attempt}`;
