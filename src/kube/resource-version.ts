/**
 * Orders two resource versions of one resource type: negative, zero or positive, like a sort callback; undefined when
 * they cannot be compared. Kubernetes promises since 1.35 that they are decimal numbers that grow; a server that does
 * otherwise is met with "cannot be compared" rather than with a wrong order.
 */
export function compareResourceVersions(a: string, b: string): number | undefined {
  if (!DECIMAL.test(a) || !DECIMAL.test(b)) return undefined;
  // Longer is larger, as there are no leading zeros; beyond 2^53 a number would lose digits.
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}

const DECIMAL = /^(0|[1-9]\d*)$/;
