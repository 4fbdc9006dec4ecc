import type { Clock } from '../../../src/controller/sync/ports.ts';

/** Time that passes only when a test says so. Sockets and files take their own time: it waits for them in between. */
export class ManualClock implements Clock {
  #now = Date.parse('2026-03-01T12:00:00Z');
  #timers: { at: number; call: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(ms: number, call: () => void): () => void {
    const timer = { at: this.#now + Math.max(0, ms), call };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Lets `ms` pass, each timer at its time, with real time for what it starts. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (let next = this.#next(); next !== undefined && next.at <= end; next = this.#next()) {
      this.#fire(next);
      await breathe();
    }
    this.#now = end;
    await breathe();
  }

  /** Lets `ms` pass at one stroke, as on a machine that slept: what fell due meanwhile happens once. */
  async skip(ms: number): Promise<void> {
    this.#now += ms;
    for (const timer of this.#timers.filter(({ at }) => at <= this.#now)) this.#fire(timer);
    await breathe();
  }

  /** From timer to timer until the condition holds. */
  async runUntil(holds: () => boolean, maxMs = 24 * 3600 * 1000): Promise<void> {
    const end = this.#now + maxMs;
    while (!holds()) {
      const next = this.#next();
      if (next === undefined || next.at > end) {
        await breathe(20);
        if (holds()) return;
        if (next !== undefined) throw new Error('not within the time');
        continue;
      }
      this.#fire(next);
      await breathe();
    }
  }

  #next(): { at: number; call: () => void } | undefined {
    return this.#timers.toSorted((a, b) => a.at - b.at)[0];
  }

  #fire(timer: { at: number; call: () => void }): void {
    this.#timers = this.#timers.filter((other) => other !== timer);
    this.#now = Math.max(this.#now, timer.at);
    timer.call();
  }
}

/** Real milliseconds for sockets and files to do what the last timer asked for. */
async function breathe(ms = 15): Promise<void> {
  await new Promise<void>((done) => setTimeout(done, ms));
}
