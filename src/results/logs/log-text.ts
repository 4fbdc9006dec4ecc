import type { RunAttempt, RunStore } from '../contract.ts';
import { logKey, logSegmentPrefix } from '../keys.ts';
import { isStoreError } from '../store/errors.ts';

const TEXT = 'text/plain; charset=utf-8';
const SEGMENT = 2 * 1024 * 1024;

interface Segment {
  key: string;
  bytes: number;
}

/**
 * One log on its way into the store: first in memory, then in segments, in the end as one object. Over its limit it
 * keeps its head, a quarter, and what is newest.
 */
export class LogText {
  readonly #store: RunStore;
  readonly #key: string;
  readonly #prefix: string;
  readonly #limit: number;
  #segments: Segment[] = [];
  #segmentBytes = 0;
  #number = 0;
  #buffer: Buffer[] = [];
  #dropped = 0;
  /** Index of the first segment behind what was dropped. */
  #dropAt = 0;
  /** Bytes in memory. */
  buffered = 0;

  constructor(store: RunStore, attempt: RunAttempt, rank: number, limit: number) {
    this.#store = store;
    this.#key = logKey(attempt, rank);
    this.#prefix = logSegmentPrefix(attempt, rank);
    this.#limit = limit;
  }

  /** True when something was left out to keep the limit. */
  get truncated(): boolean {
    return this.#dropped > 0;
  }

  /** True when the buffer is large enough to be written. */
  get isFull(): boolean {
    return this.buffered >= SEGMENT;
  }

  /** Picks up the segments of an operator before this one; answers the timestamp of the last line in them. */
  async recover(signal: AbortSignal): Promise<string | undefined> {
    let last: string | undefined;
    for await (const { key, size } of this.#store.list(this.#prefix, signal)) {
      this.#segments.push({ key, bytes: size });
      this.#segmentBytes += size;
      const [, number, timestamp] = /\/(\d{6})-([^/]+)$/.exec(key) ?? [];
      if (timestamp === undefined) continue;
      this.#number = Math.max(this.#number, Number(number));
      last = decodeTimestamp(timestamp);
    }
    return last;
  }

  append(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#buffer.push(bytes);
    this.buffered += bytes.length;
  }

  /** Writes the buffer as a segment; `lastTimestamp` is that of the last line in it. */
  async flush(lastTimestamp: string, signal: AbortSignal): Promise<void> {
    if (this.buffered === 0) return;
    const body = Buffer.concat(this.#buffer);
    const number = String(this.#number + 1).padStart(6, '0');
    const key = `${this.#prefix}${number}-${encodeTimestamp(lastTimestamp)}`;
    await this.#store.replace(key, body, TEXT, signal);
    this.#number += 1;
    this.#segments.push({ key, bytes: body.length });
    this.#segmentBytes += body.length;
    this.#buffer = [];
    this.buffered = 0;
    await this.#keepLimit(signal);
  }

  /** Makes one object of all; write-once, so what an operator before this one made stays. Answers key and bytes. */
  async finish(signal: AbortSignal): Promise<{ path: string; bytes: number }> {
    const path = this.#key;
    let bytes: number;
    try {
      bytes = (await this.#store.write(path, this.#all(signal), TEXT, signal)).size;
    } catch (error) {
      if (!isStoreError(error, 'conflict')) throw error;
      bytes = (await this.#store.get(path, signal))?.size ?? 0;
    }
    if (this.#segments.length > 0) await this.#store.remove(this.#prefix, signal);
    this.#segments = [];
    this.#buffer = [];
    this.buffered = 0;
    return { path, bytes };
  }

  async #keepLimit(signal: AbortSignal): Promise<void> {
    let head = 0;
    let first = 0;
    while (first < this.#segments.length && head < this.#limit / 4) head += this.#segments[first++]?.bytes ?? 0;
    while (this.#segmentBytes > this.#limit && first < this.#segments.length - 1) {
      const [segment] = this.#segments.splice(first, 1);
      if (segment === undefined) return;
      await this.#store.remove(segment.key, signal);
      this.#segmentBytes -= segment.bytes;
      this.#dropped += segment.bytes;
      this.#dropAt = first;
    }
  }

  async *#all(signal: AbortSignal): AsyncGenerator<Buffer> {
    for (const [i, { key }] of this.#segments.entries()) {
      if (this.#dropped > 0 && i === this.#dropAt) yield this.#dropMark();
      const object = await this.#store.get(key, signal);
      if (object === undefined) continue;
      for await (const chunk of await object.open(undefined, signal)) yield chunk as Buffer;
    }
    yield* this.#buffer;
  }

  #dropMark(): Buffer {
    const mib = Math.round(this.#limit / 2 ** 20);
    return Buffer.from(`--- ${this.#dropped} bytes were left out here: the log is over its limit of ${mib} MiB ---\n`);
  }
}

/** Keys hold no colons and plus signs. */
function encodeTimestamp(timestamp: string): string {
  return timestamp.replaceAll(':', '_').replace('+', 'p');
}

function decodeTimestamp(text: string): string {
  return text.replaceAll('_', ':').replace('p', '+');
}
