import type { KubeObject } from './resource.ts';
import { compareResourceVersions } from './resource-version.ts';
import { StringIndex } from './string-index.ts';
import type { WatchEvent } from './watch.ts';

/** What changed. A re-created object (same key, other uid) is a `deleted` followed by an `added`. */
export type StoreChange<P> =
  | { readonly type: 'added'; readonly key: string; readonly old?: never; readonly new: P }
  | { readonly type: 'updated'; readonly key: string; readonly old: P; readonly new: P }
  | { readonly type: 'deleted'; readonly key: string; readonly old: P; readonly new?: never };

export interface StoreOptions<T extends KubeObject, P> {
  /**
   * What is kept of an object. It should copy the few fields that are needed and hold no reference to the rest: the
   * memory of the cache is what this returns.
   */
  readonly project: (object: T) => P;
  /** Secondary indexes: the strings under which a projection is found again. */
  readonly indexes?: Readonly<Record<string, (projection: P) => readonly string[]>>;
  /** Told when a listener throws; the others are still called. */
  readonly onListenerError: (error: unknown) => void;
}

/** A complete list in the making. Objects count at once; what was not among them goes at `finish`. */
export interface Replacement<T extends KubeObject> {
  add(object: T): void;
  /** It was among them, and has gone while the list was on its way. */
  remove(object: T): void;
  finish(resourceVersion: string): void;
}

interface Entry<P> {
  readonly uid: string;
  resourceVersion: string;
  readonly value: P;
  /** The last replacement that contained this object. */
  listedIn: number;
}

/** `namespace/name`, or `name` for what has no namespace. */
export function keyOf(object: KubeObject): string {
  const { namespace, name = '' } = object.metadata ?? {};
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/**
 * A cache of projections. A Reflector fills it; answers to our own writes may be put into it as well (`upsert`), so that
 * the next look sees them. It never goes back in time: what is older than the entry is ignored, and so is the late
 * answer to a write on an object that has been deleted since.
 */
export class Store<T extends KubeObject, P> {
  readonly #options: StoreOptions<T, P>;
  readonly #entries = new Map<string, Entry<P>>();
  readonly #indexes: readonly { name: string; index: StringIndex; values: (projection: P) => readonly string[] }[];
  readonly #listeners = new Set<(change: StoreChange<P>) => void>();
  /** Every change up to this resource version has come in from the watch. */
  #seen = '';
  #replacements = 0;

  constructor(options: StoreOptions<T, P>) {
    this.#options = options;
    this.#indexes = Object.entries(options.indexes ?? {}).map(([name, values]) => {
      return { name, values, index: new StringIndex() };
    });
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): P | undefined {
    return this.#entries.get(key)?.value;
  }

  *list(): Generator<P, void> {
    for (const entry of this.#entries.values()) yield entry.value;
  }

  /** The projections filed under `value`, in no particular order. */
  byIndex(name: string, value: string): P[] {
    const found: P[] = [];
    for (const key of this.#index(name).get(value)) {
      const entry = this.#entries.get(key);
      if (entry !== undefined) found.push(entry.value);
    }
    return found;
  }

  /** How many `byIndex` finds. */
  countByIndex(name: string, value: string): number {
    return this.#index(name).count(value);
  }

  /** Calls `listener` after each change, in order. Returns how to stop that. */
  subscribe(listener: (change: StoreChange<P>) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The server's answer to a write of our own. */
  upsert(object: T): void {
    const known = this.#entries.has(keyOf(object));
    // Not here although the watch is past it: it has been deleted, and must not come back as a ghost.
    if (!known && isUpTo(versionOf(object), this.#seen)) return;
    this.#put(object, 0);
  }

  /** A watch event. */
  apply({ type, object }: WatchEvent<T>): void {
    if (type === 'DELETED') this.#remove(object);
    else if (type !== 'BOOKMARK') this.#put(object, 0);
    this.#seen = versionOf(object);
  }

  /** Begins to take in a complete list. One that is not finished deletes nothing. */
  replace(): Replacement<T> {
    const number = ++this.#replacements;
    return {
      add: (object) => this.#put(object, number),
      remove: (object) => this.#remove(object),
      finish: (resourceVersion) => this.#finish(number, resourceVersion),
    };
  }

  #finish(number: number, resourceVersion: string): void {
    if (isNewer(this.#seen, resourceVersion)) {
      this.#distrust();
      throw new Error(`the list is of version ${resourceVersion}, older than what was seen: was etcd restored?`);
    }
    for (const [key, entry] of this.#entries) {
      // Newer than the list: our own write while it was on its way. The watch will tell what became of it.
      if (entry.listedIn !== number && !isNewer(entry.resourceVersion, resourceVersion)) this.#drop(key, entry);
    }
    this.#seen = resourceVersion;
  }

  /** History was rewritten: no version that we know says anything about which object is newer. */
  #distrust(): void {
    this.#seen = '';
    for (const entry of this.#entries.values()) entry.resourceVersion = '';
  }

  #put(object: T, listedIn: number): void {
    const key = keyOf(object);
    const resourceVersion = versionOf(object);
    const old = this.#entries.get(key);
    if (old !== undefined) {
      if (listedIn !== 0) old.listedIn = listedIn;
      if (isUpTo(resourceVersion, old.resourceVersion)) return;
    }
    const uid = object.metadata?.uid ?? '';
    const value = this.#options.project(object);
    if (old !== undefined && old.uid !== uid) this.#drop(key, old);
    this.#entries.set(key, { uid, resourceVersion, value, listedIn: listedIn || (old?.listedIn ?? 0) });
    const before = old !== undefined && old.uid === uid ? old : undefined;
    this.#reindex(key, before?.value, value);
    this.#tell(
      before === undefined
        ? { type: 'added', key, new: value }
        : { type: 'updated', key, old: before.value, new: value },
    );
  }

  #remove(object: T): void {
    const key = keyOf(object);
    const old = this.#entries.get(key);
    if (old === undefined) return;
    // The successor of the same name may be here already, from the answer to our own create.
    if (old.uid === object.metadata?.uid || isUpTo(old.resourceVersion, versionOf(object))) this.#drop(key, old);
  }

  #drop(key: string, old: Entry<P>): void {
    this.#entries.delete(key);
    for (const { index, values } of this.#indexes) for (const value of values(old.value)) index.remove(value, key);
    this.#tell({ type: 'deleted', key, old: old.value });
  }

  #reindex(key: string, old: P | undefined, value: P): void {
    for (const { index, values } of this.#indexes) {
      const now = values(value);
      if (old !== undefined) for (const before of values(old)) if (!now.includes(before)) index.remove(before, key);
      for (const each of now) index.add(each, key);
    }
  }

  #tell(change: StoreChange<P>): void {
    for (const listener of this.#listeners) {
      try {
        listener(change);
      } catch (error) {
        this.#options.onListenerError(error);
      }
    }
  }

  #index(name: string): StringIndex {
    const found = this.#indexes.find((each) => each.name === name);
    if (found === undefined) throw new TypeError(`the store has no index ${name}`);
    return found.index;
  }
}

function versionOf(object: KubeObject): string {
  return object.metadata?.resourceVersion ?? '';
}

/** False, like `isUpTo`, when they cannot be compared: then the newcomer is believed. */
function isNewer(a: string, b: string): boolean {
  return (compareResourceVersions(a, b) ?? 0) > 0;
}

function isUpTo(a: string, b: string): boolean {
  return (compareResourceVersions(a, b) ?? 1) <= 0;
}
