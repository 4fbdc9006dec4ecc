import { DEFAULT_REQUEST_POLICY } from '../../runtime/request-policy.ts';
import type { ProfileRef } from '../../runtime/contract.ts';

/** What the request policy of a profile says to deciding. */

/** Milliseconds that one request to create work may take. */
export function requestTimeoutMs({ spec }: ProfileRef): number {
  return (spec.requestPolicy ?? DEFAULT_REQUEST_POLICY).request.timeoutSeconds * 1000;
}

/** Milliseconds from the request to the end of the work; undefined where nothing bounds them. */
export function pollBudgetMs({ spec }: ProfileRef): number | undefined {
  const seconds = spec.requestPolicy?.polling.maxElapsedSeconds;
  return seconds === undefined ? undefined : seconds * 1000;
}
