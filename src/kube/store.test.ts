import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { KubeObject } from './resource.ts';
import { Store } from './store.ts';
import type { StoreChange } from './store.ts';

interface Thing extends KubeObject {
  spec?: { owner: string };
}

interface Projection {
  name: string;
  uid: string;
  owner: string;
}

const thing = (name: string, resourceVersion: number, { uid = `${name}-1`, owner = 'o' } = {}): Thing => ({
  metadata: { namespace: 'n', name, uid, resourceVersion: String(resourceVersion) },
  spec: { owner },
});

function setUp() {
  const errors: unknown[] = [];
  const store = new Store<Thing, Projection>({
    project: ({ metadata, spec }) => ({ name: metadata!.name!, uid: metadata!.uid!, owner: spec!.owner }),
    indexes: { owner: (projection) => [projection.owner] },
    onListenerError: (error) => errors.push(error),
  });
  const changes: string[] = [];
  store.subscribe((change: StoreChange<Projection>) => {
    changes.push(`${change.type} ${change.key} ${change.old?.uid ?? '-'} ${change.new?.uid ?? '-'}`);
  });
  const list = (version: number, ...things: Thing[]) => {
    const replacement = store.replace();
    for (const each of things) replacement.add(each);
    replacement.finish(String(version));
  };
  return { store, changes, errors, list };
}

describe('what the watch says', () => {
  test('adds, updates, and deletes are told with old and new', () => {
    const { store, changes } = setUp();
    store.apply({ type: 'ADDED', object: thing('a', 1) });
    store.apply({ type: 'MODIFIED', object: thing('a', 2, { owner: 'p' }) });
    expect(store.get('n/a')).toEqual({ name: 'a', uid: 'a-1', owner: 'p' });
    store.apply({ type: 'DELETED', object: thing('a', 3) });
    expect(changes).toEqual(['added n/a - a-1', 'updated n/a a-1 a-1', 'deleted n/a a-1 -']);
    expect(store.size).toBe(0);
  });

  test('deleted and re-created during a gap is a delete and an add, from a list as from a watch', () => {
    const { store, changes, list } = setUp();
    list(5, thing('a', 1), thing('b', 2));
    changes.length = 0;
    list(9, thing('a', 7, { uid: 'a-2' }), thing('b', 2));
    store.apply({ type: 'MODIFIED', object: thing('b', 12, { uid: 'b-2' }) });
    expect(changes).toEqual(['deleted n/a a-1 -', 'added n/a - a-2', 'deleted n/b b-1 -', 'added n/b - b-2']);
  });

  test('a list deletes what is missing from it, and stays silent about what did not change', () => {
    const { changes, list } = setUp();
    list(5, thing('a', 1), thing('b', 2));
    changes.length = 0;
    list(9, thing('b', 2));
    expect(changes).toEqual(['deleted n/a a-1 -']);
  });

  test('a list that breaks off deletes nothing', () => {
    const { store, list } = setUp();
    list(5, thing('a', 1), thing('b', 2));
    store.replace().add(thing('b', 6));
    expect(store.size).toBe(2);
  });

  test('a restored etcd: an older list is refused once, then believed', () => {
    const { store, list } = setUp();
    list(100, thing('a', 90), thing('b', 91));
    expect(() => list(50, thing('a', 40, { owner: 'old' }))).toThrow('was etcd restored?');
    list(50, thing('a', 40, { owner: 'old' }));
    expect([...store.list()]).toEqual([{ name: 'a', uid: 'a-1', owner: 'old' }]);
  });
});

describe('the answers to our own writes', () => {
  test('are seen at once, and their echo from the watch changes nothing', () => {
    const { store, changes } = setUp();
    store.apply({ type: 'ADDED', object: thing('a', 1) });
    store.upsert(thing('a', 5, { owner: 'mine' }));
    store.apply({ type: 'MODIFIED', object: thing('a', 3, { owner: 'stale' }) });
    store.apply({ type: 'MODIFIED', object: thing('a', 5, { owner: 'mine' }) });
    expect(store.get('n/a')?.owner).toBe('mine');
    expect(changes).toEqual(['added n/a - a-1', 'updated n/a a-1 a-1']);
  });

  test('do not bring back what has been deleted meanwhile', () => {
    const { store } = setUp();
    store.apply({ type: 'ADDED', object: thing('a', 1) });
    store.apply({ type: 'DELETED', object: thing('a', 6) });
    store.upsert(thing('a', 5));
    expect(store.get('n/a')).toBeUndefined();
  });

  test('survive the late delete of their predecessor', () => {
    const { store } = setUp();
    store.apply({ type: 'ADDED', object: thing('a', 1) });
    store.upsert(thing('a', 8, { uid: 'a-2' }));
    store.apply({ type: 'DELETED', object: thing('a', 7) });
    expect(store.get('n/a')?.uid).toBe('a-2');
  });

  test('survive a list that was taken before them', () => {
    const { store, list } = setUp();
    const replacement = store.replace();
    store.upsert(thing('new', 8));
    replacement.finish('7');
    expect(store.get('n/new')).toBeDefined();
    list(9);
    expect(store.size).toBe(0);
  });
});

