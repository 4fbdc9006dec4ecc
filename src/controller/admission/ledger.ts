import type { MicroUSD } from '../money.ts';
import { dailyLimitMessage, nextDay, type Charge, type SpendBook } from './spend.ts';

/**
 * Who may run now, and with whose money: the one serial step of admission.
 *
 * A run holds a reservation from its admission until it ends or is suspended. Limits are counted against reservations,
 * never against what a cache shows, so that two runs cannot both take the last place. The ledger lives in memory: it is
 * rebuilt from the caches with {@link AdmissionLedger.restore} before the operator leads.
 *
 * Order: round-robin over namespaces, oldest run first within one, so that a namespace with a thousand waiting runs
 * does not keep another from its first. A run that the day has no room for is overtaken by cheaper ones of its namespace;
 * at midnight the oldest is the first again.
 */

export interface Claim extends Charge {
  /** Milliseconds since the epoch. */
  createdAt: number;
}

export interface Limits {
  maxConcurrentRuns: number | undefined;
  maxConcurrentRunsPerNamespace: number | undefined;
  maxCostUSDPerNamespacePerDay: MicroUSD | undefined;
}

/** `profile`: where the place is held, or waited for. */
export type Reservation =
  /** `pending`: what the run may cost is not yet in the run store; nothing may be created. */
  | { granted: true; pending?: true; profile?: string }
  /** `until`: ask again then, though nobody wakes the run; milliseconds since the epoch. */
  | {
      granted: false;
      reason: 'ConcurrencyLimit' | 'DailyCostLimit';
      message: string;
      until?: number;
      profile?: string;
    };

/** A run that was admitted before this process led: what it may cost was charged then. */
export type HeldClaim = Omit<Claim, 'ceiling'>;

interface Book {
  held: Map<string, Claim>;
  heldByNamespace: Map<string, number>;
  /** Waiting claims by namespace, oldest first. */
  waiting: Map<string, Claim[]>;
  /** Grant number of each namespace's last grant: the smallest has waited longest. */
  lastGrant: Map<string, number>;
  limits: Limits;
}

export class AdmissionLedger {
  readonly #books = new Map<string, Book>();
  readonly #byUid = new Map<string, Claim>();
  #grants = 0;
  readonly #wake: (uid: string) => void;
  readonly #spend: Pick<SpendBook, 'fits' | 'reserve'>;
  readonly #now: () => number;

  /** `wake` is called with each run whose turn has come; it then asks again and is granted. */
  constructor(wake: (uid: string) => void, spend: Pick<SpendBook, 'fits' | 'reserve'>, now: () => number) {
    this.#wake = wake;
    this.#spend = spend;
    this.#now = now;
  }

  /** A run that was admitted before this process led. Never refused: the work is already there. */
  restore(claim: HeldClaim): void {
    if (this.holds(claim.uid)) return;
    this.#leaveLine(claim.uid);
    this.#hold(this.#book(claim.profile), { ...claim, ceiling: undefined });
  }

  /** Grants, or queues the claim and says why. Asking again changes nothing but the answer. */
  request(claim: Claim, limits: Limits): Reservation {
    const book = this.#book(claim.profile);
    book.limits = limits;
    if (this.holds(claim.uid)) return { granted: true };
    const known = this.#byUid.get(claim.uid);
    // The default profile, or its price, is another one since it first asked.
    if (known !== undefined && (known.profile !== claim.profile || known.ceiling !== claim.ceiling))
      this.#leaveLine(claim.uid);
    this.#enqueue(book, claim);
    this.#grantTurns(book, claim.uid);
    if (this.holds(claim.uid)) return { granted: true };
    return this.#refusal(book, claim);
  }

  /** Ends a reservation or a wait; the next in order is woken. A success when there is neither. */
  release(uid: string): void {
    const claim = this.#byUid.get(uid);
    if (claim === undefined) return;
    const book = this.#book(claim.profile);
    if (book.held.delete(uid)) {
      this.#byUid.delete(uid);
      const left = (book.heldByNamespace.get(claim.namespace) ?? 1) - 1;
      if (left === 0) book.heldByNamespace.delete(claim.namespace);
      else book.heldByNamespace.set(claim.namespace, left);
    } else {
      this.#leaveLine(uid);
    }
    this.#grantTurns(book);
  }

  /** A day's account has room that it had not: runs that waited for it may have their turn. */
  reconsider(profile: string): void {
    const book = this.#books.get(profile);
    if (book !== undefined) this.#grantTurns(book);
  }

  /** Live reservations of a profile, for doctor lines and metrics. */
  held(profile: string): number {
    return this.#books.get(profile)?.held.size ?? 0;
  }

