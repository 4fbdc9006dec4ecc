import type { SyncTarget } from './plan.ts';
import type { SyncRun } from './ports.ts';
import type { SyncRecord } from './record.ts';
import type { TargetSession } from './target-session.ts';

/** A run that waits to be synced, or is being synced. */
export interface Entry {
  run: SyncRun;
  readonly lane: Lane;
  readonly project: string;
  readonly queuedAt: number;
  /** Not before, whatever its target allows. */
  dueAt: number;
  attempts: number;
  /** In a row, of its own. */
  failures: number;
  /** A person asked for it: what is there already is posted again. */
  again: boolean;
  /** The pass that is under way. */
  pass: AbortController | undefined;
  /** When that pass has ended, however it did. */
  ended: Promise<void> | undefined;
  record: SyncRecord | undefined;
}

/** Everything that goes to one target with one key. */
export interface Lane {
  readonly session: TargetSession;
  /** Oldest first. */
  readonly entries: Entry[];
  running: number;
  /** Nothing is asked of the target before. */
  blockedUntil: number;
  /** In a row, of the target. */
  failures: number;
  /** Why it is blocked, for the runs that wait. */
  trouble: string | undefined;
}

export interface Concurrency {
  /** Runs at one time, over all targets. */
  readonly total: number;
  /** At one target that keeps no ledger; with a ledger it is one. */
  readonly perTarget: number;
}

const older = (a: Entry, b: Entry): number =>
  a.run.finishedAt - b.run.finishedAt || (a.run.clientRunId < b.run.clientRunId ? -1 : 1);

/**
 * Who goes next. Each target has a lane, lanes take turns, and in a lane the run that finished first goes first. A target
 * that fails blocks its lane and keeps the order; a run that fails on its own account steps aside.
 */
export class Schedule {
  readonly #lanes = new Map<string, Lane>();
  readonly #concurrency: Concurrency;
  readonly #allowed: (lane: Lane) => number;
  #running = 0;

  /** `allowed`: runs that a healthy target takes at one time. */
  constructor(concurrency: Concurrency, allowed: (lane: Lane) => number) {
    this.#concurrency = concurrency;
    this.#allowed = allowed;
  }

  lane(target: SyncTarget): Lane | undefined {
    return this.#lanes.get(target.lane);
  }

  lanes(): IterableIterator<Lane> {
    return this.#lanes.values();
  }

  /** In place of one under the same name, whose entries the caller moves. */
  open(session: TargetSession): Lane {
    const lane: Lane = { session, entries: [], running: 0, blockedUntil: 0, failures: 0, trouble: undefined };
    this.#lanes.set(session.target.lane, lane);
    return lane;
  }

  add(entry: Entry): void {
    const { entries } = entry.lane;
    // Runs arrive nearly in order: the place is near the end.
    let at = entries.length;
    while (at > 0 && older(entry, entries[at - 1] as Entry) < 0) at -= 1;
    entries.splice(at, 0, entry);
  }

  remove(entry: Entry): void {
    const { entries } = entry.lane;
    const at = entries.indexOf(entry);
    if (at >= 0) entries.splice(at, 1);
  }

  /** Drops lanes that nobody uses. */
  sweep(): void {
    for (const [key, lane] of this.#lanes) if (lane.entries.length === 0 && lane.running === 0) this.#lanes.delete(key);
  }

  /** The next run that may start now, and marks it as running. `mayRun` refuses one that has to wait for another. */
  take(now: number, mayRun: (entry: Entry) => boolean): Entry | undefined {
    if (this.#running >= this.#concurrency.total) return undefined;
    for (const [key, lane] of this.#lanes) {
      if (lane.blockedUntil > now || lane.running >= this.#limit(lane)) continue;
      const entry = lane.entries.find((e) => e.pass === undefined && e.dueAt <= now && mayRun(e));
      if (entry === undefined) continue;
      // To the end of the round: the next turn is another lane's.
      this.#lanes.delete(key);
      this.#lanes.set(key, lane);
      entry.pass = new AbortController();
      lane.running += 1;
      this.#running += 1;
      return entry;
    }
    return undefined;
  }

  finished(entry: Entry): void {
    entry.pass = undefined;
    entry.lane.running -= 1;
    this.#running -= 1;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    let count = 0;
    for (const lane of this.#lanes.values()) count += lane.entries.length - lane.running;
    return count;
  }

  /** Of all runs that wait or are being sent; milliseconds since the epoch. */
  get oldestFinishedAt(): number | undefined {
    const heads = [...this.#lanes.values()].flatMap(({ entries: [head] }) => head?.run.finishedAt ?? []);
    return heads.length === 0 ? undefined : Math.min(...heads);
  }

  /** When to look again, if nothing else happens before; undefined where nothing waits for time alone. */
  wakeAt(now: number): number | undefined {
    let earliest: number | undefined;
    for (const lane of this.#lanes.values()) {
      if (lane.running >= this.#limit(lane)) continue;
      for (const entry of lane.entries) {
        if (entry.pass !== undefined) continue;
        const at = Math.max(lane.blockedUntil, entry.dueAt);
        if (at > now && (earliest === undefined || at < earliest)) earliest = at;
      }
    }
    return earliest;
  }

  /** One at a time until the target has shown that it works. */
  #limit(lane: Lane): number {
    return lane.failures > 0 ? 1 : this.#allowed(lane);
  }
}
