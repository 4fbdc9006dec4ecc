import type { Readable } from 'node:stream';
import { backoffMs } from './backoff.ts';
import type { ClusterConfig } from './config.ts';
import { deadline } from './deadline.ts';
import { errorFromAnswer, errorFromNetwork, isKubeError, kubeError } from './errors.ts';
import type { KubeError } from './errors.ts';
import { pause } from './pause.ts';
import { PODS, apiVersionOf, collectionPath, objectPath } from './resource.ts';
import type { KubeObject, ObjectRef, ResourceType } from './resource.ts';
import { HttpTransport } from './http-transport.ts';
import type { HttpAnswer, HttpRequest, Transport, TransportOptions } from './transport.ts';
import { readWatchEvents } from './watch.ts';
import type { WatchEvent } from './watch.ts';

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds for the whole call with its retries; 30 s when absent. */
  readonly timeoutMs?: number;
}

export interface GetOptions extends CallOptions {
  readonly subresource?: string;
}

export interface Selection {
  /** Every namespace when absent. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

export interface ListOptions extends CallOptions, Selection {
  /** Objects a page; 500 when absent. */
  readonly pageSize?: number;
}

export interface ListPage<T> {
  readonly items: T[];
  /** The version of the whole list, the same on each of its pages: where to watch from. */
  readonly resourceVersion: string;
}

export interface WriteOptions extends CallOptions {
  readonly subresource?: string;
  readonly fieldManager?: string;
  /** Refuse unknown and duplicate fields (`fieldValidation=Strict`) rather than drop them. */
  readonly strict?: boolean;
  readonly dryRun?: boolean;
}

export interface ApplyOptions extends WriteOptions {
  readonly fieldManager: string;
  /** Take fields over from other managers rather than answer `conflict`. */
  readonly force?: boolean;
}

export interface DeleteOptions extends CallOptions {
  /** Answer `conflict` unless the object still is this one. */
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
  readonly propagationPolicy?: 'Background' | 'Foreground' | 'Orphan';
  readonly gracePeriodSeconds?: number;
}

export interface WatchOptions extends Selection {
  readonly signal: AbortSignal;
  readonly resourceVersion?: string | undefined;
  /** Begin with every object there is (a streaming list); needs Kubernetes 1.32. */
  readonly sendInitialEvents?: boolean;
  /** The server ends the watch after this long. */
  readonly timeoutSeconds: number;
}

export interface PodLogOptions extends CallOptions {
  readonly container?: string;
  readonly previous?: boolean;
  readonly timestamps?: boolean;
  /** RFC 3339. */
  readonly sinceTime?: string;
  readonly tailLines?: number;
  readonly limitBytes?: number;
}

const PATCH_TYPES = { merge: 'application/merge-patch+json', json: 'application/json-patch+json' } as const;

const DEFAULT_TIMEOUT_MS = 30_000;
const MAX_RETRIES = 4;
const RETRY_BACKOFF = { baseMs: 100, maxMs: 5_000 };

/**
 * The Kubernetes API as JSON. Every method rejects with a KubeError and ends within its timeout.
 * Reads are tried again after 5xx and lost connections; writes only after 429, which says that nothing was done.
 */
export class KubeClient {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  static connect(config: ClusterConfig, options: TransportOptions): KubeClient {
    return new KubeClient(new HttpTransport(config, options));
  }

  async get<T extends KubeObject>(type: ResourceType<T>, ref: ObjectRef, options: GetOptions = {}): Promise<T> {
    return this.#json<T>({ method: 'GET', path: objectPath(type, ref, options.subresource) }, options);
  }

  /** Every object of the selection, a page at a time. */
  async *list<T extends KubeObject>(type: ResourceType<T>, options: ListOptions = {}): AsyncGenerator<T, void> {
    for await (const page of this.pages(type, options)) yield* page.items;
  }

  /** Rejects with `gone` when the list takes so long that its snapshot expires: begin again. */
  async *pages<T extends KubeObject>(
    type: ResourceType<T>,
    options: ListOptions = {},
  ): AsyncGenerator<ListPage<T>, void> {
    const path = collectionPath(type, options.namespace);
    let token: string | undefined;
    do {
      const query = { ...selectors(options), limit: options.pageSize ?? 500, continue: token };
      const list = await this.#json<RawList<T>>({ method: 'GET', path: path + queryString(query) }, options);
      yield { items: list.items ?? [], resourceVersion: list.metadata?.resourceVersion ?? '' };
      token = list.metadata?.continue;
    } while (token !== undefined && token !== '');
  }

  async create<T extends KubeObject>(type: ResourceType<T>, object: T, options: WriteOptions = {}): Promise<T> {
    const path = collectionPath(type, object.metadata?.namespace) + queryString(writeQuery(options));
    const body = JSON.stringify({ apiVersion: apiVersionOf(type), kind: type.kind, ...object });
    return this.#json<T>({ method: 'POST', path, body, contentType: 'application/json' }, options);
  }

