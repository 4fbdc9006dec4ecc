/** Longer is no pause but a broken clock. */
const LONGEST_RETRY_AFTER_MS = 24 * 3600 * 1000;

/** Milliseconds that `Retry-After` asks for, given in seconds or as a date; undefined where it says nothing usable. */
export function retryAfterMs(header: string | null | undefined, now: number): number | undefined {
  const text = header?.trim() ?? '';
  const ms = /^\d+(\.\d+)?$/.test(text)
    ? Number(text) * 1000
    : // Without the zone that HTTP dates have, all kinds of text pass for a date.
      Date.parse(text.endsWith(' GMT') ? text : '') - now;
  return Number.isFinite(ms) ? Math.min(Math.max(Math.ceil(ms), 0), LONGEST_RETRY_AFTER_MS) : undefined;
}
