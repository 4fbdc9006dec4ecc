import type { Handle, ProfileRef, Runtime, RuntimeIo, WorkState } from '../../runtime/contract.ts';

/** One vendor account's open work. */
export interface PolledGroup {
  key: string;
  runtime: Runtime;
  profile: ProfileRef;
  io: RuntimeIo;
  /** By external id, with the run to wake. */
  handles: ReadonlyMap<string, { handle: Handle; run: string }>;
}

export interface PollerOptions {
  /** Everything that is to be looked at now. */
  groups(): Iterable<PolledGroup>;
  /** A run's work stands somewhere else now. */
  onChange(run: string): void;
  onError(what: string, error: unknown): void;
}

const TICK_MS = 250;
const OBSERVE_MS = 120_000;
/** A gateway, or a replica that lags, may not know work for a moment, and it costs on meanwhile. */
const GONE_AFTER_MS = 60_000;

/**
 * Looks at all open work, many pieces in one call where the vendor can, and remembers where each stands. Polling is the
 * source of truth; a webhook only makes the next look come sooner.
 */
export class WorkPoller {
  readonly #o: PollerOptions;
  readonly #states = new Map<string, WorkState>();
  /** Work that the vendor does not know, and since when without a break. */
  readonly #unknown = new Map<string, number>();
  readonly #groups = new Map<string, { dueAt: number; busy: boolean; failures: number }>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: PollerOptions) {
    this.#o = options;
  }

  /** Where a piece of work stood when it was last looked at. */
  stateOf(externalId: string): WorkState | undefined {
    return this.#states.get(externalId);
  }

  forget(externalId: string): void {
    this.#states.delete(externalId);
    this.#unknown.delete(externalId);
  }

  /** Somebody says that there is news: the group is looked at with the next tick. */
  hint(): void {
    for (const group of this.#groups.values()) group.dueAt = 0;
  }

  start(): void {
    this.#timer = setInterval(() => this.tick(performance.now()), TICK_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#groups.clear();
    // Another process may lead meanwhile: what is remembered here would be old.
    this.#states.clear();
    this.#unknown.clear();
  }

  /** Looks at every group whose turn has come; `now` is any clock that only goes forward, in milliseconds. */
  tick(now: number): void {
    const seen = new Set<string>();
    for (const group of this.#o.groups()) {
      seen.add(group.key);
      const known = this.#groups.get(group.key) ?? { dueAt: 0, busy: false, failures: 0 };
      this.#groups.set(group.key, known);
      if (known.busy || now < known.dueAt) continue;
      known.busy = true;
      void this.#look(group, now).then((ok) => {
        known.failures = ok ? 0 : known.failures + 1;
        known.dueAt = now + group.runtime.traits.pollMs * Math.min(12, 2 ** known.failures);
        known.busy = false;
      });
    }
    for (const key of this.#groups.keys()) if (!seen.has(key)) this.#groups.delete(key);
  }

  async #look({ runtime, io, profile, handles }: PolledGroup, now: number): Promise<boolean> {
    const signal = AbortSignal.any([io.signal, AbortSignal.timeout(OBSERVE_MS)]);
    try {
      const states = await runtime.observe(
        [...handles.values()].map(({ handle }) => handle),
        { ...io, signal },
      );
      for (const [externalId, state] of states) {
        const of = handles.get(externalId);
        if (state.at !== 'gone') this.#unknown.delete(externalId);
        else if (!this.#isGone(externalId, now)) continue;
        if (of === undefined || isSame(this.#states.get(externalId), state)) continue;
        this.#states.set(externalId, state);
        this.#o.onChange(of.run);
      }
      return true;
    } catch (error) {
      if (!io.signal.aborted) this.#o.onError(`the work of profile ${profile.name} could not be looked at`, error);
      return false;
    }
  }

  #isGone(externalId: string, now: number): boolean {
    const since = this.#unknown.get(externalId) ?? now;
    this.#unknown.set(externalId, since);
    return now - since >= GONE_AFTER_MS;
  }
}

function isSame(before: WorkState | undefined, after: WorkState): boolean {
  return before !== undefined && JSON.stringify(before) === JSON.stringify(after);
}
