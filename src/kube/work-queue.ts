import { backoffMs } from './backoff.ts';
import type { BackoffOptions } from './backoff.ts';
import { Heap } from './heap.ts';

/** Keys that wait in `finish` are always taken before those in `start`: what runs is ended before more is begun. */
export type Lane = 'finish' | 'start';

/** What a handler may answer: look again after that long. Nothing means: done until somebody adds the key again. */
export interface Requeue {
  readonly afterMs: number;
  readonly lane?: Lane;
}

/** How a handler settled: done, done for now, or it threw. */
export type HandlerEnd = 'success' | 'requeue_after' | 'error';

/** Hooks for metrics and logs; they must not throw. All durations are milliseconds. */
export interface WorkQueueObserver {
  /** A key was put into the queue, where it did not wait already. */
  added?(key: string): void;
  /** A key left the queue after waiting in it. */
  taken?(key: string, lane: Lane, waitedMs: number): void;
  /** The handler settled, well or not. */
  done?(key: string, tookMs: number, end: HandlerEnd): void;
  /** The handler threw, for the `failures`th time in a row; the key comes again after `retryMs`. */
  failed?(key: string, error: unknown, failures: number, retryMs: number): void;
}

export interface WorkQueueOptions {
  /** Handles one key; never at work twice at once on the same key. `signal` aborts when the queue stops. */
  readonly handle: (key: string, signal: AbortSignal) => Promise<Requeue | void>;
  /** Handlers at work at once. */
  readonly concurrency: number;
  /** Delay after a failure, for each key on its own. */
  readonly backoff?: BackoffOptions;
  readonly observer?: WorkQueueObserver;
}

interface Item {
  readonly key: string;
  /** The lane in which it waits, if it does. */
  lane: Lane | undefined;
  queuedAt: number;
  isRunning: boolean;
  /** Added while its handler was running: the lane to go to afterwards. */
  again: Lane | undefined;
  /** On the clock of `performance.now`; Infinity when not delayed. */
  dueAt: number;
  dueLane: Lane;
  failures: number;
}

interface Alarm {
  readonly item: Item;
  readonly dueAt: number;
}

/** A minute at most: what an outage held up goes on soon after it. */
const DEFAULT_BACKOFF = { baseMs: 500, maxMs: 60_000 };
/** Node fires at once on a longer timeout. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * Keys to work on, each waiting at most once and worked on at most once at a time, however often it is added. One that
 * is added while its handler runs is handled again afterwards, so no change goes unseen. Of several delayed adds the
 * earliest counts, and none holds back an add without delay.
 */
