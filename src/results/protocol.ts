import type { StoredArtifact } from '../crds/world-run-status.ts';
import type { UploadTarget } from './contract.ts';

/**
 * What a collector and the gateway say to each other: JSON over HTTPS below
 * `/v1/runs/<clientRunId>/attempts/<n>/`, with a bearer token that is bound to the pod. Bodies of parts are plain bytes.
 */

/** POST progress. */
export interface ProgressPost {
  percent?: number;
  etaSeconds?: number;
  step?: number;
}

export interface ProgressAnswer {
  /** Collect what is there and post the result, within uploadSeconds. */
  collectNow: boolean;
  /** The pod is being deleted: upload what is there, and post the result when the user's container has ended. */
  stopping: boolean;
  /** The operator holds no fingerprints of this pod's secrets (it may have restarted): post them. */
  fingerprintsWanted: boolean;
  /** When to post again, unless there is something new. */
  nextPostSeconds: number;
}

export type UploadKind = 'artifact' | 'series';

/** POST uploads, uploads/commit, uploads/abort. The gateway alone decides where the bytes lie. */
export interface UploadPost {
  kind: UploadKind;
  /** The artifact's name; `series` for a series. */
  name: string;
  /** Of the file name in the store; empty for none. */
  extension: string;
  /** Bytes. */
  size: number;
  sha256: string;
  contentType: string;
  /** Of each part, when there are several. */
  partSha256?: string[];
  uploadId?: string;
}

export interface UploadAnswer {
  /** Where it will lie in the run store. */
  key: string;
  /** Its URLs are absolute, or paths on the gateway. */
  target: UploadTarget;
}

/** POST result. */
export interface ResultPost {
  metrics: Record<string, number>;
  metricsOmitted: number;
  metricsProblem?: string;
  series?: { path: string; bytes: number; lines: number; dropped: number };
  artifacts: StoredArtifact[];
}

/** What a refusal says; `code` is for the collector, `message` for people. */
export interface Refusal {
  code: RefusalCode;
  message: string;
}

export type RefusalCode =
  | 'invalid'
  | 'unauthorized'
  /** The pod is not known as one of this attempt's (yet). */
  | 'unknownPod'
  /** No live run of this id (yet). */
  | 'unknownRun'
  /** A result is recorded, or a later attempt runs: nothing more is taken. */
  | 'over'
  | 'conflict'
  | 'noUpload'
  | 'digestMismatch'
  | 'tooLarge'
  | 'busy'
  | 'full'
  | 'unavailable';

/** The name of the one artifact of a run that names none. */
export const WHOLE_OUTPUT = 'output';
export const LARGEST_SERIES = 256 * 1024 * 1024;
