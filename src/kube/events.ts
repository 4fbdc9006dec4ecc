import { randomBytes } from 'node:crypto';
import type { EventsV1Event, V1ObjectReference } from '@kubernetes/client-node';
import type { KubeClient } from './client.ts';
import { microTime } from './micro-time.ts';
import { resourceType } from './resource.ts';
import type { ObjectRef, Wire } from './resource.ts';
import { TokenBucket } from './token-bucket.ts';
import { WorkQueue } from './work-queue.ts';

type Event = Wire<EventsV1Event>;

export const EVENTS = resourceType<Event>({
  group: 'events.k8s.io',
  version: 'v1',
  plural: 'events',
  namespaced: true,
  kind: 'Event',
});

/** One thing that happened to an object. */
export interface Happening {
  readonly type: 'Normal' | 'Warning';
  /** Why, in CamelCase. */
  readonly reason: string;
  /** What the controller did about it, in CamelCase. */
  readonly action: string;
  /** For people; cut off at 1024 bytes. */
  readonly note: string;
  readonly regarding: Wire<V1ObjectReference>;
}

export interface EventRecorderOptions {
  readonly client: Pick<KubeClient, 'create' | 'patch'>;
  /** The controller's name, e.g. `worldflux.ai/operator`. */
  readonly controller: string;
  /** This process, e.g. the Pod's name. */
  readonly instance: string;
  /** Takes secrets out of a note, before it is cut. */
  readonly redact: (note: string) => string;
  /** Told of each event that could not be written. */
  readonly onError: (error: unknown) => void;
}

interface Series {
  readonly happening: Happening;
  readonly firstAt: Date;
  lastAt: Date;
  count: number;
  /** What the server has; undefined until the first write. */
  written: { ref: ObjectRef; count: number } | undefined;
}

/** Series and object budgets that are remembered. */
const MAX_REMEMBERED = 1_000;
/** The server's copy of a series lags behind by at most this. */
const REPEAT_MS = 30_000;
const MAX_NOTE_BYTES = 1024;

/**
 * Writes Kubernetes Events. Never throws and never makes anybody wait: the same event again only raises the count of
 * its series, and what comes too fast (25 different ones at once for one object, or 50 altogether) is dropped and
 * counted. Events are for people; nothing may depend on one.
 */
export class EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #series = new Map<string, Series>();
  readonly #budgets = new Map<string, TokenBucket>();
  readonly #total = new TokenBucket(50, 10);
  readonly #queue: WorkQueue;
  #dropped = 0;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#queue = new WorkQueue({ concurrency: 1, handle: (key, signal) => this.#write(key, signal) });
    this.#queue.start();
  }

  /** Events that were not written, since the start. */
  get dropped(): number {
    return this.#dropped;
  }

  record(happening: Happening): void {
    const { type, reason, action, note, regarding } = happening;
    const key = JSON.stringify([type, reason, action, note, regarding.uid, regarding.namespace, regarding.name]);
    const known = this.#series.get(key);
    if (known !== undefined) {
      known.count++;
      known.lastAt = new Date();
      remember(this.#series, key, known);
      this.#queue.addAfter(key, REPEAT_MS);
    } else if (this.#isAffordable(regarding)) {
      const now = new Date();
      remember(this.#series, key, { happening, firstAt: now, lastAt: now, count: 1, written: undefined });
      this.#queue.add(key);
    } else {
      this.#dropped++;
    }
  }

  /** Writes what is due and stops. */
  async stop(signal: AbortSignal): Promise<void> {
    await this.#queue.drain(signal).catch(() => {});
    await this.#queue.stop();
  }

  #isAffordable({ uid, namespace = '', name = '' }: Happening['regarding']): boolean {
    const key = uid ?? `${namespace}/${name}`;
    const budget = this.#budgets.get(key) ?? new TokenBucket(25, 1 / 60);
    remember(this.#budgets, key, budget);
    return budget.take() && this.#total.take();
  }

  async #write(key: string, signal: AbortSignal): Promise<void> {
    const series = this.#series.get(key);
    if (series === undefined || series.written?.count === series.count) return;
    const { count } = series;
    try {
      series.written = { ref: await this.#send(series, signal), count };
    } catch (error) {
      // Not tried again: by the time it worked, it would be old news.
      this.#dropped++;
      this.#series.delete(key);
      this.#report(error);
    }
  }

  async #send(series: Series, signal: AbortSignal): Promise<ObjectRef> {
    const { client } = this.#options;
    if (series.written === undefined) {
      const created = await client.create(EVENTS, this.#eventOf(series), { signal });
      return { namespace: created.metadata?.namespace, name: created.metadata?.name ?? '' };
    }
    const merge = { series: { count: series.count, lastObservedTime: microTime(series.lastAt) } };
    await client.patch(EVENTS, series.written.ref, { merge }, { signal });
    return series.written.ref;
  }

  #eventOf({ happening, firstAt }: Series): Event {
    const { type, reason, action, note, regarding } = happening;
    return {
      metadata: { namespace: regarding.namespace ?? 'default', name: uniqueName(regarding.name) },
      eventTime: microTime(firstAt),
      reportingController: this.#options.controller,
      reportingInstance: this.#options.instance,
      type,
      reason,
      action,
      note: cutToBytes(this.#options.redact(note), MAX_NOTE_BYTES),
      regarding,
    };
  }

  #report(error: unknown): void {
    try {
      this.#options.onError(error);
    } catch {
      // A reporter that throws has nobody left to report to.
    }
  }
}

/** Keeps the most recently used, so that memory does not grow with the number of objects ever seen. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= MAX_REMEMBERED) return;
  for (const oldest of map.keys()) {
    map.delete(oldest);
    return;
  }
}

/** Begins with the object's name, for people, and fits where a name may have 253 characters. */
function uniqueName(name = 'event'): string {
  return `${name.slice(0, 220).replace(/[^a-z0-9]+$/, '')}.${randomBytes(8).toString('hex')}`;
}

/** Cuts between characters, not inside one. */
function cutToBytes(text: string, bytes: number): string {
  const encoded = Buffer.from(text, 'utf8');
  if (encoded.length <= bytes) return text;
  const mark = '…';
  let end = bytes - Buffer.byteLength(mark);
  while (end > 0 && (encoded[end]! & 0xc0) === 0x80) end--;
  return encoded.toString('utf8', 0, end) + mark;
}
