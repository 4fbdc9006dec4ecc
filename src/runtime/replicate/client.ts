import Replicate from 'replicate';
import type { z } from 'zod';
import type { ProfileRef, RuntimeIo } from '../contract.ts';
import { isRuntimeError, RuntimeError } from '../errors.ts';
import type { Operation } from '../vendor-http.ts';
import { refusalOf } from './faults.ts';

/**
 * The vendor's own client library, on a short lead. By itself it sends a POST six times when the connection is lost or
 * the answer is 429, does not wait between, knows no timeout, and takes a token from the environment. Here it builds
 * paths and bodies; what is sent, and how often, is decided by the `fetch` that it is given, and it never sees an answer
 * that it would react to.
 */

export const API_URL = 'https://api.replicate.com/v1';
export const TOKEN = 'REPLICATE_API_TOKEN';

/** A page of a hundred predictions whose outputs are inline. */
const MAX_ANSWER = 32 * 1024 * 1024;

/** To the library: over, and nothing to try again. What happened is kept beside it. */
const OVER = 418;

export interface AskOptions {
  /** Makes what costs: an answer that is lost or makes no sense leaves it open whether it did. */
  readonly creates?: boolean;
  readonly headers?: Readonly<Record<string, string>>;
}

/** One request through the library, its answer in a known shape. Throws RuntimeError. */
export async function ask<T>(
  io: RuntimeIo,
  operation: Operation,
  send: (replicate: Replicate) => Promise<unknown>,
  shape: z.ZodType<T>,
  { creates = false, headers = {} }: AskOptions = {},
): Promise<T> {
  const auth = io.credentials[TOKEN];
  if (auth === undefined || auth === '')
    throw new RuntimeError({ kind: 'credentials' }, `the profile’s Secret has no ${TOKEN}`);
  const guarded = io.http.fetch({ maxAnswerBytes: MAX_ANSWER, credentials: true, ...operation });
  let failed: RuntimeError | undefined;
  const replicate = new Replicate({
    auth,
    baseUrl: endpointOf(io.profile),
    userAgent: 'worldflux-operator',
    useFileOutput: false,
    fetch: async (input, init) => {
      try {
        const response = await guarded(input, {
          ...init,
          headers: { ...(init?.headers as Record<string, string>), ...headers },
          signal: io.signal,
        });
        if (response.ok) return response;
        failed = await refusalOf(response, operation.name, { creates, now: io.now() });
      } catch (cause) {
        failed = isRuntimeError(cause) ? cause : senseless(operation, creates, cause);
      }
      return new Response(null, { status: OVER });
    },
  });
  let answer: unknown;
  try {
    answer = await send(replicate);
  } catch (cause) {
    throw failed ?? senseless(operation, creates, cause);
  }
  const parsed = shape.safeParse(answer);
  if (!parsed.success) throw senseless(operation, creates, parsed.error);
  return parsed.data;
}

function senseless({ name }: Operation, creates: boolean, cause: unknown): RuntimeError {
  return new RuntimeError(
    { kind: creates ? 'unknownOutcome' : 'retryable' },
    `replicate ${name}: the answer is not understood`,
    cause,
  );
}

/** What comes before `/predictions`, without a slash at its end. */
export function endpointOf({ spec }: ProfileRef): string {
  return (spec.replicate?.endpoint ?? API_URL).replace(/\/+$/, '');
}
