/** Scenarios count seconds from here; nothing in a test reads the real clock. */
export const START = Date.parse('2026-11-20T10:00:00Z');

/** Milliseconds since the epoch, `seconds` into the scenario. */
export const ms = (seconds: number): number => START + seconds * 1000;

/** RFC 3339 as Kubernetes writes it: whole seconds. */
export const at = (seconds: number): string =>
  new Date(Math.floor(ms(seconds) / 1000) * 1000).toISOString().replace('.000Z', 'Z');