describe('indexes', () => {
  test('follow every change', () => {
    const { store } = setUp();
    store.apply({ type: 'ADDED', object: thing('a', 1, { owner: 'x' }) });
    store.apply({ type: 'ADDED', object: thing('b', 2, { owner: 'x' }) });
    expect(store.byIndex('owner', 'x').map((each) => each.name)).toEqual(['a', 'b']);
    store.apply({ type: 'MODIFIED', object: thing('a', 3, { owner: 'y' }) });
    expect(store.byIndex('owner', 'x').map((each) => each.name)).toEqual(['b']);
    expect(store.countByIndex('owner', 'y')).toBe(1);
    store.apply({ type: 'DELETED', object: thing('b', 4) });
    expect(store.byIndex('owner', 'x')).toEqual([]);
    expect(() => store.byIndex('colour', 'x')).toThrow('no index colour');
  });
});

test('a throwing listener is reported, and the next one is still told', () => {
  const { store, errors } = setUp();
  const told: string[] = [];
  store.subscribe(() => {
    throw new Error('listener');
  });
  const unsubscribe = store.subscribe((change) => told.push(change.key));
  store.apply({ type: 'ADDED', object: thing('a', 1) });
  unsubscribe();
  store.apply({ type: 'ADDED', object: thing('b', 2) });
  expect(told).toEqual(['n/a']);
  expect(errors).toEqual([new Error('listener'), new Error('listener')]);
});

/** A server with one history; the store sees lists and events of it with gaps, and answers to writes late or early. */
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      name: fc.constantFrom('a', 'b', 'c'),
      isEarly: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('delete' as const), name: fc.constantFrom('a', 'b', 'c') }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('watch' as const), events: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('relist' as const) }) },
);

test('whatever the order, the store ends equal to the server, and its indexes and listeners agree with it', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { store, list } = setUp();
      const mirror = new Map<string, string>();
      store.subscribe((change) => {
        expect(mirror.get(change.key)).toBe(change.old?.uid);
        if (change.new === undefined) mirror.delete(change.key);
        else mirror.set(change.key, change.new.uid);
      });
      const server = new Map<string, Thing>();
      const history: { type: 'MODIFIED' | 'DELETED'; object: Thing }[] = [];
      const answers: Thing[] = [];
      let version = 0;
      let watched = 0;
      const watch = (until: number) => {
        for (; watched < until; watched++) store.apply(history[watched]!);
      };

      for (const each of steps) {
        if (each.do === 'write') {
          const current = server.get(each.name);
          const uid = current?.metadata?.uid ?? `${each.name}-${version}`;
          const object = thing(each.name, ++version, { uid, owner: `o${version % 3}` });
          server.set(each.name, object);
          history.push({ type: 'MODIFIED', object });
          if (each.isEarly) store.upsert(object);
          else answers.push(object);
        } else if (each.do === 'delete') {
          const current = server.get(each.name);
          if (current === undefined) continue;
          server.delete(each.name);
          const metadata = { ...current.metadata, resourceVersion: String(++version) };
          history.push({ type: 'DELETED', object: { ...current, metadata } });
        } else if (each.do === 'watch') {
          watch(Math.min(history.length, watched + each.events));
          const late = answers.shift();
          if (late !== undefined) store.upsert(late);
        } else {
          list(version, ...server.values());
          watched = history.length;
        }
      }
      watch(history.length);
      for (const late of answers) store.upsert(late);

      const expected = [...server.values()]
        .map(({ metadata, spec }) => [metadata!.name!, metadata!.uid, spec!.owner])
        .toSorted();
      expect([...store.list()].map(({ name, uid, owner }) => [name, uid, owner]).toSorted()).toEqual(expected);
      expect([...mirror].toSorted()).toEqual(expected.map(([name, uid]) => [`n/${name}`, uid]));
      for (const owner of ['o0', 'o1', 'o2']) {
        const names = store.byIndex('owner', owner).map((projection) => projection.name);
        expect(names.toSorted()).toEqual(expected.filter((row) => row[2] === owner).map((row) => row[0]));
      }
    }),
    { numRuns: 500 },
  );
});
