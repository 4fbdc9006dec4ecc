import type { CollectedResult } from './contract.ts';

/** What the controller finds where the gateway could not be reached; undefined for any other text. */
export function parseTerminationMessage(
  _message: string,
  _of: { rank: number; podUid: string; collectedAt: string },
): CollectedResult | undefined {
  return undefined;
}
