import { FingerprintMatcher, type Found } from './fingerprint-matcher.ts';
import type { FingerprintSet } from './fingerprints.ts';
import { closeOfKey, findSecrets, leavesKeyOpen } from './secret-patterns.ts';

export const REDACTED = '[redacted]';

/** Bytes looked at in one piece; a longer line is looked at in overlapping pieces. */
const WINDOW = 64 * 1024;
const OVERLAP = 4 * 1024;
/** Bytes that a private key without an end may hide. */
const LONGEST_KEY = 16 * 1024;

/**
 * Takes secrets out of a stream of bytes: known values by their fingerprints, and whatever looks like a secret.
 * The same bytes give the same output however they are cut. Bytes that are no UTF-8 pass unchanged. Holds back at most
 * one unfinished line or 64 KiB.
 */
export class Redactor {
  readonly #values: ValueFilter;
  readonly #patterns = new PatternFilter();

  constructor(fingerprints?: FingerprintSet) {
    this.#values = new ValueFilter(fingerprints);
  }

  /** Places where something was replaced, so far. */
  get replaced(): number {
    return this.#values.replaced + this.#patterns.replaced;
  }

  push(chunk: Buffer): Buffer {
    return this.#patterns.push(this.#values.push(chunk));
  }

  /** What is held back, at the end or at a line's end where the stream may rest. What follows may be pushed on. */
  flush(): Buffer {
    const rest = this.#patterns.push(this.#values.flush());
    return Buffer.concat([rest, this.#patterns.flush()]);
  }
}

/** For messages, labels and everything else that is small and whole. */
export function redactText(text: string): { text: string; count: number } {
  const redactor = new Redactor();
  const clean = Buffer.concat([redactor.push(Buffer.from(text)), redactor.flush()]);
  return { text: clean.toString('utf8'), count: redactor.replaced };
}

/** Replaces fingerprinted values; bytes leave as soon as no value can begin in them any more. */
class ValueFilter {
  readonly #matcher: FingerprintMatcher | undefined;
  #held: Buffer = Buffer.alloc(0);
  /** Position in the stream of the first byte held. */
  #origin = 0;
  #found: Found[] = [];
  /** Bytes before this position are covered by a replacement that was written already. */
  #covered = -1;
  replaced = 0;

  constructor(fingerprints: FingerprintSet | undefined) {
    if (fingerprints !== undefined && fingerprints.entries.length > 0)
      this.#matcher = new FingerprintMatcher(fingerprints);
  }

  push(chunk: Buffer): Buffer {
    if (this.#matcher === undefined) return chunk;
    this.#found.push(...this.#matcher.push(chunk));
    this.#found.sort((a, b) => a.from - b.from);
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    return this.#release(this.#held.length - this.#matcher.reach);
  }

  flush(): Buffer {
    return this.#matcher === undefined ? Buffer.alloc(0) : this.#release(this.#held.length);
  }

  #release(count: number): Buffer {
    if (count <= 0) return Buffer.alloc(0);
    const limit = this.#origin + count;
    const out: Buffer[] = [];
    let at = this.#origin;
    const copyUntil = (to: number): void => {
      const from = Math.max(at, this.#covered);
      if (from < to) out.push(this.#held.subarray(from - this.#origin, to - this.#origin));
      at = Math.max(at, to);
    };
    let done = 0;
    for (const { from, to } of this.#found) {
      // What is found later begins at the limit or behind it.
      if (from >= limit) break;
      done += 1;
      // Windows that overlap or adjoin are pieces of one value.
      if (from > this.#covered) {
        copyUntil(from);
        out.push(Buffer.from(REDACTED));
        this.replaced += 1;
      }
      this.#covered = Math.max(this.#covered, to);
    }
    this.#found.splice(0, done);
    copyUntil(limit);
    this.#held = Buffer.from(this.#held.subarray(count));
    this.#origin = limit;
    return Buffer.concat(out);
  }
}

/** Replaces what looks like a secret, whole lines at a time. */
class PatternFilter {
  /** Latin1: one character a byte, whatever the bytes are. */
  #held = '';
  /** Inside a private key: bytes it may still hide. */
  #key = 0;
  /** A secret filled a whole window: the rest of its line goes too. */
  #swallow = false;
  replaced = 0;

  push(chunk: Buffer): Buffer {
    this.#held += chunk.toString('latin1');
    const out: string[] = [];
    let at = 0;
    // Lines are gathered as long as each fits a window and no line is special.
    let batch = 0;
    for (;;) {
      const newline = this.#held.indexOf('\n', batch);
      const lineEnd = newline === -1 ? this.#held.length : newline + 1;
      if (newline !== -1 && lineEnd - batch <= WINDOW) {
        batch = lineEnd;
        if (batch - at < WINDOW) continue;
      }
      if (batch > at) {
        out.push(this.#lines(this.#held.slice(at, batch)));
        at = batch;
        continue;
      }
      if (this.#held.length - at < WINDOW) break;
      const [clean, used] = this.#window(this.#held.slice(at, at + WINDOW));
      out.push(clean);
      at += used;
      batch = at;
    }
    this.#held = this.#held.slice(at);
    return Buffer.from(out.join(''), 'latin1');
  }

  flush(): Buffer {
    const rest = this.#held;
    this.#held = '';
    return Buffer.from(rest === '' ? '' : this.#lines(rest), 'latin1');
  }

  /** Whole lines, each no longer than a window. */
  #lines(text: string): string {
    if (this.#key === 0 && !this.#swallow && !text.includes('PRIVATE KEY')) return this.#clean(text);
    return text
      .split(/(?<=\n)/)
      .map((line) => this.#line(line))
      .join('');
  }

  #line(line: string): string {
    const ending = /\r?\n$/.exec(line)?.[0] ?? '';
    if (this.#swallow) {
      if (ending !== '') this.#swallow = false;
      return ending;
    }
    if (this.#key > 0) {
      const close = closeOfKey(line, 0);
      this.#key = close === -1 ? Math.max(0, this.#key - line.length) : 0;
      return close === -1 || close + ending.length === line.length ? '' : this.#clean(line.slice(close));
    }
    if (leavesKeyOpen(line)) this.#key = LONGEST_KEY;
    return this.#clean(line);
  }

  /** A piece of a line that is longer than a window: what is clean of it, and how much of it is done. */
  #window(text: string): [string, number] {
    if (this.#swallow) return ['', text.length];
    if (this.#key > 0) {
      this.#key = Math.max(0, this.#key - text.length);
      return ['', text.length];
    }
    let cut = WINDOW - OVERLAP;
    for (const { start, end } of findSecrets(text).toReversed()) if (start < cut && cut < end) cut = start;
    if (cut > 0) return [this.#clean(text.slice(0, cut)), cut];
    this.#swallow = true;
    if (leavesKeyOpen(text)) this.#key = LONGEST_KEY;
    this.replaced += 1;
    return [REDACTED, text.length];
  }

  #clean(text: string): string {
    const spans = findSecrets(text);
    if (spans.length === 0) return text;
    this.replaced += spans.length;
    const out: string[] = [];
    let at = 0;
    for (const { from, to } of spans) {
      out.push(text.slice(at, from), REDACTED);
      at = to;
    }
    out.push(text.slice(at));
    return out.join('');
  }
}
