import { createHash } from 'node:crypto';
import { pipeline, type Readable } from 'node:stream';
import { digestOf, type Manifest } from '../../crds/manifest.ts';
import type { RunAttempt, RunStore } from '../../results/contract.ts';
import { readAll } from '../../results/documents.ts';
import { isKey, rankPrefix } from '../../results/keys.ts';
import { getRecord } from '../../results/records.ts';
import { UploadSet, type TextRedactor } from '../../upstream/upload-set.ts';
import { SyncFailure } from './failure.ts';
import type { SyncCluster, SyncRun } from './ports.ts';
import { sentManifestKey, type SyncArtifact } from './record.ts';

/** What is sent of one run, read from where it was recorded. */
export interface Prepared {
  readonly set: UploadSet;
  /** Where the attempt's objects lie; undefined where nothing was stored. */
  readonly attempt: RunAttempt | undefined;
  readonly log: StoredText | undefined;
}

interface StoredText {
  /** In the run store. */
  readonly key: string;
  /** As upstream sees it. */
  readonly path: string;
  /** Bytes, before the second redaction. */
  readonly bytes: number;
}

export interface Sources {
  readonly store: RunStore;
  readonly cluster: Pick<SyncCluster, 'readManifest'>;
  readonly redactor: TextRedactor;
}

/** Throws SyncFailure when the record cannot be read, or is not the one in the status. */
export async function prepare(sources: Sources, run: SyncRun, signal: AbortSignal): Promise<Prepared> {
  const { store, cluster } = sources;
  const record = await getRecord(store, run.clientRunId, signal);
  const inStore =
    record?.manifest !== undefined && digestOf(record.manifest) === run.manifestDigest ? record.manifest : undefined;
  const recorded: unknown = inStore ?? (await cluster.readManifest(run, signal));
  if (recorded === undefined || digestOf(recorded) !== run.manifestDigest) {
    throw unreadable('The manifest that the status names is neither in the run store nor in the status.');
  }
  const set = await uploadSet(sources, run, recorded, signal);
  const attempt = inStore?.attempts.at(-1)?.number;
  const log = inStore === undefined ? undefined : record?.status?.result?.log;
  return {
    set,
    attempt:
      record === undefined || attempt === undefined
        ? undefined
        : { clientRunId: run.clientRunId, runUid: record.uid, attempt },
    log:
      log === undefined || log.bytes === 0
        ? undefined
        : { key: log.path, path: `logs/${(recorded as Manifest).run_id}.log`, bytes: log.bytes },
  };
}

/** The bytes of an earlier try, or new ones, which are stored before they are sent for the first time. */
async function uploadSet(
  { store, redactor }: Sources,
  run: SyncRun,
  recorded: unknown,
  signal: AbortSignal,
): Promise<UploadSet> {
  const key = sentManifestKey(run.clientRunId, run.manifestDigest);
  const sent = await store.get(key, signal);
  if (sent !== undefined) return UploadSet.fromBytes((await readAll(sent, signal)).toString('utf8'));
  const set = UploadSet.fromManifest(recorded, redactor);
  await store.put(key, Buffer.from(set.manifest), 'application/json', signal);
  return set;
}

/** The log once more through the redactor; the caller destroys the stream. */
export async function openLog({ store, redactor }: Sources, log: StoredText, signal: AbortSignal): Promise<Readable> {
  const object = await store.get(log.key, signal);
  if (object === undefined) throw unreadable('The log is not in the run store any more.');
  const clean = redactor.stream();
  // The callback keeps a failing source from being an unhandled error: it reaches the reader through `clean`.
  pipeline(await object.open(undefined, signal), clean, () => undefined);
  return clean;
}

export async function logLines(sources: Sources, log: StoredText, signal: AbortSignal): Promise<string[]> {
  const chunks: Buffer[] = [];
  for await (const chunk of await openLog(sources, log, signal)) chunks.push(Buffer.from(chunk as Buffer));
  const lines = Buffer.concat(chunks).toString('utf8').split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

/** The log as an artifact. Its size and digest are only known after redaction, so it is read twice and held never. */
export async function logArtifact(sources: Sources, log: StoredText, signal: AbortSignal): Promise<SyncArtifact> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  for await (const chunk of await openLog(sources, log, signal)) {
    hash.update(chunk as Buffer);
    sizeBytes += (chunk as Buffer).length;
  }
  return {
    name: 'log',
    path: log.path,
    rank: null,
    sizeBytes,
    sha256: hash.digest('hex'),
    contentType: 'text/plain; charset=utf-8',
    log: true,
    state: 'Pending',
  };
}

/** The committed artifacts of a set, none of them begun. */
export function artifactsOf(set: UploadSet): SyncArtifact[] {
  return set.artifacts.map(({ name, path, rank, sizeBytes, sha256, contentType }) => ({
    name,
    path,
    rank,
    sizeBytes,
    sha256,
    contentType,
    log: false,
    state: 'Pending',
  }));
}

/** The stored bytes of an artifact, found by the digest that stands in their key, or by the key that was recorded. */
export async function openArtifact(
  store: RunStore,
  attempt: RunAttempt,
  artifact: SyncArtifact,
  signal: AbortSignal,
): Promise<Readable> {
  const prefix = `${rankPrefix(attempt, artifact.rank ?? 0)}artifacts/${artifact.sha256.slice(0, 16)}/`;
  for await (const { key, size } of store.list(prefix, signal)) {
    if (size !== artifact.sizeBytes) continue;
    const object = await store.get(key, signal);
    if (object !== undefined) return object.open(undefined, signal);
  }
  // A vendor's results are streamed into the store, so that their digest is known only afterwards.
  if (isKey(artifact.path) && artifact.path.startsWith(rankPrefix(attempt, artifact.rank ?? 0))) {
    const object = await store.get(artifact.path, signal);
    if (object?.size === artifact.sizeBytes) return object.open(undefined, signal);
  }
  throw new MissingBytes('the bytes are not in the run store any more');
}

/** Bytes that are gone, or are not those that were recorded: trying again will not bring them back. */
export class MissingBytes extends Error {
  override readonly name = 'MissingBytes';
}

function unreadable(message: string): SyncFailure {
  return new SyncFailure({ scope: 'Run', reason: 'RecordUnreadable', message, retry: 'Backoff' });
}
