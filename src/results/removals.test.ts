import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RunStore } from './contract.ts';
import { getRecord, putRecord, type RunRecord } from './records.ts';
import { planRemoval, removeDue, tombstone } from './removals.ts';
import { FileStore } from './store/files.ts';
import { Usage } from './usage.ts';

let folder: string;
let store: RunStore;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'worldflux-removals-'));
  store = await FileStore.open({ folder, installationId: 'test' });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const T = Date.parse('2026-01-01T00:00:00Z');
const at = (ms: number) => new Date(ms).toISOString();
const nobody = () => false;
const record = (id: string, more: Partial<RunRecord> = {}): RunRecord => ({
  version: 1,
  clientRunId: id,
  namespace: 'team',
  name: id,
  uid: `uid-${id}`,
  state: 'Finished',
  bytes: 10,
  ...more,
});

async function recorded(id: string, more: Partial<RunRecord> = {}): Promise<void> {
  await putRecord(store, record(id, more));
  await store.put(`${id}/uid-${id}/artifact`, Buffer.from('bytes'), 'text/plain');
  if (more.removeAt !== undefined) await planRemoval(store, id, Date.parse(more.removeAt));
}
const isThere = async (id: string) => (await store.get(`${id}/uid-${id}/artifact`)) !== undefined;

describe('stored results', () => {
  test('go when their time has come, and not a moment before', async () => {
    await recorded('early', { removeAt: at(T) });
    await recorded('late', { removeAt: at(T + 5000) });
    expect(await removeDue(store, T + 1000, nobody)).toEqual([{ clientRunId: 'early', namespace: 'team' }]);
    expect([await isThere('early'), await isThere('late')]).toEqual([false, true]);
    expect(await removeDue(store, T + 1000, nobody)).toEqual([]);
  });

  test('stay while their run waits for its sync, and go in a later sweep', async () => {
    await recorded('waiting', { removeAt: at(T) });
    expect(await removeDue(store, T + 1000, (id) => id === 'waiting')).toEqual([]);
    expect(await isThere('waiting')).toBe(true);
    expect(await removeDue(store, T + 2000, nobody)).toHaveLength(1);
  });

  test('of a deleted run are kept for as long as its profile says', async () => {
    await recorded('deleted');
    await tombstone(store, 'deleted', 'uid-deleted', T + 1000);
    expect(await removeDue(store, T, nobody)).toEqual([]);
    expect(await removeDue(store, T + 1000, nobody)).toHaveLength(1);
  });

  test('that a later run of the same key recorded are its own: the tombstone of the earlier one is too late', async () => {
    await recorded('shared', { uid: 'second' });
    await tombstone(store, 'shared', 'first', T);
    expect(await removeDue(store, T + 1000, nobody)).toEqual([]);
    expect((await getRecord(store, 'shared'))?.removeAt).toBeUndefined();
  });

  test('recorded anew after a removal was planned are not touched by the old plan', async () => {
    await recorded('again', { removeAt: at(T) });
    await putRecord(store, record('again', { uid: 'later' }));
    expect(await removeDue(store, T + 1000, nobody)).toEqual([]);
    expect(await isThere('again')).toBe(true);
  });
});

test('the bytes of a namespace are known after a restart, counted once, and gone when the run is', async () => {
  const usage = new Usage(store);
  await usage.add(record('a'));
  await usage.add(record('a'));
  await usage.add(record('b', { namespace: 'other', bytes: 5 }));
  const restarted = new Usage(store);
  await restarted.load();
  expect([usage.of('team'), restarted.of('team'), restarted.of('other'), restarted.of('nobody')]).toEqual([
    10, 10, 5, 0,
  ]);
  await restarted.removed('team', 'a');
  await usage.load();
  expect([restarted.of('team'), usage.of('team'), usage.of('other')]).toEqual([0, 0, 5]);
});

test('what is counted while the count is read is in it once, and a count that cannot be read leaves the last one', async () => {
  const usage = new Usage(store);
  await usage.add(record('early'));
  const listing = Promise.withResolvers<void>();
  const slow = {
    get: (key: string) => store.get(key),
    put: (key: string, body: Buffer, type: string) => store.put(key, body, type),
    remove: (prefix: string) => store.remove(prefix),
    list: async function* (prefix: string) {
      const found: { key: string; size: number; modifiedAt: Date }[] = [];
      for await (const object of store.list(prefix)) found.push(object);
      await listing.promise;
      yield* found;
    },
  };
  const successor = new Usage(slow);
  const loading = successor.load();
  await successor.add(record('meanwhile'));
  listing.resolve();
  await loading;
  expect([successor.of('team'), successor.total]).toEqual([20, 20]);
  await successor.load();
  expect(successor.of('team')).toBe(20);
  slow.list = () => {
    throw new Error('the store is away');
  };
  await expect(successor.load()).rejects.toThrow('away');
  expect(successor.of('team')).toBe(20);
});
