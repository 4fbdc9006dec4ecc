import type { FoundWork } from '../../runtime/contract.ts';

/**
 * Which found work belongs to which intent, where the vendor keeps no mark of ours. Pure.
 *
 * Requests of one digest are interchangeable: whoever asked for the same thing may have either piece. So intents and
 * work are matched as multisets per digest, and only their times tell them apart.
 */

/** A request that may have been sent, and whose answer nobody has. */
export interface Intent {
  /** The run's uid. */
  readonly run: string;
  readonly requestDigest: string;
  /** The work cannot have been created before this; milliseconds since the epoch, clocks' difference included. */
  readonly from: number;
  /** Nor after this: `notAfter` and the request's timeout have passed. */
  readonly until: number;
}

export interface Matching {
  /** Run uid → the work that is taken for its own. */
  readonly matched: ReadonlyMap<string, FoundWork>;
  /** Work of a known digest and time that no intent is left for: bought twice, or somebody else's. */
  readonly surplus: readonly FoundWork[];
  /** Work in an intent's time of which it is not known what was asked for: it may be anybody's. */
  readonly unsure: readonly FoundWork[];
}

/**
 * The largest possible matching, the same for the same input. `works` must not hold work that a run has claimed
 * already. Greedy by end of window, which is optimal for intervals.
 */
export function matchIntents(intents: readonly Intent[], works: readonly FoundWork[]): Matching {
  const matched = new Map<string, FoundWork>();
  const surplus: FoundWork[] = [];
  const isIn = (work: FoundWork, { from, until }: Intent) => work.createdAt >= from && work.createdAt <= until;
  const oldestFirst = works.toSorted((a, b) => a.createdAt - b.createdAt || compare(a.externalId, b.externalId));
  for (const work of oldestFirst) {
    const candidates = intents.filter((i) => i.requestDigest === work.requestDigest && isIn(work, i));
    if (candidates.length === 0) continue;
    const free = candidates.filter((i) => !matched.has(i.run));
    const [first] = free.toSorted((a, b) => a.until - b.until || compare(a.run, b.run));
    if (first === undefined) surplus.push(work);
    else matched.set(first.run, work);
  }
  const asked = new Set<string | undefined>(intents.map(({ requestDigest }) => requestDigest));
  const isUnsure = ({ requestDigest, doubtful = false }: FoundWork) =>
    requestDigest === undefined || (doubtful && !asked.has(requestDigest));
  const unsure = oldestFirst.filter((work) => isUnsure(work) && intents.some((intent) => isIn(work, intent)));
  return { matched, surplus, unsure };
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
