import { open } from 'node:fs/promises';
import { LARGEST_SERIES } from '../protocol.ts';
import { OutputError, type OutputTree } from './output-tree.ts';
import type { Clean } from './words.ts';

export interface Series {
  bytes: number;
  lines: number;
  /** Lines that were no `{"step":n,"name":"…","value":x}`, or beyond the limit. */
  dropped: number;
}

const LONGEST_LINE = 4096;
const CHUNK = 256 * 1024;

/**
 * Copies the good lines of a series into a file of ours, whatever the user's file is; undefined when there is none.
 * Memory is bounded: a line without an end is dropped, not gathered.
 */
export async function filterSeries(
  tree: OutputTree,
  path: string,
  copy: string,
  { signal, clean }: { signal: AbortSignal; clean: Clean },
): Promise<Series | undefined> {
  const found = await tree.openFile(path).catch((error: unknown) => {
    if (error instanceof OutputError) return undefined;
    throw error;
  });
  if (found === undefined) return undefined;
  const out = await open(copy, 'w', 0o600);
  const series: Series = { bytes: 0, lines: 0, dropped: 0 };
  try {
    const buffer = Buffer.alloc(CHUNK);
    let line = '';
    let tooLong = false;
    for (let at = 0; at < found.size;) {
      signal.throwIfAborted();
      const { bytesRead } = await found.handle.read(buffer, 0, CHUNK, at);
      if (bytesRead === 0) break;
      at += bytesRead;
      const good: string[] = [];
      // Latin1 keeps every byte, also of a character that the chunk's end cuts in two.
      const pieces = buffer.toString('latin1', 0, bytesRead).split('\n');
      for (const [i, piece] of pieces.entries()) {
        if (!tooLong) line += piece;
        tooLong = line.length > LONGEST_LINE;
        if (i === pieces.length - 1) break;
        take(tooLong ? undefined : line, clean, series, good);
        line = '';
        tooLong = false;
      }
      await out.write(Buffer.from(good.join(''), 'latin1'));
    }
    const good: string[] = [];
    if (line.trim() !== '') take(tooLong ? undefined : line, clean, series, good);
    await out.write(Buffer.from(good.join(''), 'latin1'));
    return series;
  } finally {
    await Promise.all([out.close(), found.handle.close()]);
  }
}

/** The step of the last good line; undefined where there is none. */
export async function lastStep(tree: OutputTree, path: string): Promise<number | undefined> {
  const found = await tree.openFile(path).catch(() => undefined);
  if (found === undefined) return undefined;
  try {
    const buffer = Buffer.alloc(Math.min(found.size, 2 * LONGEST_LINE));
    const { bytesRead } = await found.handle.read(buffer, 0, buffer.length, found.size - buffer.length);
    // What stands before the first line break may be half a line; what stands behind the last one is not yet whole.
    const lines = buffer.subarray(0, bytesRead).toString('utf8').split('\n').slice(0, -1);
    for (const line of lines.toReversed()) {
      const point = parsePoint(line);
      if (point?.step !== undefined) return point.step;
    }
    return undefined;
  } finally {
    await found.handle.close();
  }
}

/** `line` is bytes as latin1, and so is what is kept. */
function take(line: string | undefined, clean: Clean, series: Series, good: string[]): void {
  if (line?.trim() === '') return;
  const kept = line === undefined ? undefined : withoutSecrets(line, clean);
  const bytes = (kept?.length ?? 0) + 1;
  if (kept === undefined || series.bytes + bytes > LARGEST_SERIES) {
    series.dropped += 1;
    return;
  }
  good.push(`${kept}\n`);
  series.lines += 1;
  series.bytes += bytes;
}

/** Undefined for a line that is no point, or is none any more. */
function withoutSecrets(line: string, clean: Clean): string | undefined {
  const text = Buffer.from(line, 'latin1').toString('utf8');
  const point = parsePoint(text);
  if (point === undefined) return undefined;
  const { step, name, value, isBare } = point;
  if (!isBare) {
    // Whatever else stands there is kept, and is as much the words of the run's code as the name.
    const cleaned = clean(text);
    if (cleaned === text) return line;
    return parsePoint(cleaned) === undefined ? undefined : Buffer.from(cleaned).toString('latin1');
  }
  const cleanName = clean(name);
  if (cleanName === name) return line;
  return Buffer.from(JSON.stringify({ step, name: cleanName.slice(0, LONGEST_NAME), value })).toString('latin1');
}

interface Point {
  step: number | undefined;
  name: string;
  value: number;
  /** Nothing else stands in the line. */
  isBare: boolean;
}

const LONGEST_NAME = 128;

function parsePoint(line: string): Point | undefined {
  let point: unknown;
  try {
    point = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof point !== 'object' || point === null) return undefined;
  const { step, name, value, ...more } = point as { step?: unknown; name?: unknown; value?: unknown };
  if (typeof name !== 'string' || name === '' || name.length > LONGEST_NAME) return undefined;
  if (typeof value !== 'number' || !Number.isFinite(value)) return undefined;
  if (step !== undefined && (typeof step !== 'number' || !Number.isSafeInteger(step) || step < 0)) return undefined;
  return { step, name, value, isBare: Object.keys(more).length === 0 };
}
