/**
 * Takes the log of a container apart as the kubelet gives it with `timestamps=true`: `<RFC 3339, nanoseconds> <bytes>\n`.
 * A line may be longer than memory: its content comes in pieces.
 */
export interface LineSink {
  /** A line begins. Without a timestamp it is no line of the log, but the kubelet's own word. */
  begin(timestamp: string | undefined): void;
  content(bytes: Buffer): void;
  /** The line is whole. */
  end(): void;
}

const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/;
const LONGEST_TIMESTAMP = 40;
const NEWLINE = 0x0a;
const SPACE = 0x20;

export class TimestampedLines {
  readonly #sink: LineSink;
  #inLine = false;
  /** A timestamp that a chunk's end cut in two. */
  #start: Buffer = Buffer.alloc(0);

  constructor(sink: LineSink) {
    this.#sink = sink;
  }

  push(chunk: Buffer): void {
    let rest = this.#start.length === 0 ? chunk : Buffer.concat([this.#start, chunk]);
    this.#start = Buffer.alloc(0);
    while (rest.length > 0) {
      if (!this.#inLine) {
        const begun = this.#begin(rest);
        if (begun === undefined) {
          this.#start = Buffer.from(rest);
          return;
        }
        rest = begun;
      }
      const newline = rest.indexOf(NEWLINE);
      if (newline === -1) {
        if (rest.length > 0) this.#sink.content(rest);
        return;
      }
      if (newline > 0) this.#sink.content(rest.subarray(0, newline));
      this.#inLine = false;
      this.#sink.end();
      rest = rest.subarray(newline + 1);
    }
  }

  /** The end of the stream; what is left of a line is no whole line. */
  finish(): void {
    if (this.#start.length === 0) return;
    this.#sink.begin(undefined);
    this.#sink.content(this.#start);
    this.#start = Buffer.alloc(0);
  }

  /** The bytes behind the timestamp; undefined when more bytes are needed to tell. */
  #begin(bytes: Buffer): Buffer | undefined {
    const head = bytes.subarray(0, LONGEST_TIMESTAMP);
    const space = head.indexOf(SPACE);
    const newline = head.indexOf(NEWLINE);
    if (space === -1 && newline === -1 && head.length < LONGEST_TIMESTAMP) return undefined;
    this.#inLine = true;
    const end = space === -1 || (newline !== -1 && newline < space) ? newline : space;
    const text = end === -1 ? '' : head.toString('latin1', 0, end);
    if (!TIMESTAMP.test(text)) {
      this.#sink.begin(undefined);
      return bytes;
    }
    this.#sink.begin(text);
    return bytes.subarray(end === space ? end + 1 : end);
  }
}

/** Negative when `a` is earlier. Nanoseconds count, and so do different ways of writing one moment. */
export function compareTimestamps(a: string, b: string): number {
  if (a === b) return 0;
  // As the kubelet writes them, always in one form.
  if (a.length === b.length && a.endsWith('Z') && b.endsWith('Z')) return a < b ? -1 : 1;
  const [first, second] = [parts(a), parts(b)];
  if (first.seconds !== second.seconds) return first.seconds - second.seconds;
  return first.fraction === second.fraction ? 0 : first.fraction < second.fraction ? -1 : 1;
}

/** The whole second before, as `sinceTime` takes it: lines of one moment may be stamped a little out of order. */
export function secondBefore(timestamp: string): string {
  return new Date((parts(timestamp).seconds - 1) * 1000).toISOString().replace('.000Z', 'Z');
}

function parts(timestamp: string): { seconds: number; fraction: string } {
  const fraction = /\.(\d+)/.exec(timestamp)?.[1] ?? '';
  return { seconds: Date.parse(timestamp.replace(/\.\d+/, '')) / 1000, fraction: fraction.padEnd(9, '0') };
}
