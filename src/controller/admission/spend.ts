import type { RunStore } from '../../results/contract.ts';
import { formatUSD, type MicroUSD } from '../money.ts';

/**
 * What each namespace has spent and reserved with each profile in one UTC day.
 *
 * A run is charged for the most that it can cost before it starts, and for what it did cost once it has ended: the sum
 * of its entries is never less than what it may still buy, whoever dies meanwhile. Entries outlive the operator and the
 * runs: they are empty objects in the run store whose keys hold the amounts, so that a start costs one listing and no reads.
 *
 * A run that goes on another day, or with another profile, is charged there for what its earlier entries do not cover.
 */

const PREFIX = 'spend/';
const KEY = /^spend\/(\d{4}-\d\d-\d\d)\/([^/]+)\/([^/]+)\/([^/]+)\.(\d+)$/;
/** Days that are kept: a run that is suspended for longer is charged anew. */
const KEPT_DAYS = 7;
const DAY_MS = 86_400_000;

export interface Charge {
  uid: string;
  namespace: string;
  profile: string;
  /** The most that the run can cost in all, what it has cost so far included; undefined where it has no price. */
  ceiling: MicroUSD | undefined;
}

interface Entry {
  day: string;
  profile: string;
  namespace: string;
  uid: string;
  amount: MicroUSD;
  /** Amounts under which the store has it: more than one only while it changes. */
  stored: Set<MicroUSD>;
}

const dayOf = (now: number): string => new Date(now).toISOString().slice(0, 10);
const accountOf = ({ day, profile, namespace }: Pick<Entry, 'day' | 'profile' | 'namespace'>): string =>
  `${day}/${profile}/${namespace}`;
const keyOf = (entry: Entry, amount: MicroUSD): string => `${PREFIX}${accountOf(entry)}/${entry.uid}.${amount}`;
const most = (a: MicroUSD, b: MicroUSD): MicroUSD => (a > b ? a : b);

/** The next midnight, UTC; milliseconds since the epoch. */
export const nextDay = (now: number): number => (Math.floor(now / DAY_MS) + 1) * DAY_MS;

export class SpendBook {
  readonly #store: Pick<RunStore, 'put' | 'list' | 'remove'>;
  readonly #now: () => number;
  readonly #assertLeader: () => unknown;
  /** By run, oldest first. */
  #runs = new Map<string, Entry[]>();
  /** Sums by day, profile and namespace. */
  #accounts = new Map<string, MicroUSD>();
  #loading: Promise<void> | undefined;
  #loaded = false;
  /** The day on which old ones were last dropped. */
  #dropped = '';
  #term = 0;
  /** One write of a run at a time. */
  readonly #writes = new Map<string, Promise<void>>();

  /** `assertLeader` throws where another process may lead by now. */
  constructor(store: Pick<RunStore, 'put' | 'list' | 'remove'>, now: () => number, assertLeader: () => unknown) {
    this.#store = store;
    this.#now = now;
    this.#assertLeader = assertLeader;
  }

  /** Another replica may have led and written since: what is known here is read again before its next use. */
  begin(): void {
    this.#runs = new Map();
    this.#accounts = new Map();
    this.#loaded = false;
    this.#loading = undefined;
    this.#term += 1;
  }

  /** Reads the store once a term; further calls wait for the same read. Each day the oldest is dropped. Throws StoreError. */
  async load(signal?: AbortSignal): Promise<void> {
    if (this.#loaded) return this.#dropOldDays(signal);
    const term = this.#term;
    this.#loading ??= this.#read(term, signal).finally(() => {
      if (this.#term === term) this.#loading = undefined;
    });
    await this.#loading;
  }

