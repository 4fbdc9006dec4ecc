import { backoffMs } from './backoff.ts';
import type { BackoffOptions } from './backoff.ts';
import type { KubeClient, Selection } from './client.ts';
import { isKubeError, kubeError } from './errors.ts';
import { pause } from './pause.ts';
import type { KubeObject, ResourceType } from './resource.ts';
import type { Replacement } from './store.ts';
import { endsInitialEvents } from './watch.ts';
import type { WatchEvent } from './watch.ts';

/** Where a reflector writes: a Store. */
export interface ReflectorTarget<T extends KubeObject> {
  apply(event: WatchEvent<T>): void;
  replace(): Replacement<T>;
}

export interface ReflectorOptions<T extends KubeObject> {
  readonly client: Pick<KubeClient, 'pages' | 'watch'>;
  readonly type: ResourceType<T>;
  readonly selection?: Selection;
  readonly target: ReflectorTarget<T>;
  /** Told of everything that went wrong; all of it is tried again. A `gone` is ordinary. */
  readonly onError: (error: unknown) => void;
  /** No event and no bookmark for this long means that the connection is dead, whatever TCP says. */
  readonly silenceMs?: number;
  readonly backoff?: BackoffOptions;
}

const DEFAULT_BACKOFF = { baseMs: 500, maxMs: 30_000 };
/** The API server sends a bookmark a minute. */
const SILENCE_MS = 125_000;
/** A watch that lasted this long shows that things work, so that the next failure is the first again. */
const HEALTHY_MS = 30_000;

/**
 * Keeps a target equal to what the API server has, for as long as it runs: lists, watches from there, and begins again
 * wherever that breaks. Nothing ends it but `stop`.
 */
