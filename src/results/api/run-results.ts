import { Readable } from 'node:stream';
import { digestOf, type Manifest } from '../../crds/manifest.ts';
import type { StoredArtifact } from '../../crds/world-run-status.ts';
import type { RunAttempt, RunStore, StoredObject } from '../contract.ts';
import { readRunEvents } from '../event-log.ts';
import { isKey, logKey, logSegmentPrefix } from '../keys.ts';
import { getRecord, type RunRecord } from '../records.ts';
import { RESULTS, RESULTS_API_VERSION, type ArtifactItem, type ArtifactList } from './protocol.ts';
import { badRequest, notFound } from './refusal.ts';
import type { WorldRun } from './world-run.ts';

/** The run's identity in the store. */
export type ClientRunIdOf = (run: { namespace: string; uid: string; runKey: string | undefined }) => string;

/** An artifact with its key; none for one that is not stored. */
export interface FoundArtifact {
  item: ArtifactItem;
  key: string | undefined;
}

/**
 * What the store holds of one live WorldRun, found by its uid alone. A run of the same name that was there before, in
 * this namespace or in a deleted one of its name, has another uid and so another place in the store.
 */
export class RunResults {
  readonly #store: RunStore;
  readonly #run: WorldRun;
  readonly #clientRunId: string;
  /** The run that did the work: this one, or the earlier one that it adopted by its `runKey`. */
  readonly #doer: string;
  readonly #record: RunRecord | undefined;

  private constructor(store: RunStore, run: WorldRun, clientRunId: string, record: RunRecord | undefined) {
    this.#store = store;
    this.#run = run;
    this.#clientRunId = clientRunId;
    this.#record = record;
    this.#doer = record?.uid ?? uidOf(run);
  }

  /** Throws StoreError. */
  static async of(store: RunStore, run: WorldRun, idOf: ClientRunIdOf, signal: AbortSignal): Promise<RunResults> {
    const namespace = run.metadata?.namespace ?? '';
    const clientRunId = idOf({ namespace, uid: uidOf(run), runKey: run.spec.runKey });
    const record = await getRecord(store, clientRunId, signal);
    const owned =
      record?.state === 'Finished' &&
      record.namespace === namespace &&
      (record.uid === uidOf(run) || adopted(run, record));
    return new RunResults(store, run, clientRunId, owned ? record : undefined);
  }

  /** The whole manifest; the status holds only the head of a large one. */
  manifest(): unknown {
    const inStatus = this.#run.status?.manifest;
    const whole = this.#record?.manifest ?? (isWhole(inStatus) ? inStatus : undefined);
    if (whole !== undefined) return whole;
    if (inStatus !== undefined) throw notFound('the whole manifest is not in the run store; its head is in the status');
    throw notFound(`the run has no manifest yet: it is ${this.#run.status?.phase ?? 'Pending'}`);
  }

