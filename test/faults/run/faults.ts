import { fails } from './api-server.ts';

/** The process dies here. */
export class Crash extends Error {
  override readonly name = 'Crash';
}

/** What goes wrong, at which call of the reference run (counted from 1). */
export type Fault =
  | { is: 'crash'; call: number; effect: 'before' | 'after' }
  /** The new process begins with a list from before the call's effect. */
  | { is: 'staleRestart'; call: number }
  | { is: 'error'; call: number; kind: ErrorKind };

export type ErrorKind = 'conflict' | 'tooManyRequests' | 'serverError' | 'timeout' | 'timeoutAfterEffect' | 'forbidden';

/** Every call of the controller to the outside goes through here, in order. */
export class Calls {
  readonly made: string[] = [];
  /** Those that changed something at the API server, as the server saw them. */
  readonly writes: string[] = [];
  /** Entries of the server's log when the process died. */
  crashedAt: number | undefined;
  fault: Fault | undefined;
  /** Set with every {@link Crash}: one in work beside the passes reaches no pass. */
  died = false;
  readonly #logLength: () => number;

  constructor(logLength: () => number) {
    this.#logLength = logLength;
  }

  async do<T>(name: string, effect: () => T): Promise<T> {
    this.made.push(name);
    // A call is never answered in the same turn.
    await Promise.resolve();
    const { fault } = this;
    if (fault === undefined || fault.call !== this.made.length) return this.#perform(name, effect);
    this.fault = undefined;
    const before = this.#logLength();
    switch (fault.is) {
      case 'staleRestart':
        this.#perform(name, effect);
        this.crashedAt = before;
        this.died = true;
        throw new Crash(name);
      case 'crash':
        if (fault.effect === 'after') this.#perform(name, effect);
        this.died = true;
        throw new Crash(name);
      case 'error':
        if (fault.kind === 'timeoutAfterEffect') this.#perform(name, effect);
        throw errorOf(fault.kind);
    }
  }

  #perform<T>(name: string, effect: () => T): T {
    const before = this.#logLength();
    const answer = effect();
    if (this.#logLength() > before) this.writes.push(name);
    return answer;
  }
}

function errorOf(kind: ErrorKind): Error {
  switch (kind) {
    case 'tooManyRequests':
      return fails({ kind, retryAfterMs: 1000 }, 'slow down');
    case 'timeoutAfterEffect':
      return fails({ kind: 'timeout' }, 'no answer');
    case 'conflict':
    case 'serverError':
    case 'timeout':
    case 'forbidden':
      return fails({ kind }, kind);
  }
}
