/** Milliseconds. */
const PERIOD_MS = 30_000;
const SOON_MS = 3_000;
const CHECK_MS = 10_000;
/** One look that fails may be a hiccup; every replica leaving the Service for it would be worse. */
const FAILURES = 2;

/** Keeps knowing whether the run store answers, so that readiness never waits for it. */
export class StoreProbe {
  readonly #check: (signal: AbortSignal) => Promise<void>;
  readonly #periods: { periodMs: number; soonMs: number };
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #failures = 0;
  #reachable: boolean | undefined;

  constructor(
    check: (signal: AbortSignal) => Promise<void>,
    periods: { periodMs: number; soonMs: number } = { periodMs: PERIOD_MS, soonMs: SOON_MS },
  ) {
    this.#check = check;
    this.#periods = periods;
  }

  /** Undefined until the first look has ended. */
  get reachable(): boolean | undefined {
    return this.#reachable;
  }

  start(): void {
    void this.#look();
  }

  stop(): void {
    this.#stopping.abort();
    clearTimeout(this.#timer);
  }

  async #look(): Promise<void> {
    const { signal } = this.#stopping;
    try {
      await this.#check(AbortSignal.any([signal, AbortSignal.timeout(CHECK_MS)]));
      this.#failures = 0;
      this.#reachable = true;
    } catch {
      this.#failures += 1;
      if (this.#reachable === undefined || this.#failures >= FAILURES) this.#reachable = false;
    }
    if (signal.aborted) return;
    const { periodMs, soonMs } = this.#periods;
    this.#timer = setTimeout(() => void this.#look(), this.#failures > 0 ? soonMs : periodMs).unref();
  }
}
