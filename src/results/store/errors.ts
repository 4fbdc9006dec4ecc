/** What went wrong in the run store, by what a caller can do about it. */
export type StoreErrorKind =
  /** The key or prefix is not one. */
  | 'invalidKey'
  /** Other bytes are already there. */
  | 'conflict'
  /** Over a limit of the store. */
  | 'tooLarge'
  /** Length or SHA-256 is not what was announced. */
  | 'digestMismatch'
  /** No such upload, or the part does not follow: initiate again. */
  | 'noUpload'
  /** No space left. */
  | 'full'
  /** Not reachable, too slow, or it refused our credentials: try again later. */
  | 'unavailable'
  /** The caller's own signal ended it. */
  | 'aborted';

export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly kind: StoreErrorKind;
  constructor(kind: StoreErrorKind, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.kind = kind;
  }
}

export function isStoreError(error: unknown, ...kinds: StoreErrorKind[]): error is StoreError {
  return error instanceof StoreError && (kinds.length === 0 || kinds.includes(error.kind));
}
