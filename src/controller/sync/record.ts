import { z } from 'zod';
import type { RunStore } from '../../results/contract.ts';
import { JSON_TYPE, jsonBytes, readJson } from '../../results/documents.ts';

/**
 * `<clientRunId>/sync.json`: how far a run has got upstream. Written before each request that changes something there,
 * so that an operator that was killed knows what it may have begun.
 */

const artifact = z.object({
  name: z.string(),
  path: z.string(),
  rank: z.int().nullable(),
  sizeBytes: z.int(),
  /** Lower-case hex. */
  sha256: z.string(),
  contentType: z.string(),
  /** The run's log, redacted once more on its way, rather than an object of the store. */
  log: z.boolean(),
  state: z.enum(['Pending', 'Initiated', 'Uploaded', 'Committed', 'Aborted', 'Skipped']),
  /** As upstream calls it, once it was initiated. */
  artifactId: z.string().optional(),
  message: z.string().optional(),
});
export type SyncArtifact = z.infer<typeof artifact>;

const record = z.object({
  version: z.literal(1),
  clientRunId: z.string(),
  run: z.object({ namespace: z.string(), name: z.string(), uid: z.string() }),
  /** Where it was begun. A key belongs to this origin and is never sent to another. */
  target: z.object({ profile: z.string(), baseURL: z.string(), project: z.string() }),
  /** Of the manifest as recorded. */
  recordedDigest: z.string(),
  /** Of the bytes that are sent. */
  manifestDigest: z.string(),
  /** The request that is being made, or was when the operator died. */
  doing: z.object({ request: z.string(), artifact: z.string().optional(), at: z.string() }).nullable(),
  log: z.enum(['Inline', 'Artifact', 'None']),
  /** The run was accepted. */
  accepted: z.boolean(),
  cloudRunId: z.string().optional(),
  artifacts: z.array(artifact),
  /** The move that was asked for last, and whether it is known to have been made. */
  ledger: z.object({ expected: z.string().nullable(), head: z.string(), moved: z.boolean().default(false) }).nullable(),
  /** Everything is there. */
  done: z.boolean(),
});
export type SyncRecord = z.infer<typeof record>;

export const syncRecordKey = (clientRunId: string): string => `${clientRunId}/sync.json`;
/** The very bytes that were sent: an operator with other redaction rules must not send others. */
export const sentManifestKey = (clientRunId: string, recordedDigest: string): string =>
  `${clientRunId}/sync/manifest-${recordedDigest.replace(/^sha256:/, '').slice(0, 16)}.json`;

/** A marker for each run that may have uploads open upstream: found after a restart without reading every run. */
const OPEN_PREFIX = 'sync-open/';
const openPrefix = (clientRunId: string): string => `${OPEN_PREFIX}${clientRunId}/`;

/** Undefined where there is none, and where it is of a version that this operator does not know. */
export async function loadRecord(
  store: RunStore,
  clientRunId: string,
  signal?: AbortSignal,
): Promise<SyncRecord | undefined> {
  const found = record.safeParse(await readJson(store, syncRecordKey(clientRunId), signal));
  return found.success ? found.data : undefined;
}

export async function saveRecord(store: RunStore, value: SyncRecord, signal?: AbortSignal): Promise<void> {
  await store.replace(syncRecordKey(value.clientRunId), jsonBytes(value), JSON_TYPE, signal);
}

export async function markOpen(store: RunStore, clientRunId: string, signal?: AbortSignal): Promise<void> {
  await store.replace(`${openPrefix(clientRunId)}open.json`, jsonBytes({ clientRunId }), JSON_TYPE, signal);
}

export async function unmarkOpen(store: RunStore, clientRunId: string, signal?: AbortSignal): Promise<void> {
  await store.remove(openPrefix(clientRunId), signal);
}

export async function* openRuns(store: RunStore, signal?: AbortSignal): AsyncGenerator<string> {
  for await (const { key } of store.list(OPEN_PREFIX, signal)) {
    const id = key.split('/')[1];
    if (id !== undefined) yield id;
  }
}

/** Begun upstream and neither committed nor taken back. */
export const isOpen = ({ state, artifactId }: SyncArtifact): boolean =>
  (state === 'Initiated' || state === 'Uploaded') && artifactId !== undefined;
