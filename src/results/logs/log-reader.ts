import type { Readable } from 'node:stream';
import type { FingerprintSet } from '../../telemetry/fingerprints.ts';
import { Redactor } from '../../telemetry/redaction.ts';
import type { LogText } from './log-text.ts';
import { compareTimestamps, secondBefore, TimestampedLines, type LineSink } from './timestamped-lines.ts';

/** How far the log is taken: up to the newest moment, and what was written after it with an earlier one. */
interface Marker {
  timestamp: string;
  /** Lines of that moment; undefined after a restart, when all of them are taken for known. */
  lines: number | undefined;
  /** Lines behind those: stdout and stderr are stamped apart, so the order of lines is not quite that of their times. */
  behind: number;
}

/**
 * A line is taken whole, so that a broken read is repeated from its beginning. One that is longer is taken in pieces, by
 * the final read only.
 */
const LONGEST_HELD_LINE = 256 * 1024;
/** The kubelet's default: it begins a new file at this size. */
const ROTATION = 10 * 1024 * 1024;
const NEWLINE = Buffer.from('\n');

/**
 * Turns overlapping reads of one container's log into one text: each line once, gaps marked, secrets taken out.
 * Timestamps are not kept: the text is what the container wrote, byte for byte, but for secrets and marks.
 */
export class LogReader implements LineSink {
  readonly #text: LogText;
  readonly #redactor: Redactor;
  readonly #startedAt: string | undefined;
  #marker: Marker | undefined;
  #firstTimestamp: string | undefined;
  gaps = 0;
  headLost = false;
  /** The kubelet could not give (all of) the file. */
  unreadable = false;
  /** Bytes of content taken in all reads. */
  taken = 0;

  // The read that is under way.
  #final = false;
  /** Lines that are known already are passed over. */
  #skipping = false;
  /** Of the marker's lines: those that came, and those behind them. */
  #met = 0;
  #metBehind = 0;

  // The line that is under way.
  #timestamp: string | undefined;
  /** The kubelet's own word, no line of the log. */
  #foreign = false;
  #length = 0;
  #line: Buffer[] = [];
  /** Bytes on their way to redaction; many lines at once cost much less. */
  #out: Buffer[] = [];
  #lineIsWhole = true;

  constructor(
    text: LogText,
    fingerprints: FingerprintSet | undefined,
    startedAt: string | undefined,
    last: string | undefined,
  ) {
    this.#text = text;
    this.#redactor = new Redactor(fingerprints);
    this.#startedAt = startedAt;
    if (last !== undefined) this.#marker = { timestamp: last, lines: undefined, behind: 0 };
  }

  get redacted(): number {
    return this.#redactor.replaced;
  }

  /** `sinceTime` of the next read. */
  get since(): string | undefined {
    return this.#marker === undefined ? undefined : secondBefore(this.#marker.timestamp);
  }

  /** Takes what is new; a final read also an unfinished last line. Rejects when the stream breaks; what was taken stays. */
  async read(stream: Readable, final: boolean, signal: AbortSignal): Promise<void> {
    this.#final = final;
    this.#skipping = this.#marker !== undefined;
    this.#met = 0;
    this.#metBehind = 0;
    this.#line = [];
    const lines = new TimestampedLines(this);
    const isFirst = this.taken === 0 && this.#marker === undefined;
    try {
      for await (const chunk of stream) {
        lines.push(chunk as Buffer);
        this.#redact();
        await this.#flushFull(signal);
      }
      lines.finish();
      // The container may still be writing it; at the end it is all there is.
      if (final) this.#emitLine();
    } finally {
      stream.destroy();
      this.#redact();
      if (isFirst) this.#judgeHead();
    }
  }

  /** Everything that is held back for redaction goes into the text. */
  drain(): void {
    this.#redact();
    this.#text.append(this.#redactor.flush());
  }

