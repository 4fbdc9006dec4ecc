import { Readable } from 'node:stream';

/** A container's log as the kubelet gives it: one file, lines with timestamps, `sinceTime` in whole seconds. */
export class KubeletLog {
  #lines: { timestamp: string; bytes: Buffer; whole: boolean }[] = [];
  #written: Buffer[] = [];
  #nanoseconds = 0n;

  /** Timestamp of the newest line. */
  get now(): string {
    return this.#stamp(this.#nanoseconds);
  }

  #stamp(ns: bigint): string {
    const seconds = new Date(Date.UTC(2026, 0, 1) + Number(ns / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
    return `${seconds}.${String(ns % 1_000_000_000n).padStart(9, '0')}Z`;
  }

  /** Lines a third of a second apart, or all at the moment of the one before. */
  write(lines: string[], sameMoment = false): void {
    for (const line of lines) this.writeBytes(Buffer.from(line.replaceAll('\n', '')), sameMoment);
  }

  writeBytes(bytes: Buffer, sameMoment = false): void {
    if (!sameMoment) this.#nanoseconds += 333_333_333n;
    this.#lines.push({ timestamp: this.now, bytes, whole: true });
    this.#written.push(bytes, Buffer.from('\n'));
  }

  /** A line of the other stream, stamped a little before the newest and written after it. */
  writeLate(line: string): void {
    const timestamp = this.#stamp(this.#nanoseconds > 2000n ? this.#nanoseconds - 2000n : 0n);
    this.#lines.push({ timestamp, bytes: Buffer.from(line), whole: true });
    this.#written.push(Buffer.from(`${line}\n`));
  }

  /** A line that the container has not ended yet. */
  writePartial(text: string): void {
    this.#nanoseconds += 333_333_333n;
    this.#lines.push({ timestamp: this.now, bytes: Buffer.from(text), whole: false });
    this.#written.push(Buffer.from(text));
  }

  /** The kubelet begins a new file and never gives the old one. */
  rotate(): void {
    this.#lines = [];
  }

  /** Everything that was ever written. */
  text(encoding: BufferEncoding = 'utf8'): string {
    return Buffer.concat(this.#written).toString(encoding);
  }

  open(sinceTime?: string, limitBytes?: number, chunk = 1 << 16): Readable {
    const since = sinceTime === undefined ? '' : sinceTime.slice(0, 19);
    const lines = this.#lines.filter(({ timestamp }) => timestamp.slice(0, 19) >= since);
    const all = Buffer.concat(
      lines.flatMap(({ timestamp, bytes, whole }) => [
        Buffer.from(`${timestamp} `),
        bytes,
        Buffer.from(whole ? '\n' : ''),
      ]),
    ).subarray(0, limitBytes);
    const chunks: Buffer[] = [];
    for (let at = 0; at < all.length; at += chunk) chunks.push(all.subarray(at, at + chunk));
    return Readable.from(chunks);
  }
}