export class Reflector<T extends KubeObject> {
  readonly #options: ReflectorOptions<T>;
  readonly #stopping = new AbortController();
  readonly #synced = Promise.withResolvers<void>();
  #loop: Promise<void> | undefined;
  /** Where to watch from; undefined when a list is needed first. */
  #resourceVersion: string | undefined;
  #canStreamLists = true;
  #lastEventAt = performance.now();

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    // Nobody has to wait for it; stopping early must not become an unhandled rejection then.
    this.#synced.promise.catch(() => {});
  }

  /** Resolves when the target has been complete once; rejects when stopped before. */
  get synced(): Promise<void> {
    return this.#synced.promise;
  }

  /** Milliseconds since the server last said anything, bookmarks included: a healthy watch stays below two minutes. */
  get lastEventAgeMs(): number {
    return performance.now() - this.#lastEventAt;
  }

  start(): void {
    this.#loop ??= this.#run(this.#stopping.signal);
  }

  /** Resolves when nothing more will be written to the target. */
  async stop(): Promise<void> {
    this.#stopping.abort(new DOMException('the reflector stops', 'AbortError'));
    await this.#loop;
    this.#synced.reject(this.#stopping.signal.reason);
  }

  async #run(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted;) {
      const startedAt = performance.now();
      try {
        await this.#follow(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (this.#fellBackToPages(error)) continue;
        if (performance.now() - startedAt > HEALTHY_MS) failures = 0;
        this.#report(error);
        this.#learnFrom(error);
        const wait = Math.max(backoffMs(++failures, this.#options.backoff ?? DEFAULT_BACKOFF), retryAfterOf(error));
        await pause(wait, signal);
      }
    }
  }

  /** A server without streaming lists calls their parameters invalid. */
  #fellBackToPages(error: unknown): boolean {
    const isRefused = this.#canStreamLists && this.#resourceVersion === undefined && isKubeError(error, 'invalid');
    if (isRefused) this.#canStreamLists = false;
    return isRefused;
  }

  #learnFrom(error: unknown): void {
    // `unexpected` is a broken line: what it said is lost for good if the server would send it again.
    if (!isKubeError(error) || isKubeError(error, 'gone', 'unexpected', 'invalid')) this.#resourceVersion = undefined;
  }

  /** One round: a list if one is needed, then a watch until it ends. */
  async #follow(signal: AbortSignal): Promise<void> {
    if (this.#resourceVersion === undefined && !this.#canStreamLists) await this.#listPages(signal);
    const startedAt = performance.now();
    const isEmpty = await this.#watch(signal);
    if (isEmpty && performance.now() - startedAt < 1000) {
      // Ended in peace but at once: going on at full speed would be a denial of service.
      throw kubeError({ kind: 'unavailable' }, 'the watch ended at once', {
        request: `WATCH ${this.#options.type.plural}`,
      });
    }
  }

  async #listPages(signal: AbortSignal): Promise<void> {
    const { client, type, selection } = this.#options;
    const replacement = this.#options.target.replace();
    let resourceVersion = '';
    for await (const page of client.pages(type, { ...selection, signal })) {
      for (const object of page.items) this.#guarded(() => replacement.add(object));
      resourceVersion = page.resourceVersion;
    }
    signal.throwIfAborted();
    this.#complete(replacement, resourceVersion);
  }

  /** Returns whether the watch brought nothing. Writes down how far it came, so that the next one goes on from there. */
  async #watch(signal: AbortSignal): Promise<boolean> {
    const { client, type, selection, target } = this.#options;
    let replacement = this.#resourceVersion === undefined ? target.replace() : undefined;
    let isEmpty = true;
    using connection = watchdog(signal, this.#options.silenceMs ?? SILENCE_MS, type.plural);
    const events = client.watch(type, {
      ...selection,
      signal: connection.signal,
      resourceVersion: this.#resourceVersion,
      sendInitialEvents: replacement !== undefined,
      timeoutSeconds: Math.round(300 + Math.random() * 300),
    });
    for await (const event of events) {
      connection.touch();
      isEmpty = false;
      this.#lastEventAt = performance.now();
      if (replacement === undefined) {
        this.#guarded(() => target.apply(event));
        this.#resourceVersion = event.object.metadata?.resourceVersion;
      } else if (endsInitialEvents(event)) {
        this.#complete(replacement, event.object.metadata?.resourceVersion ?? '');
        replacement = undefined;
      } else {
        const { object, type: what } = event;
        const initial = replacement;
        // A server may let in between what happens meanwhile. Nothing would tell a second time that it is gone.
        if (what === 'DELETED') initial.remove(object);
        else if (what !== 'BOOKMARK') this.#guarded(() => initial.add(object));
      }
    }
    if (replacement !== undefined) {
      throw kubeError({ kind: 'unavailable' }, 'the streaming list ended early', { request: `WATCH ${type.plural}` });
    }
    return isEmpty;
  }

  #complete(replacement: Replacement<T>, resourceVersion: string): void {
    replacement.finish(resourceVersion);
    this.#lastEventAt = performance.now();
    this.#resourceVersion = resourceVersion;
    this.#synced.resolve();
  }

  /** One object that the projection cannot take must not keep all others out of the cache. */
  #guarded(write: () => void): void {
    try {
      write();
    } catch (error) {
      this.#report(error);
    }
  }

  #report(error: unknown): void {
    try {
      this.#options.onError(error);
    } catch {
      // A reporter that throws has nobody left to report to.
    }
  }
}

function retryAfterOf(error: unknown): number {
  return isKubeError(error) && 'retryAfterMs' in error ? (error.retryAfterMs ?? 0) : 0;
}

interface Watchdog extends Disposable {
  readonly signal: AbortSignal;
  touch(): void;
}

/** A signal that aborts with `parent`, or when nobody touched it for `silenceMs`. */
function watchdog(parent: AbortSignal, silenceMs: number, plural: string): Watchdog {
  const controller = new AbortController();
  const follow = () => controller.abort(parent.reason);
  parent.addEventListener('abort', follow, { once: true });
  const timer = setTimeout(() => {
    const message = `silent for ${silenceMs / 1000} s`;
    controller.abort(kubeError({ kind: 'timeout' }, message, { request: `WATCH ${plural}` }));
  }, silenceMs);
  return {
    signal: controller.signal,
    touch: () => void timer.refresh(),
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      parent.removeEventListener('abort', follow);
    },
  };
}
