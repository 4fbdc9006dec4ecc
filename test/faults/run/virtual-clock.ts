interface Timer {
  at: number;
  order: number;
  run: () => void;
}

/** Time that passes only when nothing is left to do now. Same order of calls, same order of events. */
export class VirtualClock {
  now = Date.parse('2026-11-20T10:00:00Z');
  #timers: Timer[] = [];
  #order = 0;

  after(ms: number, run: () => void): void {
    this.#timers.push({ at: this.now + Math.max(0, ms), order: this.#order++, run });
  }

  /** Runs the next timer that is due by `until`; false when there is none. */
  step(until: number): boolean {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (next === undefined || timer.at < next.at || (timer.at === next.at && timer.order < next.order)) next = timer;
    }
    if (next === undefined || next.at > until) return false;
    this.#timers = this.#timers.filter((timer) => timer !== next);
    this.now = Math.max(this.now, next.at);
    next.run();
    return true;
  }

  /** RFC 3339, whole seconds, as Kubernetes writes it. */
  stamp(): string {
    return new Date(Math.floor(this.now / 1000) * 1000).toISOString().replace('.000Z', 'Z');
  }
}
