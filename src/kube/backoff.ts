export interface BackoffOptions {
  /** First delay, milliseconds. */
  readonly baseMs: number;
  /** Largest delay, milliseconds. */
  readonly maxMs: number;
}

/**
 * The delay before try `failures + 1`: doubles each time up to `maxMs`, and lies between half of that and all of it, so
 * that many clients failing together do not come back together.
 */
export function backoffMs(failures: number, { baseMs, maxMs }: BackoffOptions, random = Math.random): number {
  // The exponent is capped because 2 ** 1024 is Infinity, and Infinity milliseconds make Node fire at once.
  const full = Math.min(maxMs, baseMs * 2 ** Math.min(failures - 1, 30));
  return full / 2 + (random() * full) / 2;
}
