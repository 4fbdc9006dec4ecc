import { backoffMs } from '../../kube/backoff.ts';
import type { RunStore } from '../../results/contract.ts';
import { giveUp, type ArtifactChannel } from './artifacts.ts';
import type { Clock, SyncObserver } from './ports.ts';
import { isOpen, loadRecord, openRuns, saveRecord, unmarkOpen, type SyncRecord } from './record.ts';
import type { TargetSession } from './target-session.ts';

/**
 * Takes back what was begun upstream for runs that are not there any more, or shall not be synced any more: deleted in
 * mid-upload, also while no operator ran.
 */
export interface CleanupOptions {
  readonly store: RunStore;
  readonly clock: Clock;
  readonly observer: SyncObserver;
  /** Undefined where the target's profile is gone or points elsewhere: a key goes to no other origin. */
  session(record: SyncRecord): TargetSession | undefined;
  /** True: the run is back (a runKey) and is being synced; nothing may be taken from it. */
  wanted(clientRunId: string): boolean;
}

/** After that it is somebody else's: upstream drops uploads that nobody finished. */
const GIVE_UP_MS = 24 * 3600 * 1000;

export class Cleanup {
  readonly #o: CleanupOptions;
  readonly #stop = new AbortController();
  /** Runs that are being cleaned up now. */
  readonly #busy = new Set<string>();
  readonly #due = new Map<string, { since: number; failures: number; cancel: (() => void) | undefined }>();

  constructor(options: CleanupOptions) {
    this.#o = options;
  }

  /** Looks for what an operator that died left behind. */
  async sweep(): Promise<void> {
    for await (const clientRunId of openRuns(this.#o.store, this.#stop.signal)) {
      if (!this.#o.wanted(clientRunId)) this.add(clientRunId);
    }
  }

  add(clientRunId: string): void {
    if (this.#due.has(clientRunId)) return;
    this.#due.set(clientRunId, { since: this.#o.clock.now(), failures: 0, cancel: undefined });
    void this.#try(clientRunId);
  }

  /** The run is back: what is not taken back yet is its own again. */
  cancel(clientRunId: string): void {
    this.#due.get(clientRunId)?.cancel?.();
    this.#due.delete(clientRunId);
  }

  isBusy(clientRunId: string): boolean {
    return this.#busy.has(clientRunId);
  }

  /** What is stored of the run is still needed to take its uploads back. */
  holds(clientRunId: string): boolean {
    return this.#due.has(clientRunId);
  }

  get size(): number {
    return this.#due.size;
  }

  stop(): void {
    this.#stop.abort();
    for (const { cancel } of this.#due.values()) cancel?.();
    this.#due.clear();
  }

  async #try(clientRunId: string): Promise<void> {
    const due = this.#due.get(clientRunId);
    if (due === undefined || this.#stop.signal.aborted || this.#busy.has(clientRunId)) return;
    this.#busy.add(clientRunId);
    try {
      await this.#cleanUp(clientRunId, due.since);
      this.#due.delete(clientRunId);
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      this.#o.observer.problem('take back uploads of a deleted run', error);
      due.failures += 1;
      due.cancel = this.#o.clock.after(
        backoffMs(due.failures, { baseMs: 5000, maxMs: 15 * 60 * 1000 }),
        () => void this.#try(clientRunId),
      );
    } finally {
      this.#busy.delete(clientRunId);
    }
  }

  async #cleanUp(clientRunId: string, since: number): Promise<void> {
    const { store, clock, observer } = this.#o;
    const { signal } = this.#stop;
    const record = await loadRecord(store, clientRunId, signal);
    const open = record?.artifacts.filter(isOpen) ?? [];
    const session = record === undefined ? undefined : this.#o.session(record);
    if (record === undefined || session === undefined || clock.now() - since >= GIVE_UP_MS) {
      if (open.length > 0) observer.orphaned(open.length);
      await unmarkOpen(store, clientRunId, signal);
      return;
    }
    if (open.length > 0) {
      const upstream = await session.open(signal);
      const channel: ArtifactChannel = {
        upstream,
        clientRunId,
        cloudRunId: record.cloudRunId,
        project: await session.greet(upstream, record.target.project, signal),
        signal,
        open: () => Promise.reject(new Error('nothing is uploaded here')),
        before: async (request, artifact) => {
          record.doing = { request, artifact: artifact.name, at: new Date(clock.now()).toISOString() };
          await saveRecord(store, record, signal);
        },
        uploaded: () => undefined,
      };
      for (const artifact of open) await giveUp(channel, artifact);
      record.doing = null;
      await saveRecord(store, record, signal);
    }
    await unmarkOpen(store, clientRunId, signal);
  }
}
