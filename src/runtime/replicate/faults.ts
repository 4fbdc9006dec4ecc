import { z } from 'zod';
import { retryAfterMs } from '../../net/retry-after.ts';
import { RuntimeError, type RuntimeFault } from '../errors.ts';

/** What an answer that is no success means. */

/** An answer with its status, which some callers expect: a prediction that is gone, a cancel that comes too late. */
export class Refused extends RuntimeError {
  readonly status: number;

  constructor(fault: RuntimeFault, message: string, status: number) {
    super(fault, message);
    this.status = status;
  }
}

export const isRefused = (error: unknown, ...statuses: number[]): error is Refused =>
  error instanceof Refused && statuses.includes(error.status);

/** Where the vendor asks to wait and does not say how long. */
const WAIT_MS = 10_000;
const LONGEST_WAIT_MS = 24 * 3600 * 1000;
const MOST_FIELDS = 5;

/**
 * `creates`: whether the request makes what costs, so that an answer from a server in trouble says nothing about
 * whether it did.
 */
export async function refusalOf(
  response: Response,
  what: string,
  { creates, now }: { creates: boolean; now: number },
): Promise<Refused> {
  const { status } = response;
  const body = await bodyOf(response);
  const refused = (fault: RuntimeFault, words: string) =>
    new Refused(fault, `replicate ${what}: ${words} (${status})`, status);
  switch (status) {
    case 401:
      return refused({ kind: 'credentials' }, 'the token is not accepted');
    case 402:
      return refused({ kind: 'credentials' }, 'the account has no credit or has reached its spending limit');
    case 403:
      return refused({ kind: 'credentials' }, 'the token may not do this');
    case 404:
      return refused({ kind: 'user' }, 'there is no such thing');
    case 429: {
      const ms = retryAfterMs(response.headers.get('retry-after'), now) ?? body.retryAfterMs ?? WAIT_MS;
      return refused({ kind: 'throttled', retryAfterMs: ms }, `asked to wait ${Math.ceil(ms / 1000)} s`);
    }
    default:
  }
  // 408: the server gave up on a request that it may have read.
  if (status >= 500 || status === 408) {
    return creates
      ? refused({ kind: 'unknownOutcome' }, 'the server failed, and may have started it before')
      : refused({ kind: 'retryable' }, 'the server failed');
  }
  if (status >= 400) {
    const fields = body.fields.length === 0 ? '' : `: ${body.fields.join(', ')}`;
    return refused({ kind: 'user' }, `the request is not accepted${fields}`);
  }
  return refused({ kind: creates ? 'unknownOutcome' : 'terminal' }, 'an answer that is not understood');
}

const errorBody = z.object({
  retry_after: z.number().nonnegative().finite().nullish().catch(undefined),
  invalid_fields: z
    .array(z.object({ type: z.string().nullish(), field: z.string() }))
    .nullish()
    .catch(undefined),
});

/** Names of fields and kinds of mistakes; sentences could hold anything, the prompt or a key that stands in it too. */
async function bodyOf(response: Response): Promise<{ retryAfterMs: number | undefined; fields: string[] }> {
  const json: unknown = await response.json().catch(() => undefined);
  const { retry_after, invalid_fields } = errorBody.safeParse(json).data ?? {};
  return {
    retryAfterMs:
      retry_after === undefined || retry_after === null
        ? undefined
        : Math.min(Math.ceil(retry_after * 1000), LONGEST_WAIT_MS),
    fields: (invalid_fields ?? [])
      .flatMap(({ type, field }) => {
        if (!/^[A-Za-z0-9_.[\]-]{1,64}$/.test(field)) return [];
        return /^[a-z_]{1,32}$/.test(type ?? '') ? [`${field} (${type})`] : [field];
      })
      .slice(0, MOST_FIELDS),
  };
}
