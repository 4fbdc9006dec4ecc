/**
 * The one way out for a runtime: every request passes the URL guard, the profile's request policy (timeout, attempts,
 * backoff, elapsed budget) and leaves a provider event. Built by the controller for one profile.
 */
export interface VendorHttp {
  /**
   * A `fetch` for one operation, to be handed to a client library or called directly. Rejects with RuntimeError only.
   *
   * An answer of any status is a value, after the policy's last attempt too: what a status means is the runtime's to say
   * (`retryAfterMs` reads the header). It is whole when it is given; only the good answer of a download streams, and its
   * body may end with a RuntimeError.
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
   * However often a client library calls this `fetch`, one request leaves, and each call gets what became of it.
   */
  readonly once?: SendOnce;
  /**
   * Headers with the profile's credentials may go along, to its endpoint or the runtime's own hosts. Otherwise, and to any
   * other place, they are taken off, whoever set them: a download from a URL that a vendor chose carries none.
   */
  readonly credentials?: boolean;
  /** Overall start of the operation, for a budget that survives a restart; milliseconds since the epoch. */
  readonly startedAt?: number;
  /** Bytes; a longer answer is an error. Default 16 MiB; downloads stream and have the artifact's limit. */
  readonly maxAnswerBytes?: number;
}

/** The permission to send one request that must not be sent twice. */
export interface SendOnce {
  /** Milliseconds since the epoch; after it nothing is sent, and what is under way is ended. */
  readonly notAfter: number;
  /** Asked right before the request is written: throws when this process no longer leads, or `notAfter` has passed. */
  maySend(): void;
}
