import { isStoreError } from '../../results/store/errors.ts';
import type { MicroUSD } from '../money.ts';
import { AdmissionLedger, type Claim, type HeldClaim, type Limits, type Reservation } from './ledger.ts';
import type { SpendBook } from './spend.ts';

/**
 * Places and money together. A grant counts once the run store knows its charge: an operator that dies between the two
 * has created nothing on the strength of it.
 */

/** Of one call to the run store. */
const STORE_MS = 30_000;
/** Between two tries to reach the run store. */
const STORE_AGAIN_MS = 15_000;

export interface AdmissionOptions {
  spend: SpendBook;
  /** A run's turn has come, or may have. */
  wake(uid: string): void;
  onError(what: string, error: unknown): void;
  now(): number;
}

export class Admission {
  readonly #o: AdmissionOptions;
  readonly #ledger: AdmissionLedger;

  constructor(options: AdmissionOptions) {
    this.#o = options;
    this.#ledger = new AdmissionLedger(
      (uid) => options.wake(uid),
      options.spend,
      () => options.now(),
    );
  }

  /** Call when this process begins to lead: another one may have charged runs since. */
  begin(): void {
    this.#o.spend.begin();
  }

  /** A run that was admitted before this process led. */
  restore(claim: HeldClaim): void {
    this.#ledger.restore(claim);
  }

  /** Undefined for a run that holds nothing. */
  of(uid: string): Reservation | undefined {
    const profile = this.#ledger.heldAt(uid);
    if (profile === undefined) return undefined;
    return this.#o.spend.isDurable(uid) ? { granted: true, profile } : { granted: true, pending: true, profile };
  }

  /** Without the run store a run that is charged waits. */
  async request(claim: Claim, limits: Limits): Promise<Reservation> {
    const { spend, now } = this.#o;
    const charged = claim.ceiling !== undefined && limits.maxCostUSDPerNamespacePerDay !== undefined;
    if (!charged) return this.#ledger.request(claim, limits);
    try {
      const signal = AbortSignal.timeout(STORE_MS);
      await spend.load(signal);
      const answer = this.#ledger.request(claim, limits);
      if (answer.granted) await spend.persist(claim.uid, signal);
      return answer;
    } catch (error) {
      spend.undo(claim.uid);
      this.#ledger.release(claim.uid);
      if (!isStoreError(error)) throw error;
      this.#o.onError('what namespaces have spent today could not be read or written', error);
      const message = `the account of namespace ${claim.namespace} could not be read or written in the run store; it is tried again`;
      return { granted: false, reason: 'DailyCostLimit', message, until: now() + STORE_AGAIN_MS };
    }
  }

  /** Ends a reservation or a wait. `spent`: what the run has cost so far; where nobody knows, what it may cost stays charged. */
  release(uid: string, spent: MicroUSD | undefined): void {
    this.#ledger.release(uid);
    if (spent !== undefined) void this.#settle(uid, spent);
  }

  /** Runs that ended while nobody led, with what they cost. One look at the run store says which of them were charged. */
  async ended(runs: readonly { uid: string; spent: MicroUSD }[]): Promise<void> {
    try {
      await this.#o.spend.load(AbortSignal.timeout(STORE_MS));
    } catch (error) {
      this.#o.onError('what namespaces have spent today could not be read; ended runs stay charged', error);
      return;
    }
    for (const { uid, spent } of runs) await this.#settle(uid, spent);
  }

  async #settle(uid: string, spent: MicroUSD): Promise<void> {
    try {
      const shrunk = await this.#o.spend.settle(uid, spent, AbortSignal.timeout(STORE_MS));
      for (const profile of shrunk) this.#ledger.reconsider(profile);
    } catch (error) {
      this.#o.onError('what a run did not spend could not be given back; it stays reserved until midnight', error);
    }
  }
}
