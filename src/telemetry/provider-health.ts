import type { ProviderEvent } from './provider-event.ts';
import type { EventContext, ProviderEventSink } from './provider-events.ts';

/**
 * Whether calls to a profile's vendor fail often of late. Counting is pure; {@link ProviderHealth} keeps one window a
 * profile, and says when a verdict changes.
 */

/** How far back is looked, in slices: memory does not grow with the number of calls. Milliseconds. */
const WINDOW_MS = 5 * 60_000;
const SLICE_MS = 10_000;
/** Fewer calls than this say nothing. */
const FEWEST = 5;
/** Degraded from half of them on, well again below a quarter: a vendor on the edge must not flap. */
const BAD_SHARE = 0.5;
const WELL_SHARE = 0.25;
/** A health check that succeeds clears, but not in the middle of calls that fail: it may be the one thing that works. */
const QUIET_MS = 60_000;

interface Slice {
  /** Start; a multiple of {@link SLICE_MS}. */
  readonly at: number;
  readonly good: number;
  readonly bad: number;
}

/** Times are milliseconds since the epoch. */
export interface Window {
  readonly degraded: boolean;
  /** Oldest first. */
  readonly slices: readonly Slice[];
  readonly lastBadAt: number;
  /** What failed last, in bounded words. */
  readonly lastBad: string;
}

export const EMPTY_WINDOW: Window = { degraded: false, slices: [], lastBadAt: -Infinity, lastBad: '' };

export type Judgement = 'good' | 'bad' | 'neither';

/**
 * What an event says of the vendor. A request that the vendor found wrong (4xx) speaks of its sender: one user's mistakes
 * must not keep everybody else waiting.
 */
export function judge({ phase, status_code: status }: ProviderEvent): Judgement {
  if (phase === 'success') return 'good';
  if (phase === 'retry' || phase === 'budget_exceeded' || status === null) return 'bad';
  const ofSender = status >= 400 && status < 500 && ![401, 403, 408, 425, 429].includes(status);
  return ofSender ? 'neither' : 'bad';
}

export function count(window: Window, judgement: Judgement, what: string, now: number): Window {
  if (judgement === 'neither') return settle(window, now);
  const at = Math.floor(now / SLICE_MS) * SLICE_MS;
  const last = window.slices.at(-1);
  const open = last?.at === at ? last : { at, good: 0, bad: 0 };
  const counted = { ...open, [judgement]: open[judgement] + 1 };
  const slices = [...(last?.at === at ? window.slices.slice(0, -1) : window.slices), counted];
  const bad = judgement === 'bad' ? { lastBadAt: now, lastBad: what } : {};
  return settle({ ...window, ...bad, slices }, now);
}

/** A health check has succeeded. */
export function recover(window: Window, now: number): Window {
  return window.degraded && now - window.lastBadAt >= QUIET_MS ? EMPTY_WINDOW : settle(window, now);
}

/** Forgets what is too old, and judges anew. */
export function settle(window: Window, now: number): Window {
  const slices = window.slices.filter(({ at }) => at + SLICE_MS + WINDOW_MS > now);
  const { good, bad } = totals(slices);
  const share = good + bad < FEWEST ? 0 : bad / (good + bad);
  return { ...window, slices, degraded: window.degraded ? share >= WELL_SHARE : share >= BAD_SHARE };
}

/** When time alone may change the verdict; undefined where nothing is counted. */
export function nextLookAt({ slices }: Window): number | undefined {
  const [oldest] = slices;
  return oldest === undefined ? undefined : oldest.at + SLICE_MS + WINDOW_MS;
}

export function totals(slices: readonly Slice[]): { good: number; bad: number } {
  let good = 0;
  let bad = 0;
  for (const slice of slices) {
    good += slice.good;
    bad += slice.bad;
  }
  return { good, bad };
}

