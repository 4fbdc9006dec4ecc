import type { RunAttempt } from './contract.ts';

/** A run without its attempts. */
export type RunKey = Pick<RunAttempt, 'clientRunId' | 'runUid'>;

/** Where everything of a run lies in the store; the first segment is the clientRunId. */

export const runPrefix = (clientRunId: string): string => `${clientRunId}/`;
export const recordKey = (clientRunId: string): string => `${clientRunId}/run.json`;
export const attemptPrefix = ({ clientRunId, runUid, attempt }: RunAttempt): string =>
  `${clientRunId}/${runUid}/attempts/${attempt}/`;
/** A run's calls to vendors, one JSON line each, over all attempts; put together from the segments when it has ended. */
export const providerEventsKey = (key: RunKey): string => `${key.clientRunId}/${key.runUid}/provider-events.jsonl`;
export const providerEventSegmentPrefix = (key: RunKey): string => `${key.clientRunId}/${key.runUid}/provider-events/`;
export const rankPrefix = (key: RunAttempt, rank: number): string => `${attemptPrefix(key)}rank-${rank}/`;
export const resultKey = (key: RunAttempt, rank: number): string => `${rankPrefix(key, rank)}result.json`;
export const logKey = (key: RunAttempt, rank: number): string => `${rankPrefix(key, rank)}log.txt`;
export const logRecordKey = (key: RunAttempt, rank: number): string => `${rankPrefix(key, rank)}log.json`;
export const logSegmentPrefix = (key: RunAttempt, rank: number): string => `${rankPrefix(key, rank)}log-segments/`;
export const seriesKey = (key: RunAttempt, rank: number, sha256: string): string =>
  `${rankPrefix(key, rank)}series/${sha256.slice(0, 16)}/series.jsonl`;
/** The digest stands in the key: a collector that uploads a changed file again meets no write-once object. */
export const artifactKey = (key: RunAttempt, rank: number, sha256: string, fileName: string): string =>
  `${rankPrefix(key, rank)}artifacts/${sha256.slice(0, 16)}/${fileName}`;

const SEGMENT = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$/;

/** True for a key that can be a path below a folder and an S3 key alike: no empty, hidden or `..` segment. */
export function isKey(key: string): boolean {
  return key.length <= 900 && key.split('/').every((segment) => SEGMENT.test(segment));
}

/** True for the empty prefix, and for a key with a slash at its end. */
export function isPrefix(prefix: string): boolean {
  return prefix === '' || (prefix.endsWith('/') && isKey(prefix.slice(0, -1)));
}

const MIB = 1024 * 1024;

/** Bytes of each part of an upload but the last: 64 MiB, more where that would make over 256 parts. */
export function partSize(size: number): number {
  return Math.max(64 * MIB, Math.ceil(size / 256 / MIB) * MIB);
}

/** Number, offset and size of every part; one empty part for an empty object. */
export function partsOf(size: number): { number: number; offset: number; size: number }[] {
  const each = partSize(size);
  const count = Math.max(1, Math.ceil(size / each));
  return Array.from({ length: count }, (_, i) => ({
    number: i + 1,
    offset: i * each,
    size: Math.min(each, size - i * each),
  }));
}
