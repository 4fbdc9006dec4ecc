/** Ends a request when the caller does, or when nothing has moved for too long. */
export class Watchdog {
  readonly signal: AbortSignal;
  readonly #own = new AbortController();
  readonly #caller: AbortSignal;
  readonly #timer: NodeJS.Timeout;
  expired = false;

  constructor(caller: AbortSignal, ms: number) {
    this.#caller = caller;
    this.signal = AbortSignal.any([caller, this.#own.signal]);
    this.#timer = setTimeout(() => {
      this.expired = true;
      this.#own.abort();
    }, ms);
  }

  /** By the caller. */
  get cancelled(): boolean {
    return this.#caller.aborted && !this.expired;
  }

  touch(): void {
    this.#timer.refresh();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