  /** Writes a segment, at the end of a line. */
  async flush(signal: AbortSignal): Promise<void> {
    if (this.#marker === undefined) return;
    this.drain();
    await this.#text.flush(this.#marker.timestamp, signal);
  }

  begin(timestamp: string | undefined): void {
    this.#foreign = timestamp === undefined;
    this.unreadable ||= this.#foreign && this.#final;
    this.#timestamp = timestamp;
    this.#length = 0;
    if (this.#skipping && timestamp !== undefined) this.#lookForMarker(timestamp);
  }

  content(bytes: Buffer): void {
    this.#length += bytes.length;
    if (this.#skipping || this.#foreign) return;
    if (this.#length <= LONGEST_HELD_LINE) this.#line.push(bytes);
    else if (this.#final) {
      this.#emitLine();
      this.#emit(bytes);
    }
  }

  end(): void {
    if (this.#foreign || this.#skipping) return;
    // The rest of this read is of no use: it cannot be taken before this line is.
    if (!this.#final && this.#length > LONGEST_HELD_LINE) throw new LineTooLong();
    this.#emitLine();
    this.#emit(NEWLINE);
    this.#lineIsWhole = true;
    if (this.#timestamp !== undefined) this.#mark(this.#timestamp);
  }

  /** Ends the skipping at the first line that is new. */
  #lookForMarker(timestamp: string): void {
    const marker = this.#marker;
    if (marker === undefined) return;
    const order = compareTimestamps(timestamp, marker.timestamp);
    const known = marker.lines ?? Infinity;
    if (order === 0 && this.#met < known) {
      this.#met += 1;
      return;
    }
    if (order <= 0 && this.#met < known) return;
    if (this.#met >= known && this.#metBehind < marker.behind) {
      this.#metBehind += 1;
      return;
    }
    this.#skipping = false;
    if (this.#met > 0) return;
    // Later than the last line that is known, and that one did not come: its file is gone.
    this.gaps += 1;
    this.#emit(Buffer.from(`--- gap: log between ${marker.timestamp} and ${timestamp} was rotated away ---\n`));
  }

  #mark(timestamp: string): void {
    this.#firstTimestamp ??= timestamp;
    const marker = this.#marker;
    const order = marker === undefined ? 1 : compareTimestamps(timestamp, marker.timestamp);
    if (marker === undefined || order > 0) this.#marker = { timestamp, lines: 1, behind: 0 };
    else if (order === 0 && marker.behind === 0 && marker.lines !== undefined) marker.lines += 1;
    else marker.behind += 1;
  }

  #emitLine(): void {
    for (const piece of this.#line) this.#emit(piece);
    this.#line = [];
  }

  #emit(bytes: Buffer): void {
    this.#lineIsWhole = false;
    this.taken += bytes.length;
    this.#out.push(bytes);
  }

  #redact(): void {
    if (this.#out.length === 0) return;
    this.#text.append(this.#redactor.push(Buffer.concat(this.#out)));
    this.#out = [];
  }

  async #flushFull(signal: AbortSignal): Promise<void> {
    const marker = this.#marker;
    if (!this.#text.isFull || marker === undefined) return;
    // What the redactor holds belongs to lines that the segment's name says are in it.
    if (this.#lineIsWhole) this.drain();
    await this.#text.flush(marker.timestamp, signal);
  }

  /**
   * Nobody says that the kubelet has rotated. But where the log begins later than its container, and at the speed at
   * which it grows that time would have filled a file, it has.
   */
  #judgeHead(): void {
    if (this.#startedAt === undefined || this.#firstTimestamp === undefined || this.#marker === undefined) return;
    const first = Date.parse(this.#firstTimestamp);
    const silent = (first - Date.parse(this.#startedAt)) / 1000;
    const spoken = Math.max(1, (Date.parse(this.#marker.timestamp) - first) / 1000);
    this.headLost = silent > 1 && (this.taken / spoken) * silent >= ROTATION;
  }
}

export class LineTooLong extends Error {
  override readonly name = 'LineTooLong';
}