  /** Whether the day has room for the run. False before the first load: an unread account may be full. */
  fits(charge: Charge, cap: MicroUSD | undefined): boolean {
    if (charge.ceiling === undefined || cap === undefined) return true;
    if (!this.#loaded) return false;
    const { account, own, due } = this.#due(charge);
    return (this.#accounts.get(account) ?? 0n) - own + due <= cap;
  }

  /** Charges the run, in memory: {@link persist} must succeed before anything is created. */
  reserve(charge: Charge, cap: MicroUSD | undefined): void {
    if (charge.ceiling === undefined || cap === undefined) return;
    const { day, due } = this.#due(charge);
    const entries = this.#runs.get(charge.uid) ?? [];
    let entry = entries.find((e) => e.day === day && e.profile === charge.profile);
    if (entry === undefined) {
      const { uid, namespace, profile } = charge;
      entry = { day, profile, namespace, uid, amount: 0n, stored: new Set() };
      this.#runs.set(uid, [...entries, entry]);
    }
    this.#change(entry, due);
  }

  /** The store knows every charge of the run. */
  isDurable(uid: string): boolean {
    return (this.#runs.get(uid) ?? []).every((entry) => entry.stored.has(entry.amount));
  }

  /** Throws StoreError. */
  async persist(uid: string, signal?: AbortSignal): Promise<void> {
    const before = this.#writes.get(uid) ?? Promise.resolve();
    const write = before.then(() => this.#write(uid, signal));
    const settled = write.catch(() => {});
    this.#writes.set(uid, settled);
    try {
      await write;
    } finally {
      if (this.#writes.get(uid) === settled) this.#writes.delete(uid);
    }
  }

  /** Takes back what the store does not know: nothing was created on the strength of it. */
  undo(uid: string): void {
    const entries = this.#runs.get(uid);
    if (entries === undefined) return;
    for (const entry of entries) this.#change(entry, [...entry.stored].reduce(most, 0n));
    this.#runs.set(
      uid,
      entries.filter((entry) => entry.stored.size > 0),
    );
  }

  /**
   * The run has cost `total` in all and buys nothing more for now: what was reserved beyond that is free again, once the
   * store knows. Answers the profiles whose accounts have room now. Throws StoreError; the charge then stands.
   */
  async settle(uid: string, total: MicroUSD, signal?: AbortSignal): Promise<string[]> {
    await this.load(signal);
    const entries = this.#runs.get(uid) ?? [];
    const last = entries.at(-1);
    let surplus = sum(entries) - total;
    if (last === undefined || surplus === 0n) return [];
    const before = entries.map(({ amount }) => amount);
    const shrinks = surplus > 0n;
    if (!shrinks) this.#change(last, last.amount - surplus);
    // Earlier days are over: only what the newest one holds can make room.
    for (const entry of entries.filter(({ day }) => shrinks && day === last.day).toReversed()) {
      const back = entry.amount < surplus ? entry.amount : surplus;
      this.#change(entry, entry.amount - back);
      surplus -= back;
    }
    try {
      await this.persist(uid, signal);
    } catch (error) {
      entries.forEach((entry, i) => this.#change(entry, most(entry.amount, before[i]!)));
      throw error;
    }
    return entries.filter((entry, i) => entry.amount < before[i]!).map(({ profile }) => profile);
  }

  /** What today's account must hold of the run, and what it holds already. */
  #due({ uid, namespace, profile, ceiling = 0n }: Charge): {
    day: string;
    account: string;
    own: MicroUSD;
    due: MicroUSD;
  } {
    const day = dayOf(this.#now());
    const entries = this.#runs.get(uid) ?? [];
    const own = entries.find((e) => e.day === day && e.profile === profile)?.amount ?? 0n;
    return { day, account: accountOf({ day, profile, namespace }), own, due: most(0n, ceiling - (sum(entries) - own)) };
  }

  #change(entry: Entry, amount: MicroUSD): void {
    const account = accountOf(entry);
    this.#accounts.set(account, (this.#accounts.get(account) ?? 0n) - entry.amount + amount);
    entry.amount = amount;
  }

  async #read(term: number, signal: AbortSignal | undefined): Promise<void> {
    const oldest = this.#oldest();
    const old = new Set<string>();
    const runs = new Map<string, Entry[]>();
    for await (const { key } of this.#store.list(PREFIX, signal)) {
      const [, day, profile, namespace, uid, amount] = KEY.exec(key) ?? [];
      if (day === undefined || profile === undefined || namespace === undefined || uid === undefined) continue;
      if (day < oldest) {
        old.add(day);
        continue;
      }
      const entries = runs.get(uid) ?? [];
      let entry = entries.find((e) => e.day === day && e.profile === profile);
      if (entry === undefined) {
        entry = { day, profile, namespace, uid, amount: 0n, stored: new Set() };
        runs.set(uid, [...entries, entry]);
      }
      // Two amounts: the writer died between writing the one and removing the other. The dearer one is safe.
      entry.stored.add(BigInt(amount!));
      entry.amount = most(entry.amount, BigInt(amount!));
    }
    for (const day of old) await this.#store.remove(`${PREFIX}${day}/`, signal);
    if (term !== this.#term) return;
    this.#dropped = dayOf(this.#now());
    this.#runs = runs;
    this.#accounts = new Map();
    for (const entry of [...runs.values()].flat()) {
      const account = accountOf(entry);
      this.#accounts.set(account, (this.#accounts.get(account) ?? 0n) + entry.amount);
    }
    this.#loaded = true;
  }

  #oldest(): string {
    return dayOf(this.#now() - KEPT_DAYS * DAY_MS);
  }

  async #dropOldDays(signal: AbortSignal | undefined): Promise<void> {
    const today = dayOf(this.#now());
    if (this.#dropped === today) return;
    this.#dropped = today;
    const oldest = this.#oldest();
    const old = new Set<string>();
    for (const [uid, entries] of this.#runs) {
      const kept = entries.filter(({ day }) => day >= oldest);
      for (const { day } of entries) if (day < oldest) old.add(day);
      if (kept.length === 0) this.#runs.delete(uid);
      else if (kept.length < entries.length) this.#runs.set(uid, kept);
    }
    for (const account of this.#accounts.keys()) if (account < oldest) this.#accounts.delete(account);
    for (const day of old) await this.#store.remove(`${PREFIX}${day}/`, signal);
  }

  async #write(uid: string, signal: AbortSignal | undefined): Promise<void> {
    for (const entry of this.#runs.get(uid) ?? []) {
      const { amount } = entry;
      if (!entry.stored.has(amount)) {
        await this.#store.put(keyOf(entry, amount), Buffer.from('{}'), 'application/json', signal);
        entry.stored.add(amount);
      }
      for (const other of entry.stored) {
        if (other === amount) continue;
        // One that slept while another led must not take back what that one counts on. Its own amounts do no harm.
        this.#assertLeader();
        await this.#store.remove(keyOf(entry, other), signal);
        entry.stored.delete(other);
      }
    }
  }
}

function sum(entries: readonly Entry[]): MicroUSD {
  return entries.reduce((total, { amount }) => total + amount, 0n);
}

/** For people; the same words as long as they are true, because each change is a write for every run that waits. */
export function dailyLimitMessage({ namespace, profile, ceiling = 0n }: Charge, cap: MicroUSD): string {
  return `namespace ${namespace} has no room for the $${formatUSD(ceiling)} that the run could cost: profile ${profile} allows one namespace $${formatUSD(cap)} a day; it waits for 00:00 UTC, or until runs of today turn out cheaper`;
}
