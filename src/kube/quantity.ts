const FACTORS: Readonly<Record<string, readonly [base: bigint, exponent: number]>> = {
  n: [10n, -9],
  u: [10n, -6],
  m: [10n, -3],
  '': [10n, 0],
  k: [10n, 3],
  M: [10n, 6],
  G: [10n, 9],
  T: [10n, 12],
  P: [10n, 15],
  E: [10n, 18],
  Ki: [2n, 10],
  Mi: [2n, 20],
  Gi: [2n, 30],
  Ti: [2n, 40],
  Pi: [2n, 50],
  Ei: [2n, 60],
};

const QUANTITY = /^([+-]?)(\d+\.?\d*|\.\d+)(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i))?$/;

/** `500m` is 0.5, `16Gi` is 17179869184. Throws a RangeError for what is no Kubernetes quantity. */
export function parseQuantity(quantity: string): number {
  const { numerator, denominator } = exact(quantity);
  // Divided as fractions of bigints first, because 0.1 and 100m must come out as the same number.
  const whole = numerator / denominator;
  return Number(whole) + Number(numerator - whole * denominator) / Number(denominator);
}

/** Negative, zero or positive, like a sort callback; exact for every size. `0.1` equals `100m`. */
export function compareQuantities(a: string, b: string): number {
  const left = exact(a);
  const right = exact(b);
  const difference = left.numerator * right.denominator - right.numerator * left.denominator;
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

function exact(quantity: string): { numerator: bigint; denominator: bigint } {
  const match = QUANTITY.exec(quantity);
  if (match === null) throw new RangeError(`${JSON.stringify(quantity)} is not a Kubernetes quantity`);
  const [, sign, digits = '', scientific, suffix = ''] = match;
  const [whole = '', fraction = ''] = digits.split('.');
  const mantissa = BigInt(whole + fraction) * (sign === '-' ? -1n : 1n);
  const [base, power] = scientific === undefined ? FACTORS[suffix]! : ([10n, Number(scientific.slice(1))] as const);
  if (Math.abs(power) > 60) throw new RangeError(`the quantity ${quantity} is out of range`);
  const scale = power < 0 ? { up: 1n, down: base ** BigInt(-power) } : { up: base ** BigInt(power), down: 1n };
  return { numerator: mantissa * scale.up, denominator: scale.down * 10n ** BigInt(fraction.length) };
}
