import type { RunStore } from './contract.ts';
import { JSON_TYPE, jsonBytes } from './documents.ts';
import { runPrefix } from './keys.ts';
import { getRecord, putRecord } from './records.ts';

/**
 * What is to be removed from the store, and when. Each is a small object whose key begins with its time, so that a
 * sweep reads only what is due, however much is stored, and so that it survives every restart.
 */

const PREFIX = 'removals/';
/** Seconds since the epoch, in as many digits as sort well until the year 5138. */
const keyOf = (removeAt: number, clientRunId: string): string =>
  `${PREFIX}${String(Math.floor(removeAt / 1000)).padStart(11, '0')}-${clientRunId}`;

/** From `removeAt` (milliseconds since the epoch) on, everything of the run may go. Throws StoreError. */
export async function planRemoval(
  store: RunStore,
  clientRunId: string,
  removeAt: number,
  signal?: AbortSignal,
): Promise<void> {
  await store.replace(keyOf(removeAt, clientRunId), jsonBytes({ clientRunId }), JSON_TYPE, signal);
}

/** Marks the record of a deleted run; nothing happens where none is stored. Throws StoreError. */
export async function tombstone(
  store: RunStore,
  clientRunId: string,
  uid: string,
  removeAt: number,
  signal?: AbortSignal,
): Promise<void> {
  const record = await getRecord(store, clientRunId, signal);
  // A later run with the same runKey has taken the place: what is stored is its own.
  if (record === undefined || record.uid !== uid) return;
  const earlier = Date.parse(record.removeAt ?? '');
  const at = Number.isNaN(earlier) ? removeAt : Math.min(earlier, removeAt);
  await putRecord(store, { ...record, removeAt: new Date(at).toISOString() }, signal);
  await planRemoval(store, clientRunId, at, signal);
}

/**
 * Removes what is due at `now`. The record decides, not the plan: a run of the same key that was recorded since has
 * another time, or none. `spared` runs are looked at again in the next sweep. Answers whose
 * results are gone. Throws StoreError.
 */
export async function removeDue(
  store: RunStore,
  now: number,
  spared: (clientRunId: string) => boolean,
  signal?: AbortSignal,
): Promise<{ clientRunId: string; namespace: string }[]> {
  const removed = [];
  for await (const { key } of store.list(PREFIX, signal)) {
    const [, seconds, clientRunId] = /^removals\/(\d+)-(.+)$/.exec(key) ?? [];
    if (seconds === undefined || clientRunId === undefined) continue;
    if (Number(seconds) * 1000 > now) break;
    if (spared(clientRunId)) continue;
    const record = await getRecord(store, clientRunId, signal);
    if (record !== undefined && Date.parse(record.removeAt ?? '') <= now) {
      await store.remove(runPrefix(clientRunId), signal);
      removed.push({ clientRunId, namespace: record.namespace });
    }
    await store.remove(key, signal);
  }
  return removed;
}