export interface DegradedVerdict {
  readonly degraded: boolean;
  readonly reason: 'CallsFail' | 'CallsSucceed';
  readonly message: string;
}

const WELL: DegradedVerdict = { degraded: false, reason: 'CallsSucceed', message: '' };

/** Time, so that minutes can pass in a test. */
export interface HealthClock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Calls once, `ms` from now; answers a function that cancels. */
  after(ms: number, call: () => void): () => void;
}

const systemClock: HealthClock = {
  now: () => Date.now(),
  after: (ms, call) => {
    const timer = setTimeout(call, ms).unref();
    return () => clearTimeout(timer);
  },
};

/** Fed with every event; asked by admission and by the profile's controller. Memory only: a new leader starts trusting. */
export class ProviderHealth implements ProviderEventSink {
  readonly name = 'health';
  readonly #clock: HealthClock;
  /** The verdict's words are made once: a number in them that grows would be a write for every call. */
  readonly #profiles = new Map<string, { window: Window; verdict: DegradedVerdict }>();
  readonly #listeners = new Set<(profile: string) => void>();
  #cancelLook: (() => void) | undefined;

  constructor(clock: HealthClock = systemClock) {
    this.#clock = clock;
  }

  accept(event: ProviderEvent, { profile, healthCheck }: EventContext): void {
    if (profile === undefined) return;
    const { window } = this.#profiles.get(profile) ?? { window: EMPTY_WINDOW };
    const now = this.#clock.now();
    const judgement = judge(event);
    // It costs nothing and reaches little: its success is a hint, not one of the calls that are counted.
    if (healthCheck && judgement === 'good') this.#put(profile, recover(window, now), event.provider);
    else this.#put(profile, count(window, judgement, wordsOf(event), now), event.provider);
    this.#lookLater();
  }

  degraded(profile: string): DegradedVerdict {
    return this.#profiles.get(profile)?.verdict ?? WELL;
  }

  /** Called with the name of a profile whose verdict is another one now. Answers a function that ends it. */
  onChange(listener: (profile: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The profile is gone; another one of its name starts anew. */
  forget(profile: string): void {
    this.#profiles.delete(profile);
  }

  stop(): void {
    this.#cancelLook?.();
  }

  #put(profile: string, window: Window, provider: string): void {
    const before = this.#profiles.get(profile)?.verdict ?? WELL;
    const changed = before.degraded !== window.degraded;
    const verdict = !changed ? before : window.degraded ? verdictOf(window, provider) : WELL;
    if (window.slices.length === 0) this.#profiles.delete(profile);
    else this.#profiles.set(profile, { window, verdict });
    if (changed) for (const listener of this.#listeners) listener(profile);
  }

  #lookLater(): void {
    if (this.#cancelLook !== undefined) return;
    const looks = [...this.#profiles.values()].flatMap(({ window }) => nextLookAt(window) ?? []);
    if (looks.length === 0) return;
    this.#cancelLook = this.#clock.after(Math.max(0, Math.min(...looks) - this.#clock.now()), () => {
      this.#cancelLook = undefined;
      const now = this.#clock.now();
      for (const [profile, { window }] of this.#profiles) this.#put(profile, settle(window, now), '');
      this.#lookLater();
    });
  }
}

function verdictOf({ slices, lastBad }: Window, provider: string): DegradedVerdict {
  const { good, bad } = totals(slices);
  const message = `${bad} of the last ${good + bad} calls to ${provider} failed or were repeated, the last one: ${lastBad}. New runs wait; this clears by itself when calls succeed, or after ${WINDOW_MS / 60_000} minutes without any that fail.`;
  return { degraded: true, reason: 'CallsFail', message };
}

/** Of bounded parts only: what the vendor said is in the log. */
function wordsOf({ operation, phase, status_code: status }: ProviderEvent): string {
  return `${operation} (${status === null ? phase.replaceAll('_', ' ') : `HTTP ${status}`})`;
}
