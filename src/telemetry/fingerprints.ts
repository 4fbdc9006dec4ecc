import { createHmac, randomBytes } from 'node:crypto';

/**
 * Recognising a secret in a stream without knowing it.
 *
 * The holder of a value cuts it, and its usual encodings, into windows of a few fixed lengths that together cover every
 * byte, and gives away for each window its length, a rolling hash and a keyed strong hash. Few lengths keep matching at
 * a handful of operations a byte however many secrets there are, and a secret that is printed only in part is found too.
 */
export interface FingerprintSet {
  /** Base64 of the random key of the strong hashes. */
  salt: string;
  /** Random odd multiplier of the rolling hashes, unsigned 32 bits. */
  base: number;
  entries: { length: number; rolling: number; strong: string }[];
}

/** Bytes. Each less than twice its predecessor or equal: the first and the last window of a value meet. */
export const WINDOWS = [6, 8, 12, 16, 24, 32, 48, 64] as const;
/** Shorter values would hide ordinary words. */
export const SHORTEST_SECRET = WINDOWS[0];
const LONGEST_VALUE = 16 * 1024;
export const MOST_ENTRIES = 8192;

/**
 * Fingerprints of the values and their encodings: base64 (both alphabets, any alignment), URL, JSON, hex. At most `most`: a
 * set that is sent over the network is bounded.
 */
export function fingerprint(values: Iterable<Buffer>, most = MOST_ENTRIES): FingerprintSet {
  const salt = randomBytes(32);
  const base = (randomBytes(4).readUInt32LE() | 1) >>> 0;
  const entries = new Map<string, FingerprintSet['entries'][number]>();
  for (const value of values) {
    for (const form of encodings(value.subarray(0, LONGEST_VALUE))) {
      for (const window of windows(form)) {
        if (entries.size >= most) break;
        const strong = strongHash(salt, window);
        entries.set(strong, { length: window.length, rolling: rollingHash(base, window), strong });
      }
    }
  }
  return { salt: salt.toString('base64'), base, entries: [...entries.values()] };
}

/** Of a whole window; the matcher rolls the same polynomial along the stream. */
export function rollingHash(base: number, window: Buffer): number {
  let hash = 0;
  for (const byte of window) hash = (Math.imul(hash, base) + byte) | 0;
  return hash;
}

/** 128 bits are enough: it only confirms what the rolling hash found. */
export function strongHash(salt: Buffer, window: Buffer): string {
  return createHmac('sha256', salt).update(window).digest('base64').slice(0, 22);
}

/** A value as it may stand in a text: itself, base64 at any alignment, hex, URL, JSON, its lines. */
export function encodings(value: Buffer): Buffer[] {
  const text = value.toString('utf8');
  const found = [value, ...base64Forms(value)];
  const hex = value.toString('hex');
  found.push(Buffer.from(hex), Buffer.from(hex.toUpperCase()));
  // A value that is not UTF-8 has no text forms.
  if (Buffer.from(text).equals(value)) {
    found.push(
      Buffer.from(encodeURIComponent(text)),
      Buffer.from(new URLSearchParams({ v: text }).toString().slice(2)),
    );
    found.push(Buffer.from(JSON.stringify(text).slice(1, -1)));
    // A log prefix on every line keeps a value of several lines from matching as a whole.
    if (text.includes('\n')) found.push(...text.split(/\r?\n/).map((line) => Buffer.from(line)));
    const trimmed = text.trim();
    if (trimmed !== text) found.push(Buffer.from(trimmed));
  }
  return found.filter((form) => form.length >= SHORTEST_SECRET);
}

/** `user:secret` in base64 starts the secret at any of three alignments; only characters that depend on it alone count. */
function base64Forms(value: Buffer): Buffer[] {
  return [0, 1, 2].flatMap((shift) => {
    const encoded = Buffer.concat([Buffer.alloc(shift), value])
      .toString('base64')
      .replace(/=+$/, '');
    const first = Math.ceil((shift * 8) / 6);
    const last = Math.floor(((shift + value.length) * 8) / 6);
    const standard = encoded.slice(first, last);
    const url = standard.replaceAll('+', '-').replaceAll('/', '_');
    return standard === url ? [Buffer.from(standard)] : [Buffer.from(standard), Buffer.from(url)];
  });
}

function windows(form: Buffer): Buffer[] {
  const length = WINDOWS.findLast((window) => window <= form.length);
  if (length === undefined) return [];
  const found: Buffer[] = [];
  for (let at = 0; at + length <= form.length; at += length) found.push(form.subarray(at, at + length));
  if (form.length % length !== 0) found.push(form.subarray(form.length - length));
  // Indentation of a multi-line value is no secret.
  return found.filter((window) => window.some((byte) => byte > 0x20));
}
