import { matchIntents } from '../../src/controller/remote/claims.ts';
import type { FoundWork, Handle, Plan, RuntimeContext, RuntimeResult, WorkState } from '../../src/runtime/contract.ts';
import { isRuntimeError, type RuntimeError } from '../../src/runtime/errors.ts';
import type { VirtualClock } from '../faults/run/virtual-clock.ts';
import { Death, type Calls } from './calls.ts';
import type { Process } from './harness.ts';
import type { MemorySink } from './memory-sink.ts';

/**
 * The smallest controller that keeps the contract: intent, create, observe, collect, teardown, each step recorded before
 * the next, so that another process goes on from the record alone.
 */

/** What survives the process: as much as a run's status holds. */
export interface Entry {
  readonly context: RuntimeContext;
  readonly sink: MemorySink;
  /** Somebody wants it ended: its results are kept, or it is to be gone altogether. */
  stop: 'cancel' | 'delete' | undefined;
  intent?: { requestDigest: string; recordedAt: number; notAfter: number; deadlineAt: number } | undefined;
  handle?: Handle;
  seen?: 'queued' | 'running';
  end?: WorkState & { at: 'ended' | 'gone' };
  result?: RuntimeResult | 'none';
  done?: Outcome;
}
export type Outcome = 'succeeded' | 'failed' | 'cancelled' | 'lost' | 'refused' | 'never created' | 'unresolved';

/** How an entry has just changed; what people do in a scenario hangs on it. */
export type Change = 'intent' | 'handle' | 'queued' | 'running' | 'end' | 'result' | 'no intent' | 'done';

const SECOND = 1000;
/** From the intent until nothing is sent any more. */
const SEND_WITHIN = 60 * SECOND;
/** The most that a request which was sent in time may still take. */
const REQUEST_TIMEOUT = 60 * SECOND;

/** One process at work on all entries. */
export class Driver {
  readonly #process: Process;
  readonly #entries: readonly Entry[];
  readonly #clock: VirtualClock;
  readonly #calls: Calls;
  readonly #onChange: (entry: Entry, change: Change) => void;
  /** Intents of this process whose request was not sent yet. */
  readonly #unsent = new Set<Entry>();
  readonly #due = new Map<Entry, number>();
  /** What no runtime may do, each as a sentence. */
  readonly violations: string[] = [];
  /** Messages of all errors so far: conditions would show them. */
  readonly words: string[] = [];

  constructor(
    process: Process,
    entries: readonly Entry[],
    clock: VirtualClock,
    calls: Calls,
    onChange: (entry: Entry, change: Change) => void,
  ) {
    this.#process = process;
    this.#entries = entries;
    this.#clock = clock;
    this.#calls = calls;
    this.#onChange = onChange;
  }

