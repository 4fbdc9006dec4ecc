import type { Readable } from 'node:stream';
import type { StoredLog } from '../../crds/world-run-status.ts';
import { backoffMs } from '../../kube/backoff.ts';
import { isKubeError } from '../../kube/errors.ts';
import { pause } from '../../kube/pause.ts';
import { TokenBucket } from '../../kube/token-bucket.ts';
import type { AttemptKey, RunAttempt, RunStore } from '../contract.ts';
import type { ResultsHub } from '../hub.ts';
import { LineTooLong, LogReader } from './log-reader.ts';
import { LogText } from './log-text.ts';

export interface LogRequest {
  namespace: string;
  pod: string;
  container: string;
  /** RFC 3339; absent: from the beginning. */
  sinceTime?: string;
  limitBytes?: number;
  signal: AbortSignal;
}

/** GET pods/log with `timestamps=true`, the raw bytes. Rejects when the pod or its log is gone. */
export type ReadLog = (request: LogRequest) => Promise<Readable>;

export interface TrackedPod {
  namespace: string;
  name: string;
  uid: string;
  container: string;
  rank: number;
  /** RFC 3339, when the user's container started; lets a lost beginning be noticed. Nothing is read before it is there. */
  startedAt?: string;
  /** The run forwards secrets: nothing of its log is stored before their fingerprints are there. */
  secrets: boolean;
}

export interface LogCaptureOptions {
  store: RunStore;
  hub: ResultsHub;
  readLog: ReadLog;
  /** Bytes kept of one log: its head and its newest part. Default 64 MiB. */
  limitBytes?: number;
  /** Reads begun a second over all pods. Default 20. */
  readsPerSecond?: number;
  onError?: (message: string, cause: unknown) => void;
}

interface Tracked {
  attempt: RunAttempt;
  pod: TrackedPod;
  text: LogText;
  reader: LogReader | undefined;
  /** On the monotonic clock. */
  readAt: number;
  dueAt: number;
  reading: Promise<void> | undefined;
  finished: Promise<StoredLog> | undefined;
  /** An operator before this one may have stored segments. */
  late: boolean;
  end: AbortController;
}

const TICK = 200;
/** Most runs that are shorter than this are read once, at their end. */
const FIRST_READ = 10_000;
const SHORTEST_INTERVAL = 5_000;
const LONGEST_INTERVAL = 60_000;
/** Bytes that a container may write between two reads: less than half of what the kubelet keeps in one file. */
const WANTED_PER_READ = 4 * 2 ** 20;
const MOST_PER_READ = 8 * 2 ** 20;
const MOST_READS_AT_ONCE = 4;
/** Each holds a few megabytes at most; the others wait for their turn. */
const MOST_FINAL_READS_AT_ONCE = 16;
/** Bytes of all logs in memory. */
const MEMORY = 64 * 2 ** 20;
const READ_TIMEOUT = 60_000;
const FINAL_TIMEOUT = 300_000;
const FINAL_TRIES = 4;
const BACKOFF = { baseMs: 500, maxMs: 4_000 };
const LATE_MS = 15_000;

