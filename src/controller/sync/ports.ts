import type { Condition } from '../../crds/common.ts';
import type { RuntimeProfileSpec } from '../../crds/runtime-profile.ts';
import type { SyncMode } from '../../crds/vocabulary.ts';
import type { SyncStatus } from '../../crds/world-run-status.ts';

/** What the sync queue needs from the rest of the operator, and what it needs to know of runs and profiles. */

/** What of a finished WorldRun decides whether and where it is synced. */
export interface SyncRun {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly generation: number;
  readonly clientRunId: string;
  readonly manifestDigest: string;
  readonly profile: string;
  readonly succeeded: boolean;
  /** Milliseconds since the epoch. */
  readonly finishedAt: number;
  readonly mode: SyncMode | undefined;
  readonly project: string | undefined;
  readonly private: boolean;
  /** Value of the annotation {@link SYNC_ANNOTATION}. */
  readonly request: string | undefined;
  readonly synced: Condition | undefined;
  readonly status: SyncStatus | undefined;
}

export interface SyncProfile {
  readonly name: string;
  readonly uid: string;
  readonly generation: number;
  readonly sync: RuntimeProfileSpec['sync'];
  readonly network: RuntimeProfileSpec['network'];
  readonly conditions: readonly Condition[] | undefined;
}

/** Any value asks for a sync now; another value asks again. */
export const SYNC_ANNOTATION = 'worldflux.ai/sync';
/** As a label or an annotation with the value `true`: no bytes of this run leave but its record and metrics. */
export const PRIVATE_MARK = 'worldflux.ai/private';
/** On a key's Secret: RFC 3339. */
export const EXPIRES_ANNOTATION = 'worldflux.ai/expires-at';
/** A Secret in the operator's namespace is read only with this label and the value `worldflux`. */
export const CREDENTIAL_LABEL = 'worldflux.ai/credential-for';

export const SYNC_MANAGER = 'worldflux-operator-sync';

export interface KeyRef {
  readonly namespace: string;
  readonly name: string;
  readonly key: string;
  /** In the operator's namespace a Secret must carry {@link CREDENTIAL_LABEL}. */
  readonly mustBeLabelled: boolean;
}

export type KeyRead =
  | {
      readonly found: true;
      readonly value: string;
      /** Another one when anything about the Secret has changed. */
      readonly version: string;
      readonly expiresAt: number | undefined;
    }
  /** Why not, in words for a person. */
  | { readonly found: false; readonly why: string };

/** The API server. Throws KubeErrors. */
export interface SyncCluster {
  readKey(ref: KeyRef, signal: AbortSignal): Promise<KeyRead>;
  /** Undefined: the run is gone, or is another one of that name. */
  readManifest(run: Pick<SyncRun, 'namespace' | 'name' | 'uid'>, signal: AbortSignal): Promise<unknown>;
  applyRun(
    run: Pick<SyncRun, 'namespace' | 'name' | 'uid'>,
    status: { conditions: Condition[]; sync?: SyncStatus },
  ): Promise<void>;
  applyProfile(profile: Pick<SyncProfile, 'name' | 'uid'>, conditions: Condition[]): Promise<void>;
}

/** Time, so that an hour can pass in a test. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Calls once, `ms` from now; answers a function that cancels. */
  after(ms: number, call: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  after: (ms, call) => {
    // Longer delays overflow Node's timer and fire at once.
    const timer = setTimeout(call, Math.min(ms, 2 ** 31 - 1));
    return () => clearTimeout(timer);
  },
};

/** What happened, for metrics and logs. Labels are bounded: never a run, a URL or a project. */
export interface SyncObserver {
  attempt(outcome: string, tookMs: number): void;
  uploaded(bytes: number): void;
  /** Uploads that were begun upstream and could not be taken back. */
  orphaned(count: number): void;
  problem(what: string, error: unknown): void;
}
