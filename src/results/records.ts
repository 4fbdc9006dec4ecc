import type { Manifest } from '../crds/manifest.ts';
import type { WorldRunStatus } from '../crds/world-run-status.ts';
import type { RunStore } from './contract.ts';
import { JSON_TYPE, jsonBytes, readJson } from './documents.ts';
import { recordKey } from './keys.ts';

/**
 * `<clientRunId>/run.json`: whose results these are, and how the run ended. It outlives the WorldRun, so that a run
 * that is applied again is adopted and not executed, and so that what nobody owns is found and removed.
 */
export interface RunRecord {
  version: 1;
  clientRunId: string;
  namespace: string;
  /** Another namespace of the same name is another tenant: it adopts nothing. */
  namespaceUid?: string;
  name: string;
  uid: string;
  runKey?: string;
  specDigest?: string;
  /** Open: something is stored, the run has not ended. */
  state: 'Open' | 'Finished';
  /** As recorded in the WorldRun; present once finished. */
  status?: WorldRunStatus;
  manifest?: Manifest;
  /** RFC 3339. */
  finishedAt?: string;
  /** Bytes below the run's prefix when the record was written. */
  bytes?: number;
  /** RFC 3339: the sweep removes everything of the run from then on. */
  removeAt?: string;
}

/** Replaces the record of its run. Throws StoreError. */
export async function putRecord(store: RunStore, record: RunRecord, signal?: AbortSignal): Promise<void> {
  await store.replace(recordKey(record.clientRunId), jsonBytes(record), JSON_TYPE, signal);
}

/** Finds the record of a run by what it asked for, where nobody gave it a `runKey`. `id` is a UUID. Throws StoreError. */
export async function putPurchase(
  store: RunStore,
  id: string,
  { clientRunId }: RunRecord,
  signal?: AbortSignal,
): Promise<void> {
  await store.replace(purchaseKey(id), jsonBytes({ clientRunId }), JSON_TYPE, signal);
}

/** Undefined when nothing was bought under this id, or its record is gone. Throws StoreError. */
export async function getPurchase(store: RunStore, id: string, signal?: AbortSignal): Promise<RunRecord | undefined> {
  const found = (await readJson(store, purchaseKey(id), signal)) as { clientRunId: string } | undefined;
  return found === undefined ? undefined : getRecord(store, found.clientRunId, signal);
}

const purchaseKey = (id: string): string => `purchases/${id}.json`;

/** Undefined when nothing of this run is stored. Throws StoreError. */
export async function getRecord(
  store: RunStore,
  clientRunId: string,
  signal?: AbortSignal,
): Promise<RunRecord | undefined> {
  const found = (await readJson(store, recordKey(clientRunId), signal)) as RunRecord | undefined;
  return found?.version === 1 ? found : undefined;
}