export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #stopping = new AbortController();
  readonly #items = new Map<string, Item>();
  readonly #lanes = { finish: new Fifo(), start: new Fifo() };
  readonly #depth = { finish: 0, start: 0 };
  /** One timer serves every delay; alarms that were overtaken by an earlier one are passed over when they come up. */
  readonly #alarms = new Heap<Alarm>((a, b) => a.dueAt < b.dueAt);
  #delayed = 0;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Infinity;
  #running = 0;
  #isStarted = false;
  #isPumpPlanned = false;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
  }

  /** Keys waiting in each lane. */
  get depth(): Readonly<Record<Lane, number>> {
    return this.#depth;
  }

  /** Keys waiting for their time. */
  get delayed(): number {
    return this.#delayed;
  }

  /** Handlers at work. */
  get running(): number {
    return this.#running;
  }

  /** Begins to work; before that, keys only gather. */
  start(): void {
    this.#isStarted = true;
    this.#planPump();
  }

  add(key: string, lane: Lane = 'start'): void {
    if (this.#stopping.signal.aborted) return;
    this.#enqueue(this.#item(key), lane);
  }

  addAfter(key: string, delayMs: number, lane: Lane = 'start'): void {
    if (this.#stopping.signal.aborted) return;
    // In the heap it would keep every other key from its time.
    if (Number.isNaN(delayMs)) throw new RangeError(`no time to look at ${key} again: the delay is not a number`);
    if (delayMs <= 0) this.#enqueue(this.#item(key), lane);
    else this.#delay(this.#item(key), delayMs, lane);
  }

  /** Forgets the failures of a key, as a success does: the next one waits the shortest time again. */
  forget(key: string): void {
    const item = this.#items.get(key);
    if (item === undefined) return;
    item.failures = 0;
    this.#drop(item);
  }

  /** Resolves once nothing waits and nothing runs; delayed keys do not count. Rejects when `signal` aborts first. */
  async drain(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#isIdle()) return;
    this.#idle ??= Promise.withResolvers<void>();
    const { promise, reject } = Promise.withResolvers<never>();
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    await Promise.race([this.#idle.promise, promise]).finally(() => signal.removeEventListener('abort', abort));
  }

  /** Takes no more keys, aborts the handlers at work, and resolves when they have settled. */
  async stop(): Promise<void> {
    this.#stopping.abort(new DOMException('the work queue stops', 'AbortError'));
    clearTimeout(this.#timer);
    if (this.#running === 0) return;
    this.#idle ??= Promise.withResolvers<void>();
    await this.#idle.promise;
  }

  #isIdle(): boolean {
    const isEmpty = this.#depth.finish + this.#depth.start === 0;
    return this.#running === 0 && (isEmpty || this.#stopping.signal.aborted);
  }

  #item(key: string): Item {
    const known = this.#items.get(key);
    if (known !== undefined) return known;
    const item: Item = {
      key,
      lane: undefined,
      queuedAt: 0,
      isRunning: false,
      again: undefined,
      dueAt: Infinity,
      dueLane: 'start',
      failures: 0,
    };
    this.#items.set(key, item);
    return item;
  }

  /** Keeps no memory of a key that nothing is known about. */
  #drop(item: Item): void {
    const isKnown = item.isRunning || item.lane !== undefined || item.dueAt !== Infinity || item.failures > 0;
    if (!isKnown) this.#items.delete(item.key);
  }

  #enqueue(item: Item, lane: Lane): void {
    if (item.isRunning) {
      item.again = more(item.again, lane);
      return;
    }
    if (item.lane === lane || item.lane === 'finish') return;
    // What is promoted leaves its place in `start` behind; it is passed over there, because its lane is another.
    if (item.lane === undefined) item.queuedAt = performance.now();
    else this.#depth[item.lane]--;
    const isNew = item.lane === undefined;
    item.lane = lane;
    this.#depth[lane]++;
    this.#lanes[lane].push(item);
    this.#planPump();
    if (isNew) this.#options.observer?.added?.(item.key);
  }

  #delay(item: Item, delayMs: number, lane: Lane): void {
    const dueAt = performance.now() + delayMs;
    if (item.dueAt === Infinity) {
      this.#delayed++;
      item.dueLane = lane;
    } else {
      item.dueLane = more(item.dueLane, lane);
    }
    if (dueAt >= item.dueAt) return;
    item.dueAt = dueAt;
    this.#alarms.push({ item, dueAt });
    this.#setTimer();
  }

  #setTimer(): void {
    const dueAt = this.#alarms.peek()?.dueAt ?? Infinity;
    if (dueAt >= this.#timerAt || this.#stopping.signal.aborted) return;
    clearTimeout(this.#timer);
    this.#timerAt = dueAt;
    // Rounded up, because a timer may fire a fraction of a millisecond early and would then find nothing due.
    const delay = Math.ceil(Math.max(0, dueAt - performance.now()));
    this.#timer = setTimeout(() => this.#ring(), Math.min(delay, MAX_TIMEOUT_MS));
  }

  #ring(): void {
    this.#timerAt = Infinity;
    const now = performance.now();
    for (let alarm = this.#alarms.peek(); alarm !== undefined && alarm.dueAt <= now; alarm = this.#alarms.peek()) {
      this.#alarms.pop();
      const { item, dueAt } = alarm;
      if (item.dueAt !== dueAt) continue;
      item.dueAt = Infinity;
      this.#delayed--;
      this.#enqueue(item, item.dueLane);
    }
    this.#setTimer();
  }

  /** Work begins in a turn of its own: a burst of events is merged first, and I/O gets its turn between batches. */
  #planPump(): void {
    if (this.#isPumpPlanned || !this.#isStarted) return;
    this.#isPumpPlanned = true;
    setImmediate(() => {
      this.#isPumpPlanned = false;
      this.#pump();
    });
  }

  #pump(): void {
    while (this.#running < this.#options.concurrency && !this.#stopping.signal.aborted) {
      const item = this.#lanes.finish.take('finish') ?? this.#lanes.start.take('start');
      if (item === undefined) return;
      void this.#run(item);
    }
  }

  async #run(item: Item): Promise<void> {
    const { handle, observer } = this.#options;
    const lane = item.lane!;
    const startedAt = performance.now();
    this.#depth[lane]--;
    this.#running++;
    item.lane = undefined;
    item.isRunning = true;
    let end: HandlerEnd = 'success';
    try {
      observer?.taken?.(item.key, lane, startedAt - item.queuedAt);
      const requeue = await handle(item.key, this.#stopping.signal);
      item.failures = 0;
      if (requeue) {
        end = 'requeue_after';
        this.addAfter(item.key, requeue.afterMs, requeue.lane);
      }
    } catch (error) {
      end = 'error';
      if (!this.#stopping.signal.aborted) this.#failed(item, lane, error);
    }
    item.isRunning = false;
    this.#running--;
    this.#settle(item);
    observer?.done?.(item.key, performance.now() - startedAt, end);
  }

  #failed(item: Item, lane: Lane, error: unknown): void {
    item.failures++;
    const retryMs = backoffMs(item.failures, this.#options.backoff ?? DEFAULT_BACKOFF);
    this.#delay(item, retryMs, lane);
    this.#options.observer?.failed?.(item.key, error, item.failures, retryMs);
  }

  #settle(item: Item): void {
    const { again } = item;
    item.again = undefined;
    if (again !== undefined && !this.#stopping.signal.aborted) this.#enqueue(item, again);
    this.#drop(item);
    if (this.#isIdle()) {
      this.#idle?.resolve();
      this.#idle = undefined;
    }
    this.#planPump();
  }
}

/** First in, first out, in constant time. Items that have left this lane meanwhile are passed over. */
class Fifo {
  #items: (Item | undefined)[] = [];
  #head = 0;

  push(item: Item): void {
    this.#items.push(item);
  }

  take(lane: Lane): Item | undefined {
    while (this.#head < this.#items.length) {
      const item = this.#items[this.#head]!;
      this.#items[this.#head++] = undefined;
      // Cutting the taken part off only when it is half of the whole keeps the cost of the copy constant per item.
      if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
        this.#items = this.#items.slice(this.#head);
        this.#head = 0;
      }
      if (item.lane === lane) return item;
    }
    this.#items = [];
    this.#head = 0;
    return undefined;
  }
}

function more(a: Lane | undefined, b: Lane): Lane {
  return a === 'finish' ? a : b;
}