/** Keeps the logs of live attempts' pods before the kubelet rotates or deletes them. */
export class LogCapture {
  readonly #options: LogCaptureOptions;
  readonly #limit: number;
  readonly #rate: TokenBucket;
  /** Longest unread first. */
  readonly #tracked = new Map<string, Tracked>();
  readonly #timer: NodeJS.Timeout;
  #reads = 0;
  #finalReads = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(options: LogCaptureOptions) {
    this.#options = options;
    this.#limit = options.limitBytes ?? 64 * 2 ** 20;
    const perSecond = options.readsPerSecond ?? 20;
    this.#rate = new TokenBucket(perSecond, perSecond);
    this.#timer = setInterval(() => this.#tick(), TICK);
    this.#timer.unref();
  }

  /** Begins to read; a second call for the same pod only brings `startedAt` up to date. */
  track(attempt: RunAttempt, pod: TrackedPod): void {
    const name = nameOf(attempt, pod.rank);
    const known = this.#tracked.get(name);
    if (known?.pod.uid === pod.uid) {
      known.pod = pod;
      return;
    }
    known?.end.abort();
    const { startedAt } = pod;
    this.#tracked.set(name, {
      attempt,
      pod,
      text: new LogText(this.#options.store, attempt, pod.rank, this.#limit),
      reader: undefined,
      readAt: performance.now(),
      dueAt: performance.now() + FIRST_READ,
      reading: undefined,
      finished: undefined,
      late: startedAt !== undefined && Date.now() - Date.parse(startedAt) > LATE_MS,
      end: new AbortController(),
    });
  }

  /**
   * Reads the rest once, stores the whole (`log.txt`) and its record, and shows it in the hub. Call it when the
   * container has ended and before anything deletes the pod. A second call answers the same. Throws StoreError.
   */
  async finish(key: RunAttempt, rank: number): Promise<StoredLog> {
    const known = this.#options.hub.get(key).logs.get(rank);
    if (known !== undefined) return known;
    const tracked = this.#tracked.get(nameOf(key, rank));
    if (tracked === undefined) throw new Error(`rank ${rank} of attempt ${key.attempt} is not tracked`);
    tracked.finished ??= this.#inTurn(() => this.#finish(tracked)).catch((error: unknown) => {
      // A store that was away is tried again by the next call.
      tracked.finished = undefined;
      throw error;
    });
    return tracked.finished;
  }

  /** Forgets every attempt of a run without a final read; what was stored stays. */
  drop(clientRunId: string): void {
    for (const [name, { attempt, end }] of this.#tracked) {
      if (attempt.clientRunId !== clientRunId) continue;
      end.abort();
      this.#tracked.delete(name);
    }
  }

  /** Ends all reading. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    const tracked = [...this.#tracked.values()];
    for (const { end } of tracked) end.abort();
    this.#tracked.clear();
    await Promise.allSettled(tracked.flatMap(({ reading, finished }) => [reading, finished]));
  }

  #tick(): void {
    const now = performance.now();
    for (const [name, tracked] of this.#tracked) {
      if (this.#reads >= MOST_READS_AT_ONCE) return;
      if (tracked.dueAt > now || tracked.reading !== undefined || tracked.finished !== undefined) continue;
      if (tracked.pod.startedAt === undefined || !this.#mayStore(tracked)) continue;
      if (!this.#rate.take()) return;
      this.#tracked.delete(name);
      this.#tracked.set(name, tracked);
      this.#reads += 1;
      tracked.reading = this.#readLive(tracked).finally(() => {
        this.#reads -= 1;
        tracked.reading = undefined;
      });
    }
  }

  /** Without the fingerprints of its secrets, nothing of a log may be kept. */
  #mayStore({ attempt, pod }: Tracked): boolean {
    return !pod.secrets || this.#options.hub.fingerprints(attempt, pod.rank) !== undefined;
  }

  async #readLive(tracked: Tracked): Promise<void> {
    const signal = AbortSignal.any([tracked.end.signal, AbortSignal.timeout(READ_TIMEOUT)]);
    const elapsed = performance.now() - tracked.readAt;
    tracked.readAt += elapsed;
    let taken = 0;
    try {
      const reader = await this.#readerOf(tracked, signal);
      // A store that took nothing last time must not make the buffer grow.
      if (tracked.text.isFull) await reader.flush(signal);
      const before = reader.taken;
      await reader.read(await this.#open(tracked, signal, MOST_PER_READ), false, signal);
      taken = reader.taken - before;
      if (this.#inMemory() > MEMORY) await reader.flush(signal);
    } catch (error) {
      // A pod that is just gone or not yet ready is no fault; the final read says what is missing.
      const expected =
        tracked.end.signal.aborted || error instanceof LineTooLong || isKubeError(error, 'notFound', 'invalid');
      if (!expected)
        this.#options.onError?.(`the log of ${tracked.pod.namespace}/${tracked.pod.name} was not read`, error);
    }
    const wait = taken === 0 ? LONGEST_INTERVAL / 2 : (WANTED_PER_READ / taken) * elapsed;
    tracked.dueAt = performance.now() + Math.min(LONGEST_INTERVAL, Math.max(SHORTEST_INTERVAL, wait));
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    while (this.#finalReads >= MOST_FINAL_READS_AT_ONCE) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
    this.#finalReads += 1;
    try {
      return await work();
    } finally {
      this.#finalReads -= 1;
      this.#waiting.shift()?.();
    }
  }

  async #finish(tracked: Tracked): Promise<StoredLog> {
    await tracked.reading;
    const { attempt, pod, text } = tracked;
    const signal = AbortSignal.any([tracked.end.signal, AbortSignal.timeout(FINAL_TIMEOUT)]);
    if (!this.#mayStore(tracked)) return this.#withhold(tracked, signal);
    const reader = await this.#readerOf(tracked, signal);
    const whole = await this.#readRest(tracked, reader, signal);
    reader.drain();
    const { path, bytes } = await text.finish(signal);
    const { gaps, headLost, redacted } = reader;
    const complete = whole && gaps === 0 && !headLost && !text.truncated;
    const log: StoredLog = { path, bytes, complete, headLost, gaps, redacted };
    await this.#options.hub.setLog(attempt, pod.rank, log, signal);
    this.#tracked.delete(nameOf(attempt, pod.rank));
    return log;
  }

  /** Fails closed: what cannot be checked for the forwarded secrets is not kept. */
  async #withhold({ attempt, pod, text }: Tracked, signal: AbortSignal): Promise<StoredLog> {
    text.append(
      Buffer.from(
        '--- the log is not kept: the run forwards secrets, and its collector never said how to recognise them ---\n',
      ),
    );
    const { path, bytes } = await text.finish(signal);
    const log: StoredLog = { path, bytes, complete: false, headLost: true, gaps: 0, redacted: 0 };
    await this.#options.hub.setLog(attempt, pod.rank, log, signal);
    this.#tracked.delete(nameOf(attempt, pod.rank));
    return log;
  }

  /** The final read; false when the rest of the log could not be had. */
  async #readRest(tracked: Tracked, reader: LogReader, signal: AbortSignal): Promise<boolean> {
    for (let failures = 1; ; failures++) {
      try {
        await reader.read(await this.#open(tracked, signal), true, signal);
        return !reader.unreadable;
      } catch (error) {
        tracked.end.signal.throwIfAborted();
        const gone = isKubeError(error, 'notFound', 'invalid') || signal.aborted;
        if (gone || failures >= FINAL_TRIES) {
          if (!gone)
            this.#options.onError?.(
              `the end of the log of ${tracked.pod.namespace}/${tracked.pod.name} was not read`,
              error,
            );
          return false;
        }
        await pause(backoffMs(failures, BACKOFF), signal);
      }
    }
  }

  async #readerOf(tracked: Tracked, signal: AbortSignal): Promise<LogReader> {
    if (tracked.reader !== undefined) return tracked.reader;
    const { attempt, pod, text } = tracked;
    const last = tracked.late ? await text.recover(signal) : undefined;
    const fingerprints = this.#options.hub.fingerprints(attempt, pod.rank);
    tracked.reader = new LogReader(text, fingerprints, pod.startedAt, last);
    return tracked.reader;
  }

  async #open({ pod, reader }: Tracked, signal: AbortSignal, limitBytes?: number): Promise<Readable> {
    const { namespace, name, container } = pod;
    const since = reader?.since;
    return this.#options.readLog({
      namespace,
      pod: name,
      container,
      signal,
      ...(since === undefined ? {} : { sinceTime: since }),
      ...(limitBytes === undefined ? {} : { limitBytes }),
    });
  }

  #inMemory(): number {
    let sum = 0;
    for (const { text } of this.#tracked.values()) sum += text.buffered;
    return sum;
  }
}

function nameOf({ clientRunId, attempt }: AttemptKey, rank: number): string {
  return `${clientRunId}/${attempt}/${rank}`;
}
