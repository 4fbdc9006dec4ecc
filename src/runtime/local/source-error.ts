/** Why a source could not be fetched. */
export type SourceFailure =
  /** The configuration itself: a URL, ref or path that is never fetched. */
  | 'Refused'
  /** The server wants other credentials, or its own identity is not the expected one. */
  | 'Credentials'
  /** No such repository, ref or folder. */
  | 'NotFound'
  | 'TooLarge'
  /** What the repository holds would lead out of its folder. */
  | 'Unsafe'
  /** The server or the way to it; may pass. */
  | 'Unreachable'
  | 'TimedOut'
  | 'Stopped'
  | 'Unknown';

/** The message is one sentence for the person who wrote the run; it holds no credential. */
export class SourceError extends Error {
  override readonly name = 'SourceError';
  readonly why: SourceFailure;

  constructor(why: SourceFailure, message: string, cause?: unknown) {
    super(message, { cause });
    this.why = why;
  }
}
