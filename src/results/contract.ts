import type { Readable } from 'node:stream';
import type { StoredArtifact, StoredLog } from '../crds/world-run-status.ts';

/**
 * What the controller, the gateway, the collector and the run store say to each other.
 *
 * The collector (in the run's pod) pushes to the gateway (in the operator), the gateway writes to the run store, and
 * the controller reads what arrived. Nothing here knows Kubernetes objects: only an attempt and its pods.
 */

/** One attempt of one run. `clientRunId` is unique per installation; attempts count from 1. */
export interface AttemptKey {
  clientRunId: string;
  attempt: number;
}

/**
 * An attempt with the WorldRun that made it. Everything in the run store lies below `<clientRunId>/<runUid>/`: two runs
 * with one `runKey` share their clientRunId, and a rerun's first attempt must not meet the first run's write-once objects.
 */
export interface RunAttempt extends AttemptKey {
  runUid: string;
}

/** What the gateway may accept for a live attempt. The controller makes it from the run's spec and profile. */
export interface CollectTask extends AttemptKey {
  namespace: string;
  runName: string;
  runUid: string;
  nodes: number;
  /** Rank of a pod of this attempt, by pod uid; undefined for every other pod. */
  rankOf(podUid: string): number | undefined;
  outputs: {
    metricsFile: string;
    seriesFile: string;
    artifacts: { name: string; path: string; commit: boolean }[];
    ranks: 'Zero' | 'All';
  };
  /** Bytes. */
  maxArtifactBytes: number;
  uploadSeconds: number;
  /**
   * Set on cancel and deadline, and once the user's container is seen to have ended (a collector that was still starting
   * may have missed its SIGTERM): the next progress post is answered with it, and the collector
   * collects and posts its result at once.
   */
  collectNow: boolean;
  /**
   * The pod carries a deletion timestamp. The collector then uploads what is there already while the user's container
   * still uses up its grace period: a sidecar gets SIGTERM only after it, perhaps with two seconds left.
   */
  stopping?: boolean;
}

/** The controller's live view, asked at every request of a collector. */
export interface AttemptDirectory {
  /** `over`: the run has ended or is gone, and nothing more is accepted. Undefined: no such run is known, perhaps not yet. */
  find(clientRunId: string): CollectTask | 'over' | undefined;
}

export interface Progress {
  /** 0–100. */
  percent?: number;
  etaSeconds?: number;
  step?: number;
  /** RFC 3339. */
  updatedAt: string;
}

/** What one rank's collector found, as stored in `result.json` and as the controller records it. */
export interface CollectedResult {
  rank: number;
  podUid: string;
  /** Finite numbers only; empty where the run wrote none. */
  metrics: Record<string, number>;
  /** Entries that were refused: NaN, text, nested, over the limit. */
  metricsOmitted: number;
  /** Why there are no metrics or fewer, in words for the user. */
  metricsProblem?: string;
  series?: { path: string; bytes: number; lines: number; dropped: number };
  artifacts: StoredArtifact[];
  /** How it arrived. Runtime: copied from a vendor. */
  via: 'Gateway' | 'TerminationMessage' | 'Runtime';
  /** What a vendor's runtime says of the work beside its results. */
  runtime?: { metadata: Record<string, string>; durationSeconds: number; costEstimateUSD?: number };
  /** RFC 3339. */
  collectedAt: string;
}

/** Everything the controller knows of an attempt's results without I/O. */
export interface AttemptResults {
  progress: Progress | undefined;
  /** By rank. */
  results: ReadonlyMap<number, CollectedResult>;
  /** By rank, once the final read of the log is stored. */
  logs: ReadonlyMap<number, StoredLog>;
}

/** A file, and what is known of it before it is read. */
export interface StoredObject {
  /** Bytes. */
  size: number;
  contentType: string | undefined;
  /** Bytes `start`..`end` inclusive; the whole without a range. */
  open(range?: { start: number; end: number }, signal?: AbortSignal): Promise<Readable>;
}

/** Where a collector puts the bytes of one upload. */
export interface UploadTarget {
  uploadId: string;
  /** The object is already there with these bytes: nothing to put, commit at once. */
  stored?: boolean;
  /** Further parts follow: initiate again with this uploadId after these are put. */
  more?: boolean;
  /** Parts must be put one after the other. */
  inOrder?: boolean;
  /** The parts still to put. `url` is absolute, or empty where the bytes go to the gateway itself. */
  parts: { number: number; offset: number; size: number; url: string; headers: Record<string, string> }[];
}

export interface UploadRequest {
  /** Full key in the store, such as `<clientRunId>/<runUid>/attempts/1/rank-0/artifacts/<digest>/video.tar`. */
  key: string;
  /** Bytes. */
  size: number;
  /** Lower-case hex of the whole. */
  sha256: string;
  contentType: string;
  /** Lower-case hex of each part of `partSize(size)` bytes; absent for a single part. */
  partSha256?: string[];
  /** Goes on with an upload begun before. */
  uploadId?: string;
}

/**
 * The run store: files in a folder (a PVC) or an S3 bucket. Keys are relative to `v1/<installationId>/`; the first
 * segment is the clientRunId. Objects are write-once: a second write of other bytes to one key is refused, of the same
 * bytes is a success.
 */
export interface RunStore {
  readonly kind: 'Files' | 'S3';
  /** Small documents: manifest, result.json, log segments. At most 16 MiB. */
  put(key: string, body: Buffer, contentType: string, signal?: AbortSignal): Promise<void>;
  /** Replaces what was there: for documents that the operator alone writes and rewrites (index, tombstone). */
  replace(key: string, body: Buffer, contentType: string, signal?: AbortSignal): Promise<void>;
  get(key: string, signal?: AbortSignal): Promise<StoredObject | undefined>;
  /** A write-once object from a stream of unknown length, memory bounded; exists only when the stream ended well. */
  write(
    key: string,
    body: AsyncIterable<Buffer>,
    contentType: string,
    signal?: AbortSignal,
  ): Promise<{ size: number; sha256: string }>;
  /** Keys and sizes below a prefix (which ends in `/`, or is empty), in the order of their bytes. */
  list(prefix: string, signal?: AbortSignal): AsyncIterable<{ key: string; size: number; modifiedAt: Date }>;
  /** Removes everything below a prefix that ends in `/`, uploads included, or the one object of a key; a success when there is nothing. */
  remove(prefix: string, signal?: AbortSignal): Promise<void>;
  /** Large bytes. `initiate` twice for one key and digest gives a target that works. */
  initiate(request: UploadRequest, signal?: AbortSignal): Promise<UploadTarget>;
  /** Verifies length and SHA-256; only then does the object exist. */
  commit(request: UploadRequest, uploadId: string, signal?: AbortSignal): Promise<void>;
  /** Bytes of one part, where `initiate` left the URL empty (files). */
  receive?(
    request: { key: string; uploadId: string; part: number; size: number },
    body: AsyncIterable<Buffer>,
    signal?: AbortSignal,
  ): Promise<void>;
  abort(request: UploadRequest, uploadId: string, signal?: AbortSignal): Promise<void>;
  /** A URL for reading, at most five minutes valid; undefined where the store cannot make one (files). */
  presignedGet(key: string): Promise<string | undefined>;
  /** Removes uploads that nobody finished, begun longer ago than `olderThanMs`; answers how many. */
  sweep(olderThanMs: number, signal?: AbortSignal): Promise<number>;
  /** Answers whether the store takes writes; for readiness. */
  check(signal?: AbortSignal): Promise<void>;
}
