import { appendRunEvents, finishRunEvents } from '../results/event-log.ts';
import type { RunStore } from '../results/contract.ts';
import type { RunKey } from '../results/keys.ts';
import type { ProviderEvent } from '../telemetry/provider-event.ts';
import type { ProviderEventSink } from '../telemetry/provider-events.ts';
import type { Caches } from './caches.ts';
import { clientRunId, runId } from './identity.ts';
import type { RunView } from './run/view.ts';

export interface RunEventsOptions {
  readonly store: RunStore;
  readonly caches: Pick<Caches, 'runs'>;
  readonly installation: string;
  /** Lines were lost: telemetry never holds a run up. */
  onLost(error: unknown): void;
  now(): number;
}

/** Lines of one run that are not stored yet. */
interface Pending {
  lines: string[];
  /** Milliseconds since the epoch. */
  since: number;
}

const LOOK_MS = 5_000;
/** Lines wait for others to be stored with: polling for hours is a write every few minutes. */
const PATIENCE_MS = 5 * 60_000;
const ENOUGH_LINES = 64;
/** A run whose store does not answer; what comes on top is lost. */
const MOST_LINES = 1000;
const MOST_RUNS = 5000;
/** The last calls for a run, such as removing what a vendor keeps of it, come after its end. */
const AFTERWORD_MS = 10_000;
const CALL_MS = 30_000;

/** `provider-events.jsonl` of each run: its calls to vendors, as lines in the run store, beside its results. */
export class RunEvents implements ProviderEventSink {
  readonly name = 'runs';
  readonly #o: RunEventsOptions;
  /** By run id. */
  readonly #pending = new Map<string, Pending>();
  /** Runs whose objects went before their lines were stored; their results stay. */
  readonly #deleted = new Map<string, RunView>();
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: RunEventsOptions) {
    this.#o = options;
    options.caches.runs.subscribe(({ type, old }) => {
      if (type !== 'deleted' || this.#pending.size === 0) return;
      const id = runId(old.createdAt, old.uid);
      if (this.#pending.has(id)) this.#deleted.set(id, old);
    });
  }

  start(): void {
    this.#timer = setInterval(() => void this.flush(false), LOOK_MS).unref();
  }

  accept(event: ProviderEvent): void {
    const { run_id: id } = event;
    if (id === undefined) return;
    const known = this.#pending.get(id);
    if ((known?.lines.length ?? 0) >= MOST_LINES || (known === undefined && this.#pending.size >= MOST_RUNS))
      throw new Error('the run store does not keep up with the events');
    const line = JSON.stringify({ event_type: 'provider_event', at: new Date(this.#o.now()).toISOString(), ...event });
    if (known === undefined) this.#pending.set(id, { lines: [line], since: this.#o.now() });
    else known.lines.push(line);
  }

  /** Stores what is due; with `everything`, all there is. Never throws. */
  async flush(everything: boolean): Promise<void> {
    // One at a time: two writers of one run's end would each leave out what the other holds.
    this.#writing = this.#writing.then(() => this.#write(everything));
    await this.#writing;
  }

  /** Stores all there is. Never throws. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush(true);
  }

  async #write(everything: boolean): Promise<void> {
    const now = this.#o.now();
    // Those that come while this writes were not looked up, and are the next pass's.
    const ids = new Set(this.#pending.keys());
    const runs = this.#find(ids);
    for (const id of ids) {
      const pending = this.#pending.get(id)!;
      const live = runs.get(id);
      const run = live ?? this.#deleted.get(id);
      const isOver = live === undefined || (live.state === 'settled' && now - live.finishedAt >= AFTERWORD_MS);
      const isDue = pending.lines.length >= ENOUGH_LINES || now - pending.since >= PATIENCE_MS;
      if (!everything && !isOver && !isDue) continue;
      this.#pending.delete(id);
      this.#deleted.delete(id);
      if (run === undefined) {
        this.#o.onLost(new Error('no run has that id'));
        continue;
      }
      const key = this.#keyOf(run);
      const store = isOver ? finishRunEvents : appendRunEvents;
      await store(this.#o.store, key, pending.lines, AbortSignal.timeout(CALL_MS)).catch((error: unknown) =>
        this.#o.onLost(error),
      );
    }
  }

  /** One walk for however many ids: the creation time in an id leaves few candidates to digest. */
  #find(ids: ReadonlySet<string>): Map<string, RunView> {
    const found = new Map<string, RunView>();
    if (ids.size === 0) return found;
    const stamps = new Set([...ids].map((id) => id.slice(0, STAMP)));
    for (const run of this.#o.caches.runs.list()) {
      if (!stamps.has(stampOf(run.createdAt))) continue;
      const id = runId(run.createdAt, run.uid);
      if (ids.has(id)) found.set(id, run);
    }
    return found;
  }

  #keyOf(run: RunView): RunKey {
    const runKey = run.state === 'live' ? run.spec.runKey : run.runKey;
    const id = clientRunId(this.#o.installation, { namespace: run.namespace, uid: run.uid, runKey });
    return { clientRunId: id, runUid: run.uid };
  }
}

const STAMP = '20261120T101500Z'.length;
const stampOf = (createdAt: string): string => createdAt.replaceAll(/[-:]|\.\d+/g, '');
