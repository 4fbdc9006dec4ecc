import type { RunStore, StoredObject } from './contract.ts';
import { StoreError } from './store/errors.ts';

const LARGEST_DOCUMENT = 16 * 1024 * 1024;

/** The whole of a small object. Throws StoreError `tooLarge` above 16 MiB. */
export async function readAll(object: StoredObject, signal?: AbortSignal): Promise<Buffer> {
  if (object.size > LARGEST_DOCUMENT) throw new StoreError('tooLarge', `${object.size} bytes are no document`);
  const chunks: Buffer[] = [];
  for await (const chunk of await object.open(undefined, signal)) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** The JSON value at a key; undefined when nothing is there. */
export async function readJson(store: RunStore, key: string, signal?: AbortSignal): Promise<unknown> {
  const object = await store.get(key, signal);
  if (object === undefined) return undefined;
  return JSON.parse((await readAll(object, signal)).toString('utf8'));
}

export const JSON_TYPE = 'application/json';

export function jsonBytes(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}
