import type { SendOnce } from './contract.ts';

/**
 * The one way out for a runtime: every request passes the URL guard, the profile's request policy (timeout, attempts,
 * backoff, elapsed budget) and leaves a provider event. Built by the controller for one profile.
 */
export interface VendorHttp {
  /**
   * A `fetch` for one operation, to be handed to a client library or called directly. Rejects with RuntimeError
   * only; an answer of any status that the policy does not repeat is a value.
   */
  fetch(operation: Operation): typeof fetch;
}

/** Which part of the request policy applies: WorldForge's four operation classes. */
export type OperationClass = 'health' | 'request' | 'polling' | 'download';

export interface Operation {
  readonly class: OperationClass;
  /** Bounded words for events and metrics, such as `prediction create`. */
  readonly name: string;
  /** What the run asked for; `unknown` for calls that serve no run. */
  readonly capability?: string;
  /** Correlates events with a run. */
  readonly runId?: string;
  /**
   * The request must not be sent twice: one attempt whatever the policy says, `maySend` right before the socket write, an
   * end at `notAfter`. A lost answer is `unknownOutcome`; what certainly was not sent (refused, no connection) is not.
   */
  readonly once?: SendOnce;
  /** Carries the profile's credentials; a download from a URL that a vendor chose must not. */
  readonly credentials?: boolean;
  /** Overall start of the operation, for a budget that survives a restart; milliseconds since the epoch. */
  readonly startedAt?: number;
  /** Bytes; a longer answer is an error. Default 16 MiB; downloads stream and have the artifact's limit. */
  readonly maxAnswerBytes?: number;
}