  /** Server-side apply: `object` says which fields this field manager owns. Creates what is missing. */
  async apply<T extends KubeObject>(type: ResourceType<T>, object: T, options: ApplyOptions): Promise<T> {
    const query = queryString({ ...writeQuery(options), force: options.force });
    const path = objectPath(type, refOf(type, object), options.subresource) + query;
    const body = JSON.stringify({ apiVersion: apiVersionOf(type), kind: type.kind, ...object });
    return this.#json<T>({ method: 'PATCH', path, body, contentType: 'application/apply-patch+yaml' }, options);
  }

  /** Replaces the whole object; with a resource version in it only if nobody else wrote since. */
  async replace<T extends KubeObject>(type: ResourceType<T>, object: T, options: WriteOptions = {}): Promise<T> {
    const path = objectPath(type, refOf(type, object), options.subresource) + queryString(writeQuery(options));
    const body = JSON.stringify({ apiVersion: apiVersionOf(type), kind: type.kind, ...object });
    return this.#json<T>({ method: 'PUT', path, body, contentType: 'application/json' }, options);
  }

  async patch<T extends KubeObject>(
    type: ResourceType<T>,
    ref: ObjectRef,
    patch: { merge: object } | { json: readonly object[] },
    options: WriteOptions = {},
  ): Promise<T> {
    const path = objectPath(type, ref, options.subresource) + queryString(writeQuery(options));
    const [contentType, content] = 'merge' in patch ? [PATCH_TYPES.merge, patch.merge] : [PATCH_TYPES.json, patch.json];
    return this.#json<T>({ method: 'PATCH', path, body: JSON.stringify(content), contentType }, options);
  }

  /** Resolves when the deletion is accepted; finalizers and grace periods may keep the object for a while. */
  async delete(type: ResourceType, ref: ObjectRef, options: DeleteOptions = {}): Promise<void> {
    const { uid, resourceVersion, propagationPolicy, gracePeriodSeconds } = options;
    const body = JSON.stringify({
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      preconditions: { uid, resourceVersion },
      propagationPolicy,
      gracePeriodSeconds,
    });
    await this.#answer(
      { method: 'DELETE', path: objectPath(type, ref), body, contentType: 'application/json' },
      options,
    );
  }

  /** Posts to a subresource that answers with another kind, e.g. `serviceaccounts/token`, `pods/eviction`. */
  async createSubresource<Result extends object>(
    type: ResourceType,
    ref: ObjectRef,
    subresource: string,
    body: object,
    options: CallOptions = {},
  ): Promise<Result> {
    const path = objectPath(type, ref, subresource);
    return this.#json<Result>(
      { method: 'POST', path, body: JSON.stringify(body), contentType: 'application/json' },
      options,
    );
  }

  /**
   * One watch connection: ends when the server ends it, throws when it breaks. Bookmarks are always asked for. To
   * follow a resource whatever happens, use a Reflector.
   */
  async *watch<T extends KubeObject>(
    type: ResourceType<T>,
    options: WatchOptions,
  ): AsyncGenerator<WatchEvent<T>, void> {
    const initial = options.sendInitialEvents === true;
    const query = {
      ...selectors(options),
      watch: true,
      allowWatchBookmarks: true,
      timeoutSeconds: options.timeoutSeconds,
      resourceVersion: options.resourceVersion,
      ...(initial ? { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan' } : {}),
    };
    const path = collectionPath(type, options.namespace);
    const body = await this.#open(path + queryString(query), options.signal);
    try {
      yield* readWatchEvents<T>(body, `GET ${path}`);
    } catch (error) {
      throw interpret(`GET ${path}`, error, options.signal);
    } finally {
      body.destroy();
    }
  }

  /** The log as it is now; decoded as UTF-8. */
  async podLog(ref: ObjectRef, options: PodLogOptions = {}): Promise<string> {
    const path = objectPath(PODS, ref, 'log') + queryString(logQuery(options));
    return this.#answer({ method: 'GET', path }, options);
  }

  /** The log as bytes, without end when `follow`. The caller reads or destroys the stream; there is no time limit. */
  async podLogStream(
    ref: ObjectRef,
    options: PodLogOptions & { signal: AbortSignal; follow?: boolean },
  ): Promise<Readable> {
    const query = queryString({ ...logQuery(options), follow: options.follow });
    return this.#open(objectPath(PODS, ref, 'log') + query, options.signal);
  }

  /**
   * Whatever a path answers, as it comes: for APIs that serve bytes. The caller reads or destroys the body; there is no
   * time limit. Rejects with a KubeError for a status of 400 and above.
   */
  async open(
    path: string,
    options: { signal: AbortSignal; headers?: Readonly<Record<string, string>> },
  ): Promise<HttpAnswer<Readable>> {
    const { signal, headers = {} } = options;
    const request = { method: 'GET', path, headers } as const;
    try {
      const answer = await this.#transport.stream({ ...request, signal });
      if (answer.status < 400) return answer;
      throw errorFromAnswer(nameOf(request), answer.status, await text(answer.body), answer.retryAfter);
    } catch (error) {
      throw interpret(nameOf(request), error, signal);
    }
  }

  /** Ends every connection; calls in flight reject. */
  async close(): Promise<void> {
    await this.#transport.close();
  }

  async #json<T>(request: Omit<HttpRequest, 'signal'>, options: CallOptions): Promise<T> {
    const body = await this.#answer(request, options);
    try {
      return JSON.parse(body) as T;
    } catch (cause) {
      throw kubeError({ kind: 'unexpected' }, 'the answer is not JSON', { request: nameOf(request), cause });
    }
  }

  async #answer(request: Omit<HttpRequest, 'signal'>, options: CallOptions): Promise<string> {
    using limit = deadline(options.timeoutMs ?? DEFAULT_TIMEOUT_MS, options.signal);
    for (let failures = 1; ; failures++) {
      try {
        return bodyOf(request, await this.#transport.request({ ...request, signal: limit.signal }));
      } catch (error) {
        const failure = interpret(nameOf(request), error, limit.signal);
        const delay = failures > MAX_RETRIES ? undefined : retryDelay(request, failure, failures);
        if (delay === undefined || delay >= limit.remainingMs()) throw failure;
        await pause(delay, limit.signal);
        if (limit.signal.aborted) throw interpret(nameOf(request), failure, limit.signal);
      }
    }
  }

  /** Opens a stream: the time limit holds until the headers have come. */
  async #open(path: string, signal: AbortSignal): Promise<Readable> {
    return (await this.open(path, { signal })).body;
  }
}

