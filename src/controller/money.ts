/** Micro US dollars. Integers of any size: thousands of small amounts add up exactly, as floats do not. */
export type MicroUSD = bigint;

const MICRO = 1_000_000n;
const AMOUNT = /^(\d+)(?:\.(\d{1,6}))?$/;

/** A decimal string as the API takes it (at most six digits after the point). Throws for anything else. */
export function parseUSD(text: string): MicroUSD {
  const [, dollars, rest = ''] = AMOUNT.exec(text) ?? [];
  if (dollars === undefined) throw new RangeError(`not an amount of US dollars: ${text}`);
  return BigInt(dollars) * MICRO + BigInt(rest.padEnd(6, '0'));
}

/** {@link parseUSD}, or undefined for anything else, such as a status that was edited by hand. */
export function readUSD(text: string | undefined): MicroUSD | undefined {
  return text !== undefined && AMOUNT.test(text) ? parseUSD(text) : undefined;
}

/** With four digits after the point, as statuses show it; rounded up, so that nothing bought is shown as free. */
export function formatUSD(amount: MicroUSD): string {
  const rounded = (amount + 99n) / 100n;
  return `${rounded / 10_000n}.${String(rounded % 10_000n).padStart(4, '0')}`;
}

/** `price` for each of `seconds`, `per` of which it is stated for; fractions of a second count, rounded up to a micro dollar. */
export function timesSeconds(price: MicroUSD, seconds: number, per = 1): MicroUSD {
  const milliseconds = BigInt(Math.ceil(seconds * 1000));
  const divisor = BigInt(per) * 1000n;
  return (price * milliseconds + divisor - 1n) / divisor;
}
