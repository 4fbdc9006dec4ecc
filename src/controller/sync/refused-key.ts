import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { RunStore } from '../../results/contract.ts';
import { JSON_TYPE, jsonBytes, readJson } from '../../results/documents.ts';
import type { SyncTarget } from './plan.ts';

/**
 * Which version of a Secret a target has refused, in the run store: an operator that starts anew must not try the same key
 * again. It holds nothing that is made from the key.
 */

const document = z.object({ version: z.string() });

function prefixOf({ baseURL, key }: SyncTarget): string {
  const about = JSON.stringify([baseURL, key.namespace, key.name, key.key]);
  return `sync-refused/${createHash('sha256').update(about).digest('hex').slice(0, 32)}/`;
}

export async function loadRefused(
  store: RunStore,
  target: SyncTarget,
  signal?: AbortSignal,
): Promise<string | undefined> {
  return document.safeParse(await readJson(store, `${prefixOf(target)}key.json`, signal)).data?.version;
}

export async function saveRefused(store: RunStore, target: SyncTarget, version: string): Promise<void> {
  await store.replace(`${prefixOf(target)}key.json`, jsonBytes({ version }), JSON_TYPE);
}

export async function forgetRefused(store: RunStore, target: SyncTarget, signal?: AbortSignal): Promise<void> {
  await store.remove(prefixOf(target), signal);
}
