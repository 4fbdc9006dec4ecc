import { backoffMs } from '../../kube/backoff.ts';
import { isKubeError } from '../../kube/errors.ts';
import type { Clock } from './ports.ts';

/**
 * Writes statuses until they stand: the newest word on each object, a few objects at a time, and never the same word
 * twice. What is said of a run that is gone is dropped.
 */
export class Speaker<T> {
  readonly #write: (what: T) => Promise<void>;
  readonly #clock: Clock;
  readonly #onProblem: (error: unknown) => void;
  readonly #words = new Map<string, { what: T; text: string; failures: number; busy: boolean; notBefore: number }>();
  readonly #said = new Map<string, string>();
  #writing = 0;
  #stopped = false;
  #idle: (() => void)[] = [];

  constructor(write: (what: T) => Promise<void>, clock: Clock, onProblem: (error: unknown) => void) {
    this.#write = write;
    this.#clock = clock;
    this.#onProblem = onProblem;
  }

  /** `text`: what makes it another word than the last. */
  say(key: string, text: string, what: T): void {
    const waiting = this.#words.get(key);
    if ((waiting?.text ?? this.#said.get(key)) === text) return;
    if (waiting !== undefined) Object.assign(waiting, { what, text });
    else this.#words.set(key, { what, text, failures: 0, busy: false, notBefore: 0 });
    this.#pump();
  }

  pending(key: string): boolean {
    return this.#words.has(key);
  }

  forget(key: string): void {
    this.#words.delete(key);
    this.#said.delete(key);
  }

  stop(): void {
    this.#stopped = true;
    this.#words.clear();
  }

  /** Resolves when everything is written, or was dropped. */
  async idle(): Promise<void> {
    if (this.#words.size > 0) await new Promise<void>((done) => this.#idle.push(done));
  }

  #pump(): void {
    if (this.#stopped) return;
    for (const [key, word] of this.#words) {
      if (this.#writing >= MAX_WRITES) return;
      if (word.busy || word.notBefore > this.#clock.now()) continue;
      word.busy = true;
      this.#writing += 1;
      void this.#speak(key, word).finally(() => {
        this.#writing -= 1;
        this.#pump();
        if (this.#words.size === 0) for (const done of this.#idle.splice(0)) done();
      });
    }
  }

  async #speak(
    key: string,
    word: { what: T; text: string; failures: number; busy: boolean; notBefore: number },
  ): Promise<void> {
    const { what, text } = word;
    try {
      await this.#write(what);
      this.#said.set(key, text);
    } catch (error) {
      // Gone, or another object of that name (the uid is part of what is applied).
      if (!isKubeError(error, 'notFound', 'conflict', 'invalid')) {
        this.#onProblem(error);
        word.failures += 1;
        const wait = backoffMs(word.failures, { baseMs: 1000, maxMs: 60_000 });
        word.notBefore = this.#clock.now() + wait;
        word.busy = false;
        this.#clock.after(wait, () => this.#pump());
        return;
      }
      if (isKubeError(error, 'invalid')) this.#onProblem(error);
    }
    word.busy = false;
    if (word.text === text && this.#words.get(key) === word) this.#words.delete(key);
  }
}

const MAX_WRITES = 4;
