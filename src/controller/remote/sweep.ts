import type { FoundWork } from '../../runtime/contract.ts';
import { windowOf } from './attempt.ts';
import type { AttemptStatus } from '../../crds/world-run-status.ts';

/**
 * Which work at a vendor is an orphan: bought by this installation, still running, and followed by no run. Pure. What an
 * attempt names that is over is followed by nobody: a vendor that did not know it for a while may know it again.
 *
 * Where the vendor keeps our mark, that mark says whose it is. Where it does not, work is ours only if its request and
 * its time are those of an intent that a run still names: anything else in the account is somebody else's.
 */

export interface SweepInput {
  now: number;
  works: readonly FoundWork[];
  claimOf(externalId: string): Claim;
  /** Of every run that is still there, also of those that have ended. */
  intents: readonly SweptIntent[];
  requestTimeoutMs: number;
  /** Younger work may be about to be claimed; milliseconds. */
  minAgeMs: number;
  /** External ids that the sweep before this one saw as orphans. */
  seenBefore: ReadonlySet<string>;
}

/** `open`: an attempt is at work with it; `over`: one was. */
export type Claim = 'open' | 'over' | undefined;

export interface SweptIntent {
  intent: NonNullable<AttemptStatus['intent']>;
  /** Its answer is not known yet: the work may be its own. */
  open: boolean;
}

export interface Swept {
  /** Seen for the second time: an orphan. */
  orphans: readonly FoundWork[];
  /** Everything that looked like one this time. */
  seen: ReadonlySet<string>;
}

export function findOrphans(input: SweepInput): Swept {
  const { now, works, claimOf, intents, requestTimeoutMs, minAgeMs, seenBefore } = input;
  const belongs = (work: FoundWork, { intent }: SweptIntent): boolean => {
    const { from, until } = windowOf(intent, requestTimeoutMs);
    return work.requestDigest === intent.requestDigest && work.createdAt >= from && work.createdAt <= until;
  };
  const suspects = works.filter((work) => {
    const claim = claimOf(work.externalId);
    if (!work.live || claim === 'open' || now - work.createdAt < minAgeMs) return false;
    if (work.mark !== undefined || claim === 'over') return true;
    const related = intents.filter((each) => belongs(work, each));
    return related.length > 0 && related.every((each) => !each.open);
  });
  return {
    orphans: suspects.filter((work) => seenBefore.has(work.externalId)),
    seen: new Set(suspects.map((work) => work.externalId)),
  };
}