  /** Works until every entry is done. Throws Death. */
  async run(): Promise<void> {
    const end = this.#clock.now + 6 * 3600 * SECOND;
    while (this.#clock.now < end) {
      const open = this.#entries.filter((entry) => entry.done === undefined);
      if (open.length === 0) return;
      const due = open.find((entry) => (this.#due.get(entry) ?? 0) <= this.#clock.now);
      if (due !== undefined) await this.#step(due);
      else {
        const next = Math.min(...open.map((entry) => this.#due.get(entry)!));
        pass(this.#clock, next - this.#clock.now);
      }
    }
    this.violations.push('it did not come to an end within six hours');
    for (const entry of this.#entries) entry.done ??= 'unresolved';
  }

  async #step(entry: Entry): Promise<void> {
    try {
      await this.#decide(entry);
    } catch (error) {
      // Whatever it looked like from inside.
      if (this.#calls.dead || error instanceof Death) throw new Death();
      if (!isRuntimeError(error)) {
        this.violations.push(`threw what is no RuntimeError: ${String(error)}`);
        entry.done = 'unresolved';
        return;
      }
      this.words.push(error.message);
      this.#wait(entry, delayAfter(error));
    }
    if (this.#calls.dead) throw new Death();
  }

  async #decide(entry: Entry): Promise<void> {
    const { runtime } = this.#process;
    const plan = runtime.plan(entry.context);
    if (!plan.ok) return this.#record(entry, 'done', { done: 'refused' });
    if (entry.handle === undefined) {
      if (entry.intent === undefined) return this.#intend(entry, plan);
      if (this.#unsent.has(entry)) return this.#create(entry, plan);
      if (runtime.traits.idempotentCreate && entry.stop === undefined) return this.#create(entry, plan);
      return this.#resolve(entry);
    }
    if (entry.end === undefined) return this.#follow(entry, entry.handle);
    if (entry.result === undefined) return this.#collect(entry, entry.handle, entry.end);
    await this.#effect(() => runtime.teardown(entry.handle!, this.#process.io()));
    return this.#record(entry, 'done', { done: outcomeOf(entry.end, entry.stop) });
  }

  async #intend(entry: Entry, plan: Plan): Promise<void> {
    if (entry.stop !== undefined) return this.#record(entry, 'done', { done: 'never created' });
    const { now } = this.#clock;
    const intent = {
      requestDigest: plan.requestDigest,
      recordedAt: now,
      notAfter: now + SEND_WITHIN,
      deadlineAt: now + SEND_WITHIN + REQUEST_TIMEOUT + plan.deadlineSeconds * SECOND,
    };
    await this.#record(entry, 'intent', { intent });
    this.#unsent.add(entry);
  }

  async #create(entry: Entry, plan: Plan): Promise<void> {
    const { runtime, io } = this.#process;
    const { notAfter } = entry.intent!;
    // Stopped before anything was sent.
    if (this.#unsent.has(entry) && entry.stop !== undefined)
      return this.#record(entry, 'no intent', { intent: undefined });
    const again = !this.#unsent.delete(entry);
    try {
      await this.#effect(() => runtime.prepare?.(plan, io()) ?? Promise.resolve());
    } catch (error) {
      if (!this.#calls.dead && !again) await this.#record(entry, 'no intent', { intent: undefined });
      throw error;
    }
    let handle: Handle;
    try {
      handle = await this.#effect(() =>
        runtime.create(plan, {
          ...io(),
          once: { notAfter: again ? this.#clock.now + SEND_WITHIN : notAfter, maySend: () => this.#maySend() },
        }),
      );
    } catch (error) {
      if (this.#calls.dead || !isRuntimeError(error) || error.kind === 'unknownOutcome') throw error;
      if (error.kind === 'user' || error.kind === 'terminal') return this.#record(entry, 'done', { done: 'refused' });
      // Nothing was created, it says; of an earlier request with this intent it says nothing.
      if (!again) await this.#record(entry, 'no intent', { intent: undefined });
      throw error;
    }
    await this.#record(entry, 'handle', { handle });
  }

  #maySend(): void {
    if (this.#calls.dead) throw new Death();
  }

  /** It is not known whether the vendor has the work: looked up once all that may come has come. */
  async #resolve(entry: Entry): Promise<void> {
    const { runtime, io } = this.#process;
    const { traits } = runtime;
    const settledAt = (each: Entry) => each.intent!.notAfter + REQUEST_TIMEOUT + traits.listLagMs;
    if (this.#clock.now < settledAt(entry)) return this.#wait(entry, settledAt(entry) - this.#clock.now);
    const unknown = this.#entries.filter((each) => each.intent !== undefined && each.handle === undefined);
    const since = Math.min(...unknown.map((each) => each.intent!.recordedAt));
    const found: FoundWork[] = [];
    await this.#effect(async () => {
      for await (const work of runtime.list(since, io())) found.push(work);
    });
    const claimed = new Set(this.#entries.map((each) => each.handle?.externalId));
    const free = found.filter((work) => !claimed.has(work.externalId));
    const ours = traits.marksWork ? byMark(entry, free) : byTime(entry, unknown, free);
    if (ours === 'unsure') {
      const { deadlineAt } = entry.intent!;
      if (this.#clock.now < deadlineAt) return this.#wait(entry, deadlineAt - this.#clock.now);
      return this.#record(entry, 'done', { done: 'unresolved' });
    }
    if (ours === undefined) return this.#record(entry, 'no intent', { intent: undefined });
    const { externalId, createdAt } = ours;
    return this.#record(entry, 'handle', { handle: { externalId, createdAt, attempt: entry.context.attempt } });
  }

  async #follow(entry: Entry, handle: Handle): Promise<void> {
    const { runtime, io } = this.#process;
    if (entry.stop !== undefined) await this.#effect(() => runtime.teardown(handle, io()));
    const states = await this.#effect(() => runtime.observe([handle], io()));
    const state = states.get(handle.externalId);
    if (state === undefined) return this.#wait(entry, runtime.traits.pollMs);
    if (state.at === 'ended' || state.at === 'gone') return this.#record(entry, 'end', { end: state });
    this.#wait(entry, runtime.traits.pollMs);
    if (entry.seen !== state.at) await this.#record(entry, state.at, { seen: state.at });
  }

  async #collect(entry: Entry, handle: Handle, end: NonNullable<Entry['end']>): Promise<void> {
    if (end.at === 'gone' || entry.stop === 'delete') return this.#record(entry, 'result', { result: 'none' });
    const { runtime, io } = this.#process;
    const result = await this.#effect(() => runtime.collect(handle, entry.context, entry.sink, io()));
    return this.#record(entry, 'result', { result });
  }

  /** One step of the runtime; a dead process has no more of them. */
  async #effect<T>(step: () => Promise<T>): Promise<T> {
    if (this.#calls.dead) throw new Death();
    const answer = await step();
    if (this.#calls.dead) throw new Death();
    return answer;
  }

  async #record(entry: Entry, change: Change, patch: Partial<Entry>): Promise<void> {
    await this.#calls.do(`record ${change}`, () => {
      Object.assign(entry, patch);
      this.#onChange(entry, change);
    });
  }

  #wait(entry: Entry, ms: number): void {
    this.#due.set(entry, this.#clock.now + Math.max(1, ms));
  }
}

/** Lets time go by with all that it brings. */
export function pass(clock: VirtualClock, ms: number): void {
  const end = clock.now + ms;
  while (clock.step(end));
  clock.now = end;
}

function delayAfter(error: RuntimeError): number {
  const { fault } = error;
  switch (fault.kind) {
    case 'throttled':
      return fault.retryAfterMs;
    case 'credentials':
      return 30 * SECOND;
    default:
      return 5 * SECOND;
  }
}

function outcomeOf(end: NonNullable<Entry['end']>, stop: Entry['stop']): Outcome {
  // What was torn down may leave nothing behind.
  if (end.at === 'gone') return stop === undefined ? 'lost' : 'cancelled';
  return end.outcome;
}

function byMark({ context }: Entry, found: readonly FoundWork[]): FoundWork | undefined {
  return found.find(({ mark }) => mark?.clientRunId === context.clientRunId && mark.attempt === context.attempt);
}

function byTime(
  entry: Entry,
  unknown: readonly Entry[],
  found: readonly FoundWork[],
): FoundWork | 'unsure' | undefined {
  const intents = unknown.map(({ context, intent }) => ({
    run: context.uid,
    requestDigest: intent!.requestDigest,
    from: intent!.recordedAt,
    until: intent!.notAfter + REQUEST_TIMEOUT,
  }));
  const { matched, unsure } = matchIntents(intents, found);
  return matched.get(entry.context.uid) ?? (unsure.length > 0 ? 'unsure' : undefined);
}
