/**
 * How a call to a runtime failed, as the controller must treat it. Every kind but `unknownOutcome` says that nothing was
 * created or changed.
 */
export type RuntimeFault =
  /** Worth another try soon: a 5xx to a read, a lost connection to a read. */
  | { readonly kind: 'retryable' }
  /** The vendor asks to wait; milliseconds. */
  | { readonly kind: 'throttled'; readonly retryAfterMs: number }
  /** It has no room now: no GPU, a quota of machines. Not the run's fault. */
  | { readonly kind: 'capacity' }
  /** The key is missing, wrong, expired, or may not do this. */
  | { readonly kind: 'credentials' }
  /** The request itself is wrong: only another run can be right. */
  | { readonly kind: 'user' }
  /** The vendor will never do this; nobody here can mend it. */
  | { readonly kind: 'terminal' }
  /** `max_elapsed_seconds` of the request policy is used up. */
  | { readonly kind: 'budget' }
  /** Our own guard refused the URL or the address: nothing was sent. */
  | { readonly kind: 'refused' }
  /** The request may have been carried out: a timeout, a lost connection, a 5xx to a create. */
  | { readonly kind: 'unknownOutcome' }
  /** The caller's signal ended it before anything was sent. */
  | { readonly kind: 'aborted' };

export type RuntimeErrorKind = RuntimeFault['kind'];

/** The message is for people and goes into conditions: no credential, no query string, no raw body of a vendor. */
export class RuntimeError extends Error {
  override readonly name = 'RuntimeError';
  readonly fault: RuntimeFault;

  constructor(fault: RuntimeFault, message: string, cause?: unknown) {
    super(message, { cause });
    this.fault = fault;
  }

  get kind(): RuntimeErrorKind {
    return this.fault.kind;
  }
}

export function isRuntimeError(error: unknown, ...kinds: RuntimeErrorKind[]): error is RuntimeError {
  return error instanceof RuntimeError && (kinds.length === 0 || kinds.includes(error.kind));
}
