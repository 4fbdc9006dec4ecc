import { strongHash, type FingerprintSet } from './fingerprints.ts';

/** Something was found at `from`..`to`, counted from the beginning of the stream. */
export interface Found {
  from: number;
  to: number;
}

/** All windows of one length. */
interface Lane {
  length: number;
  /** base ** length, to take the leaving byte out. */
  leaving: number;
  /** By the low bits of the rolling hash, so that almost every position costs one look. */
  maybe: Uint8Array;
  strong: Map<number, string[]>;
  hash: number;
  /** Strong hashes that said no. */
  wrong: number;
}

/**
 * Somebody who forges fingerprints could make every position a candidate. What they lose is the protection of their own
 * run's secrets.
 */
const MOST_WRONG = 100_000;

/**
 * Finds fingerprinted values in a stream, wherever its chunks are cut. Keeps the last bytes of the stream, as many as
 * the longest window.
 */
export class FingerprintMatcher {
  readonly #lanes: Lane[];
  readonly #base: number;
  readonly #salt: Buffer;
  /** The longest window's length: what is found reaches back no further. */
  readonly reach: number;
  #history: Buffer = Buffer.alloc(0);
  #position = 0;

  constructor({ salt, base, entries }: FingerprintSet) {
    this.#salt = Buffer.from(salt, 'base64');
    this.#base = base;
    const byLength = Map.groupBy(entries, (entry) => entry.length);
    this.#lanes = [...byLength].map(([length, windows]) => makeLane(length, base, windows));
    this.reach = Math.max(0, ...byLength.keys());
  }

  /** What ends in this chunk, in no order. */
  push(chunk: Buffer): Found[] {
    if (this.reach === 0) return [];
    const kept = this.#history.length;
    const text = kept === 0 ? chunk : Buffer.concat([this.#history, chunk]);
    const origin = this.#position - kept;
    const found: Found[] = [];
    for (const lane of this.#lanes) this.#roll(lane, text, kept, origin, found);
    this.#position += chunk.length;
    this.#history = Buffer.from(text.subarray(Math.max(0, text.length - this.reach)));
    return found;
  }

  #roll(lane: Lane, text: Buffer, from: number, origin: number, found: Found[]): void {
    const { length, leaving, maybe } = lane;
    const base = this.#base;
    const mask = maybe.length - 1;
    let hash = lane.hash;
    for (let at = from; at < text.length; at++) {
      const out = at >= length ? (text[at - length] as number) : 0;
      hash = (Math.imul(hash, base) + (text[at] as number) - Math.imul(out, leaving)) | 0;
      if (
        maybe[hash & mask] === 1 &&
        at + 1 >= length &&
        this.#confirm(lane, hash, text.subarray(at + 1 - length, at + 1))
      ) {
        found.push({ from: origin + at + 1 - length, to: origin + at + 1 });
      }
    }
    lane.hash = hash;
  }

  #confirm(lane: Lane, hash: number, window: Buffer): boolean {
    const strong = lane.strong.get(hash);
    if (strong === undefined || lane.wrong > MOST_WRONG) return false;
    if (strong.includes(strongHash(this.#salt, window))) return true;
    lane.wrong += 1;
    return false;
  }
}

/** Thousands of streams are watched at once, so the table is no larger than its entries need. */
function makeLane(length: number, base: number, windows: FingerprintSet['entries']): Lane {
  const maybe = new Uint8Array(2 ** Math.min(16, Math.max(8, Math.ceil(Math.log2(windows.length * 16)))));
  const strong = new Map<number, string[]>();
  for (const window of windows) {
    maybe[window.rolling & (maybe.length - 1)] = 1;
    strong.set(window.rolling, [...(strong.get(window.rolling) ?? []), window.strong]);
  }
  let leaving = 1;
  for (let i = 0; i < length; i++) leaving = Math.imul(leaving, base);
  return { length, leaving, maybe, strong, hash: 0, wrong: 0 };
}
