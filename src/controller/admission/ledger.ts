/**
 * Who may run now: the one serial step of admission.
 *
 * A run holds a reservation from its admission until it ends or is suspended. Limits are counted against reservations,
 * never against what a cache shows, so that two runs cannot both take the last place. The ledger lives in memory: it is
 * rebuilt from the caches with {@link AdmissionLedger.restore} before the operator leads.
 *
 * Order: round-robin over namespaces, oldest run first within one, so that a namespace with a thousand waiting runs
 * does not keep another from its first.
 */

export interface Claim {
  uid: string;
  namespace: string;
  profile: string;
  /** Milliseconds since the epoch. */
  createdAt: number;
}

export interface ConcurrencyLimits {
  maxConcurrentRuns: number | undefined;
  maxConcurrentRunsPerNamespace: number | undefined;
}

export type Reservation = { granted: true } | { granted: false; message: string };

interface Book {
  held: Map<string, Claim>;
  heldByNamespace: Map<string, number>;
  /** Waiting claims by namespace, oldest first. */
  waiting: Map<string, Claim[]>;
  /** Grant number of each namespace's last grant: the smallest has waited longest. */
  lastGrant: Map<string, number>;
  limits: ConcurrencyLimits;
}

export class AdmissionLedger {
  readonly #books = new Map<string, Book>();
  readonly #byUid = new Map<string, Claim>();
  #grants = 0;
  readonly #wake: (uid: string) => void;

  /** `wake` is called with each run whose turn has come; it then asks again and is granted. */
  constructor(wake: (uid: string) => void) {
    this.#wake = wake;
  }

  /** A run that was admitted before this process led. Never refused: the work is already there. */
  restore(claim: Claim): void {
    if (this.holds(claim.uid)) return;
    this.#leaveLine(claim.uid);
    this.#hold(this.#book(claim.profile), claim);
  }

  /** Grants, or queues the claim and says why. Asking again changes nothing but the answer. */
  request(claim: Claim, limits: ConcurrencyLimits): Reservation {
    const book = this.#book(claim.profile);
    book.limits = limits;
    if (this.holds(claim.uid)) return { granted: true };
    const known = this.#byUid.get(claim.uid);
    // The default profile is another one since it first asked: it waits in that line now.
    if (known !== undefined && known.profile !== claim.profile) this.#leaveLine(claim.uid);
    this.#enqueue(book, claim);
    this.#grantTurns(book, claim.uid);
    if (this.holds(claim.uid)) return { granted: true };
    return { granted: false, message: refusalMessage(book, claim) };
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
        limits: { maxConcurrentRuns: undefined, maxConcurrentRunsPerNamespace: undefined },
      };
      this.#books.set(profile, book);
    }
    return book;
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
      const next = nextInOrder(book);
      if (next === undefined) return;
      this.#dequeue(book, next);
      this.#hold(book, next);
      if (next.uid !== asking) this.#wake(next.uid);
    }
  }
}

function nextInOrder(book: Book): Claim | undefined {
  const { maxConcurrentRuns = Infinity, maxConcurrentRunsPerNamespace = Infinity } = book.limits;
  if (book.held.size >= maxConcurrentRuns) return undefined;
  let best: Claim | undefined;
  let bestTurn = Infinity;
  for (const [namespace, line] of book.waiting) {
    if ((book.heldByNamespace.get(namespace) ?? 0) >= maxConcurrentRunsPerNamespace) continue;
    const turn = book.lastGrant.get(namespace) ?? 0;
    const claim = line[0]!;
    if (turn < bestTurn || (turn === bestTurn && claim.createdAt < best!.createdAt)) {
      best = claim;
      bestTurn = turn;
    }
  }
  return best;
}

function refusalMessage(book: Book, claim: Claim): string {
  const { maxConcurrentRuns, maxConcurrentRunsPerNamespace } = book.limits;
  const inNamespace = book.heldByNamespace.get(claim.namespace) ?? 0;
  // No position in the line: it changes with every grant, and each change would be a write for every waiting run.
  if (maxConcurrentRunsPerNamespace !== undefined && inNamespace >= maxConcurrentRunsPerNamespace) {
    return `namespace ${claim.namespace} already runs the ${maxConcurrentRunsPerNamespace} that profile ${claim.profile} allows one namespace`;
  }
  return `profile ${claim.profile} already runs the ${maxConcurrentRuns} that it allows`;
}
