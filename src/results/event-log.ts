import type { RunStore } from './contract.ts';
import { readAll } from './documents.ts';
import { providerEventsKey, providerEventSegmentPrefix, type RunKey } from './keys.ts';
import { isStoreError } from './store/errors.ts';

export const EVENTS_TYPE = 'application/jsonl';
/** Bytes of one run's events; what comes on top is dropped at the end, the oldest are kept. */
const LARGEST_LOG = 4 * 1024 * 1024;

/** Adds lines to a run's provider events: a segment of its own, because objects are written once. Throws StoreError. */
export async function appendRunEvents(
  store: RunStore,
  key: RunKey,
  lines: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  if (lines.length === 0) return;
  // In the order of writing, and never the name of another writer's.
  const name = `${new Date().toISOString().replaceAll(/[-:]/g, '')}-${crypto.randomUUID().slice(0, 8)}.jsonl`;
  await store.put(`${providerEventSegmentPrefix(key)}${name}`, bytesOf(lines), EVENTS_TYPE, signal);
}

/**
 * The run is over: `provider-events.jsonl` is everything that its segments hold, and these lines. Where it is there
 * already, the lines stay a segment beside it. Throws StoreError.
 */
export async function finishRunEvents(
  store: RunStore,
  key: RunKey,
  lines: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  if ((await store.get(providerEventsKey(key), signal)) !== undefined)
    return appendRunEvents(store, key, lines, signal);
  const prefix = providerEventSegmentPrefix(key);
  const pieces = [...(await readSegments(store, prefix, signal)), bytesOf(lines)];
  const whole = Buffer.concat(pieces);
  if (whole.length === 0) return;
  try {
    await store.put(providerEventsKey(key), limited(whole), EVENTS_TYPE, signal);
  } catch (error) {
    if (!isStoreError(error, 'conflict')) throw error;
    return appendRunEvents(store, key, lines, signal);
  }
  await store.remove(prefix, signal);
}

/** Everything that is stored of a run's events, oldest first; empty where there is nothing. Throws StoreError. */
export async function readRunEvents(store: RunStore, key: RunKey, signal?: AbortSignal): Promise<string> {
  // The pieces first: whatever is put together and taken away meanwhile stands in the whole.
  const pieces = await readSegments(store, providerEventSegmentPrefix(key), signal);
  const stored = await store.get(providerEventsKey(key), signal);
  const whole = stored === undefined ? Buffer.alloc(0) : await readAll(stored, signal);
  // Both are there after a death between writing the whole and removing its pieces.
  const beside = pieces.filter((piece) => !whole.includes(piece));
  return limited(Buffer.concat([whole, ...beside])).toString('utf8');
}

async function readSegments(store: RunStore, prefix: string, signal?: AbortSignal): Promise<Buffer[]> {
  const pieces: Buffer[] = [];
  for await (const { key } of store.list(prefix, signal)) {
    const object = await store.get(key, signal);
    if (object !== undefined) pieces.push(await readAll(object, signal));
  }
  return pieces;
}

const bytesOf = (lines: readonly string[]): Buffer => Buffer.from(lines.map((line) => `${line}\n`).join(''));

function limited(whole: Buffer): Buffer {
  if (whole.length <= LARGEST_LOG) return whole;
  const end = whole.lastIndexOf('\n', LARGEST_LOG - 1);
  return whole.subarray(0, end + 1);
}