  artifacts(): ArtifactList {
    const { namespace = '', name = '' } = this.#run.metadata ?? {};
    return {
      apiVersion: RESULTS_API_VERSION,
      kind: RESULTS.artifacts,
      metadata: { namespace, name, uid: uidOf(this.#run) },
      complete: this.#run.status?.conditions?.some((c) => c.type === 'Finished' && c.status === 'True') ?? false,
      items: this.#found().map(({ item }) => item),
    };
  }

  /** Throws ApiRefusal for one that is not there, not stored, or not the only one of its name. */
  artifact(name: string, rank: number | undefined): FoundArtifact & { key: string } {
    const named = this.#found().filter(({ item }) => item.name === name && (rank === undefined || item.rank === rank));
    const [first, second] = named;
    if (first === undefined) {
      const names = [...new Set(this.#found().map(({ item }) => item.name))].join(', ');
      const which = rank === undefined ? name : `${name} of rank ${rank}`;
      throw notFound(`the run has no artifact ${which}${names === '' ? '' : `; it has: ${names}`}`);
    }
    if (second !== undefined) {
      throw badRequest(
        `several ranks left an artifact ${name}; name one with rank=${named.map(({ item }) => item.rank).join('|')}`,
      );
    }
    const { item, key } = first;
    if (key === undefined)
      throw notFound(`artifact ${name} is ${item.state}${item.message === undefined ? '' : `: ${item.message}`}`);
    return { item, key };
  }

  /**
   * The log of one attempt and node: the whole once it ended, until then the segments stored so far. Throws ApiRefusal
   * when nothing is stored.
   */
  async log(rank: number, attempt: number | undefined, signal: AbortSignal): Promise<StoredObject | Readable> {
    const status = this.#record?.status ?? this.#run.status;
    const which: RunAttempt = {
      clientRunId: this.#clientRunId,
      runUid: this.#doer,
      attempt: attempt ?? Math.max(1, status?.attemptCount ?? status?.attempts?.at(-1)?.number ?? 1),
    };
    const whole = await this.#store.get(logKey(which, rank), signal);
    if (whole !== undefined) return whole;
    const segments: string[] = [];
    for await (const { key } of this.#store.list(logSegmentPrefix(which, rank), signal)) segments.push(key);
    if (segments.length > 0) return Readable.from(this.#joined(segments, signal), { objectMode: false });
    throw notFound(`nothing is stored of the log of attempt ${which.attempt}${rank === 0 ? '' : `, rank ${rank}`}`);
  }

  /** Lines of JSON, oldest first; empty where no call served the run. Throws StoreError. */
  events(signal: AbortSignal): Promise<string> {
    return readRunEvents(this.#store, { clientRunId: this.#clientRunId, runUid: this.#doer }, signal);
  }

  async *#joined(keys: readonly string[], signal: AbortSignal): AsyncGenerator<Buffer> {
    for (const key of keys) {
      // Gone since it was listed: the log ended meanwhile. Ending here would pass a part off as the whole so far.
      const segment = await this.#store.get(key, signal);
      if (segment === undefined) throw new Error('the log ended while it was read');
      for await (const chunk of await segment.open(undefined, signal)) yield chunk as Buffer;
    }
  }

  #found(): FoundArtifact[] {
    const inStatus = this.#run.status?.artifacts ?? [];
    const { artifacts: listed = inStatus, artifactCount = listed.length } =
      this.#record?.status ?? this.#run.status ?? {};
    const all =
      this.#record?.manifest !== undefined && listed.length < artifactCount
        ? fromManifest(this.#record.manifest)
        : listed;
    return all.map((artifact) => this.#artifactOf(artifact));
  }

  /** A status can be edited by whoever was given that right; a key outside this run's part of the store is never read. */
  #artifactOf({
    path,
    name,
    rank = 0,
    state,
    commit,
    sizeBytes,
    count,
    sha256,
    treeDigest,
    contentType,
    message,
  }: StoredArtifact): FoundArtifact {
    const own = isKey(path) && path.startsWith(`${this.#clientRunId}/${this.#doer}/`);
    const stored = state === 'Stored';
    const key = stored && own ? path : undefined;
    const item: ArtifactItem = {
      name,
      rank,
      state: stored && !own ? 'Failed' : state,
      commit,
      ...(key !== undefined && { fileName: key.slice(key.lastIndexOf('/') + 1) }),
      ...(sizeBytes !== undefined && { sizeBytes }),
      ...(count !== undefined && { count }),
      ...(sha256 !== undefined && { sha256: withAlgorithm(sha256) }),
      ...(treeDigest !== undefined && { treeDigest: withAlgorithm(treeDigest) }),
      ...(contentType !== undefined && { contentType }),
      ...(message !== undefined && { message }),
      ...(stored && !own && { message: 'its bytes are not this run’s' }),
    };
    return { item, key };
  }
}

const uidOf = (run: WorldRun): string => run.metadata?.uid ?? '';

const withAlgorithm = (digest: string): string => (digest.startsWith('sha256:') ? digest : `sha256:${digest}`);

/** The controller took an earlier run's record over as this run's own, by their common `runKey`. */
function adopted({ status }: WorldRun, record: RunRecord): boolean {
  const succeeded = status?.conditions?.find((c) => c.type === 'Succeeded');
  return (
    succeeded?.reason === 'AlreadyRecorded' &&
    record.manifest !== undefined &&
    status?.manifestDigest === digestOf(record.manifest)
  );
}

function isWhole(manifest: Record<string, unknown> | undefined): boolean {
  return manifest !== undefined && manifest['excerpt'] !== true;
}

function fromManifest({ artifacts }: Manifest): StoredArtifact[] {
  return artifacts.map(({ name, path, rank, size_bytes, count, sha256, tree_digest, content_type, commit, state }) => ({
    name,
    path,
    commit,
    state: state as StoredArtifact['state'],
    ...(rank !== null && { rank }),
    ...(size_bytes !== null && { sizeBytes: size_bytes }),
    ...(count !== null && { count }),
    ...(sha256 !== null && { sha256 }),
    ...(tree_digest !== null && { treeDigest: tree_digest }),
    ...(content_type !== null && { contentType: content_type }),
  }));
}
