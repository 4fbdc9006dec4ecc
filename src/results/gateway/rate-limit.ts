import { TokenBucket } from '../../kube/token-bucket.ts';

interface Budget {
  bucket: TokenBucket;
  usedAt: number;
}

const FORGOTTEN_AFTER = 120_000;

/** A budget of requests for each caller. Callers that fell silent are forgotten. */
export class RateLimit {
  readonly #burst: number;
  readonly #perSecond: number;
  /** Longest silent first. */
  readonly #callers = new Map<string, Budget>();

  constructor(burst: number, perSecond: number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
  }

  /** Whether one more request may pass; if so, it is counted. */
  take(caller: string): boolean {
    const now = performance.now();
    const budget = this.#callers.get(caller) ?? { bucket: new TokenBucket(this.#burst, this.#perSecond), usedAt: now };
    budget.usedAt = now;
    this.#callers.delete(caller);
    this.#callers.set(caller, budget);
    for (const [silent, { usedAt }] of this.#callers) {
      if (now - usedAt < FORGOTTEN_AFTER) break;
      this.#callers.delete(silent);
    }
    return budget.bucket.take();
  }

  /** Callers of the last two minutes. */
  get callers(): number {
    return this.#callers.size;
  }
}
