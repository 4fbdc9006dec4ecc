import type { UpstreamFault } from './errors.ts';

/** What the queue does after a failure. */
export type Action =
  /** Same request, same client_run_id, later. `after` undefined: exponential. */
  | { readonly do: 'Retry'; readonly afterMs: number | undefined }
  /** Nothing until the Secret holds another key. */
  | { readonly do: 'AwaitKey' }
  /** Rarely, and without end. */
  | { readonly do: 'AwaitQuota' }
  /** Perhaps already there: read it back and compare. */
  | { readonly do: 'ReadBack' }
  /** The log goes by the artifact channel, once. */
  | { readonly do: 'MoveLog' }
  /** Ask for another upload URL, now. */
  | { readonly do: 'Reinitiate' }
  /** Our idea of the API is wrong: read `/openapi.json` again, then rarely. */
  | { readonly do: 'Reprobe' }
  /** A person has to look. */
  | { readonly do: 'Stop' };

/** Waiting for a quota or a new contract: asked again this often, in case a person mended it upstream. */
export const SLOW_RETRY_MS = 3600 * 1000;

/** The retry table, without state: the same fault always asks for the same action. */
export function actionFor(fault: UpstreamFault): Action {
  switch (fault.kind) {
    case 'network':
    case 'timeout':
    case 'unavailable':
    case 'source':
    case 'aborted':
      return { do: 'Retry', afterMs: undefined };
    case 'throttled':
      return { do: 'Retry', afterMs: fault.retryAfterMs };
    case 'credentials':
      return { do: 'AwaitKey' };
    case 'quota':
      return { do: 'AwaitQuota' };
    case 'conflict':
      return { do: 'ReadBack' };
    case 'tooLarge':
      return { do: 'MoveLog' };
    case 'expired':
      return { do: 'Reinitiate' };
    case 'notFound':
    case 'invalid':
    case 'contract':
    case 'unexpected':
      return { do: 'Reprobe' };
    case 'refused':
      return { do: 'Stop' };
  }
}

export const BACKOFF = { baseMs: 5000, maxMs: 15 * 60 * 1000 } as const;