  #book(profile: string): Book {
    let book = this.#books.get(profile);
    if (book === undefined) {
      book = {
        held: new Map(),
        heldByNamespace: new Map(),
        waiting: new Map(),
        lastGrant: new Map(),
        limits: {
          maxConcurrentRuns: undefined,
          maxConcurrentRunsPerNamespace: undefined,
          maxCostUSDPerNamespacePerDay: undefined,
        },
      };
      this.#books.set(profile, book);
    }
    return book;
  }

  /** The profile whose place a run holds. */
  heldAt(uid: string): string | undefined {
    return this.holds(uid) ? this.#byUid.get(uid)?.profile : undefined;
  }

  /** True from the grant until the release. */
  holds(uid: string): boolean {
    const claim = this.#byUid.get(uid);
    return claim !== undefined && this.#book(claim.profile).held.has(uid);
  }

  #hold(book: Book, claim: Claim): void {
    this.#byUid.set(claim.uid, claim);
    book.held.set(claim.uid, claim);
    book.heldByNamespace.set(claim.namespace, (book.heldByNamespace.get(claim.namespace) ?? 0) + 1);
    this.#grants += 1;
    book.lastGrant.set(claim.namespace, this.#grants);
  }

  #enqueue(book: Book, claim: Claim): void {
    if (this.#byUid.has(claim.uid)) return;
    this.#byUid.set(claim.uid, claim);
    const line = book.waiting.get(claim.namespace) ?? [];
    // Nearly always the youngest: looked for from the end.
    let at = line.length;
    while (at > 0 && line[at - 1]!.createdAt > claim.createdAt) at -= 1;
    line.splice(at, 0, claim);
    book.waiting.set(claim.namespace, line);
  }

  #leaveLine(uid: string): void {
    const claim = this.#byUid.get(uid);
    if (claim === undefined) return;
    this.#byUid.delete(uid);
    this.#dequeue(this.#book(claim.profile), claim);
  }

  #dequeue(book: Book, claim: Claim): void {
    const line = book.waiting.get(claim.namespace);
    const at = line?.findIndex((c) => c.uid === claim.uid) ?? -1;
    if (at >= 0) line!.splice(at, 1);
    if (line?.length === 0) book.waiting.delete(claim.namespace);
  }

  /** Hands out every free place in order. `asking` is being answered right now and needs no wake. */
  #grantTurns(book: Book, asking?: string): void {
    for (;;) {
      const next = this.#nextInOrder(book);
      if (next === undefined) return;
      this.#dequeue(book, next);
      this.#hold(book, next);
      this.#spend.reserve(next, book.limits.maxCostUSDPerNamespacePerDay);
      if (next.uid !== asking) this.#wake(next.uid);
    }
  }

  #nextInOrder(book: Book): Claim | undefined {
    const { maxConcurrentRuns = Infinity, maxConcurrentRunsPerNamespace = Infinity } = book.limits;
    if (book.held.size >= maxConcurrentRuns) return undefined;
    let best: Claim | undefined;
    let bestTurn = Infinity;
    for (const [namespace, line] of book.waiting) {
      if ((book.heldByNamespace.get(namespace) ?? 0) >= maxConcurrentRunsPerNamespace) continue;
      const turn = book.lastGrant.get(namespace) ?? 0;
      if (turn > bestTurn) continue;
      const claim = line.find((each) => this.#spend.fits(each, book.limits.maxCostUSDPerNamespacePerDay));
      if (claim === undefined) continue;
      if (turn < bestTurn || claim.createdAt < best!.createdAt) {
        best = claim;
        bestTurn = turn;
      }
    }
    return best;
  }

  /** Why a claim waits. No position in the line: it changes with every grant, and each change would be a write. */
  #refusal(book: Book, claim: Claim): Reservation {
    const { maxConcurrentRuns, maxConcurrentRunsPerNamespace, maxCostUSDPerNamespacePerDay: cap } = book.limits;
    const { namespace, profile } = claim;
    const held = book.heldByNamespace.get(namespace) ?? 0;
    if (cap !== undefined && !this.#spend.fits(claim, cap)) {
      const until = nextDay(this.#now());
      return { granted: false, reason: 'DailyCostLimit', message: dailyLimitMessage(claim, cap), until };
    }
    const message =
      maxConcurrentRunsPerNamespace !== undefined && held >= maxConcurrentRunsPerNamespace
        ? `namespace ${namespace} already runs the ${maxConcurrentRunsPerNamespace} that profile ${profile} allows one namespace`
        : `profile ${profile} already runs the ${maxConcurrentRuns} that it allows`;
    return { granted: false, reason: 'ConcurrencyLimit', message };
  }
}
