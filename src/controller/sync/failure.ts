import type { SyncReason } from '../../crds/vocabulary.ts';
import { backoffMs } from '../../kube/backoff.ts';
import { UpstreamError } from '../../upstream/errors.ts';
import { actionFor, BACKOFF, SLOW_RETRY_MS, type Action } from '../../upstream/retry.ts';

/** How often a Secret is read while it is needed. Milliseconds. */
export const KEY_MS = 60_000;

/** Why a try ended without success, and what that means for the run and for its target. */
export interface Failure {
  /** Target: every run that goes there waits. Run: others go on. */
  readonly scope: 'Target' | 'Run';
  readonly reason: SyncReason;
  /** For people: never a word of what the target said. */
  readonly message: string;
  /** Milliseconds; `Backoff` doubles, `Never` waits for a person or another key. */
  readonly retry: number | 'Backoff' | 'Never' | 'NewKey';
  /** The server's own description is to be read again first. */
  readonly reprobe: boolean;
}

export class SyncFailure extends Error {
  override readonly name = 'SyncFailure';
  readonly failure: Failure;

  constructor(failure: Omit<Failure, 'reprobe'> & { reprobe?: boolean }, cause?: unknown) {
    super(failure.message, { cause });
    this.failure = { reprobe: false, ...failure };
  }
}

const RETRY: Record<Action['do'], Failure['retry']> = {
  Retry: 'Backoff',
  AwaitKey: 'NewKey',
  AwaitQuota: SLOW_RETRY_MS,
  ReadBack: 'Backoff',
  MoveLog: 'Never',
  Reinitiate: 'Backoff',
  Reprobe: SLOW_RETRY_MS,
  Stop: 'Backoff',
};

/** Faults that say something of the target whatever was asked of it. */
const OF_THE_TARGET = new Set(['throttled', 'credentials', 'quota']);

/**
 * `shared`: the request was one that every run of the target makes, so its failure is the target's. A failure of one
 * run's own request is that run's: a record that always breaks the server must not hold up all others.
 */
export function failureOf(error: UpstreamError, shared: boolean): Failure {
  const action = actionFor(error.fault);
  const { kind } = error.fault;
  const throttled = action.do === 'Retry' ? action.afterMs : undefined;
  return {
    scope: shared || OF_THE_TARGET.has(kind) ? 'Target' : 'Run',
    reason: reasonOf(error),
    message: error.message,
    retry: throttled ?? RETRY[action.do],
    reprobe: action.do === 'Reprobe',
  };
}

function reasonOf({ fault }: UpstreamError): SyncReason {
  switch (fault.kind) {
    case 'throttled':
      return 'TargetThrottled';
    case 'credentials':
      return 'KeyRefused';
    case 'quota':
      return 'SyncQuotaExceeded';
    case 'notFound':
    case 'invalid':
    case 'contract':
    case 'unexpected':
      return 'ContractMismatch';
    case 'tooLarge':
      return 'PayloadTooLarge';
    case 'conflict':
      return 'SyncConflict';
    case 'refused':
      return 'URLRefused';
    case 'source':
      return 'RecordUnreadable';
    case 'expired':
      return 'UploadFailed';
    case 'network':
    case 'timeout':
    case 'unavailable':
    case 'aborted':
      return 'TargetUnavailable';
  }
}

/** The run store or the API server failed, or this program is wrong: either way later, and only this run. */
export function unforeseen(error: unknown): Failure {
  const name = error instanceof Error ? error.name : 'error';
  return {
    scope: 'Run',
    reason: 'RecordUnreadable',
    message: `What is to be sent could not be read (${name}).`,
    retry: 'Backoff',
    reprobe: false,
  };
}

/** A mismatch may have been mended between two looks at the contract: the first retry comes soon. */
const FIRST_REPROBE_MS = 5000;

/** Milliseconds until the next try after `failures` in a row before this one; undefined: not at all. */
export function waitFor({ retry, reprobe }: Failure, failures: number): number | undefined {
  if (retry === 'Never') return undefined;
  if (retry === 'NewKey') return KEY_MS;
  if (reprobe && failures === 0) return FIRST_REPROBE_MS;
  // Not before the time that was asked for; and one who says "at once" for ever is not asked at once for ever.
  return Math.max(backoffMs(failures + 1, BACKOFF), retry === 'Backoff' ? 0 : retry);
}
