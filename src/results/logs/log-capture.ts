import type { Readable } from 'node:stream';
import type { StoredLog } from '../../crds/world-run-status.ts';
import type { AttemptKey, RunAttempt, RunStore } from '../contract.ts';
import type { ResultsHub } from '../hub.ts';

export interface LogRequest {
  namespace: string;
  pod: string;
  container: string;
  /** RFC 3339; absent: from the beginning. */
  sinceTime?: string;
  limitBytes?: number;
  signal: AbortSignal;
}

/** GET pods/log with `timestamps=true`, the raw bytes. Rejects when the pod or its log is gone. */
export type ReadLog = (request: LogRequest) => Promise<Readable>;

export interface TrackedPod {
  namespace: string;
  name: string;
  uid: string;
  container: string;
  rank: number;
  /** RFC 3339, when the user's container started; lets a lost beginning be noticed. */
  startedAt?: string;
  /** The run forwards secrets: nothing of its log is stored before their fingerprints are there. */
  secrets: boolean;
}

export interface LogCaptureOptions {
  store: RunStore;
  hub: ResultsHub;
  readLog: ReadLog;
  /** Bytes kept of one log: its head and its newest part. Default 64 MiB. */
  limitBytes?: number;
  /** Reads begun a second over all pods. Default 20. */
  readsPerSecond?: number;
  onError?: (message: string, cause: unknown) => void;
}

/** Keeps the logs of live attempts' pods before the kubelet rotates or deletes them. */
export class LogCapture {
  readonly options: LogCaptureOptions;
  constructor(options: LogCaptureOptions) {
    this.options = options;
  }
  /** Begins to read; a second call for the same pod only brings `startedAt` up to date. */
  track(_key: RunAttempt, _pod: TrackedPod): void {}
  /**
   * Reads the rest once, stores the whole (`log.txt`) and its record, and shows it in the hub. Call it when the
   * container has ended and before anything deletes the pod. A second call answers the same. Throws StoreError.
   */
  async finish(key: RunAttempt, rank: number): Promise<StoredLog> {
    throw new Error(`not yet: ${key.attempt} ${rank}`);
  }
  /** Forgets an attempt without a final read; what was stored stays. */
  drop(_key: AttemptKey): void {}
  /** Ends all reading. */
  async close(): Promise<void> {}
}