interface RawList<T> {
  metadata?: { resourceVersion?: string; continue?: string };
  items?: T[];
}

function bodyOf(request: { method: string; path: string }, answer: HttpAnswer<string>): string {
  if (answer.status < 400) return answer.body;
  throw errorFromAnswer(nameOf(request), answer.status, answer.body, answer.retryAfter);
}

/** Method and path; the query is left out because it may carry selectors and continue tokens. */
function nameOf({ method, path }: { method: string; path: string }): string {
  return `${method} ${path.split('?', 1)[0]}`;
}

/** An aborted call is told apart by its signal, because libraries disagree about what they throw then. */
function interpret(request: string, error: unknown, signal: AbortSignal): KubeError {
  if (isKubeError(error)) return error;
  if (!signal.aborted) return errorFromNetwork(request, error);
  if (isKubeError(signal.reason)) return signal.reason;
  const cause = signal.reason as unknown;
  if (cause instanceof Error && cause.name === 'TimeoutError') {
    return kubeError({ kind: 'timeout' }, cause.message, { request, cause });
  }
  return kubeError({ kind: 'aborted' }, 'aborted by the caller', { request, cause });
}

/** Milliseconds until the next try, or undefined when trying again could do something twice. */
function retryDelay(request: { method: string }, error: KubeError, failures: number): number | undefined {
  const jittered = backoffMs(failures, RETRY_BACKOFF);
  if (error.kind === 'tooManyRequests') return error.retryAfterMs + jittered;
  if (request.method !== 'GET') return undefined;
  if (error.kind === 'unavailable' || error.kind === 'serverError') return Math.max(jittered, error.retryAfterMs ?? 0);
  return undefined;
}

function refOf(type: ResourceType, { metadata }: KubeObject): ObjectRef {
  if (metadata?.name === undefined) throw new TypeError(`${type.kind} without a name`);
  return { name: metadata.name, namespace: metadata.namespace };
}

type Query = Record<string, string | number | boolean | undefined>;

function queryString(query: Query): string {
  let text = '';
  for (const [key, value] of Object.entries(query)) {
    if (value === undefined || value === false) continue;
    text += `${text === '' ? '?' : '&'}${key}=${encodeURIComponent(value)}`;
  }
  return text;
}

function selectors({ labelSelector, fieldSelector }: Selection): Query {
  return { labelSelector, fieldSelector };
}

function writeQuery({ fieldManager, strict, dryRun }: WriteOptions): Query {
  return {
    fieldManager,
    fieldValidation: strict === true ? 'Strict' : undefined,
    dryRun: dryRun === true ? 'All' : undefined,
  };
}

function logQuery({ container, previous, timestamps, sinceTime, tailLines, limitBytes }: PodLogOptions): Query {
  return { container, previous, timestamps, sinceTime, tailLines, limitBytes };
}

async function text(body: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}
