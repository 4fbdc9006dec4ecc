import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { readRunEvents } from '../results/event-log.ts';
import { providerEventsKey, providerEventSegmentPrefix, runPrefix } from '../results/keys.ts';
import { FileStore } from '../results/store/files.ts';
import type { RunStore } from '../results/contract.ts';
import { ms } from '../runtime/local/testing/clock.ts';
import { ProviderEvents } from '../telemetry/provider-events.ts';
import { makeCaches } from './caches.ts';
import { clientRunId, runId } from './identity.ts';
import { RunEvents } from './run-events.ts';
import { aRun, type RunBuilder } from './testing/a-run.ts';

const INSTALLATION = '6f1f6d6e-6f3b-5f0e-9d2b-0c7c3f1f2f57';
let store: RunStore;

beforeEach(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'worldflux-run-events-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  store = await FileStore.open({ folder, installationId: INSTALLATION });
});

function setUp(broken?: RunStore) {
  const caches = makeCaches(INSTALLATION, (error) => {
    throw error;
  });
  let now = ms(0);
  const lost: unknown[] = [];
  const sink = new RunEvents({
    store: broken ?? store,
    caches,
    installation: INSTALLATION,
    onLost: (error) => lost.push(error),
    now: () => now,
  });
  const events = new ProviderEvents({ sinks: [sink], onLost: (_, error) => lost.push(error) });
  let version = 10;
  const put = (run: RunBuilder, type: 'ADDED' | 'MODIFIED' | 'DELETED' = 'MODIFIED') => {
    const object = run.build();
    caches.runs.apply({
      type,
      object: { ...object, metadata: { ...object.metadata, resourceVersion: `${++version}` } },
    });
  };
  const facts = (run: RunBuilder) => {
    const { namespace, uid, createdAt } = run.view();
    const key = { clientRunId: clientRunId(INSTALLATION, { namespace, uid, runKey: undefined }), runUid: uid };
    return { key, id: runId(createdAt, uid) };
  };
  const call = (run: RunBuilder, operation: string) =>
    events.emit({ provider: 'replicate', operation, phase: 'success', runId: facts(run).id });
  const at = async (seconds: number) => {
    now = ms(seconds);
    await sink.flush(false);
  };
  const stored = async (run: RunBuilder): Promise<string[]> => {
    const lines = (await readRunEvents(store, facts(run).key)).split('\n').filter((line) => line !== '');
    return lines.map((line) => (JSON.parse(line) as { operation: string }).operation);
  };
  const keys = async (run: RunBuilder): Promise<string[]> => {
    const found: string[] = [];
    for await (const { key } of store.list(runPrefix(facts(run).key.clientRunId))) found.push(key);
    return found;
  };
  return { sink, events, lost, put, call, at, stored, keys, facts };
}

const finished = (run: RunBuilder, seconds: number) =>
  run.saying({ is: 'finished', status: 'succeeded', reason: 'Completed', message: '', results: undefined }, seconds);

test('the calls of a run are one file when it has ended, its afterword included', async () => {
  const { put, call, at, stored, keys, facts, lost } = setUp();
  const run = aRun();
  put(run, 'ADDED');
  call(run, 'prediction create');
  await at(60);
  expect(await keys(run)).toEqual([]);
  // Lines have waited for five minutes: they would be lost with the process.
  await at(301);
  expect(await keys(run)).toEqual([expect.stringContaining(providerEventSegmentPrefix(facts(run).key))]);
  put(finished(run, 400));
  call(run, 'output download');
  await at(405);
  call(run, 'prediction delete');
  await at(411);
  expect(await keys(run)).toEqual([providerEventsKey(facts(run).key)]);
  expect(await stored(run)).toEqual(['prediction create', 'output download', 'prediction delete']);
  call(run, 'prediction cancel');
  await at(500);
  expect(await stored(run)).toEqual(['prediction create', 'output download', 'prediction delete', 'prediction cancel']);
  expect(lost).toEqual([]);
});

test('runs that were made in one second do not mix, and calls for no run are nobody’s', async () => {
  const { put, call, events, sink, stored, keys } = setUp();
  const runs = ['a', 'b', 'c'].map((name) => aRun().named(name));
  for (const run of runs) {
    put(run, 'ADDED');
    call(run, `for ${run.view().name}`);
  }
  events.emit({ provider: 'replicate', operation: 'account', phase: 'success' });
  await sink.close();
  for (const run of runs) {
    expect(await stored(run)).toEqual([`for ${run.view().name}`]);
    expect(await keys(run)).toHaveLength(1);
  }
});

test('of a run that is deleted at once the calls stay', async () => {
  const { put, call, at, stored, lost } = setUp();
  const run = aRun();
  put(run, 'ADDED');
  call(run, 'prediction create');
  put(run, 'DELETED');
  await at(1);
  expect(await stored(run)).toEqual(['prediction create']);
  expect(lost).toEqual([]);
});

test('a process that goes on where another ended adds to what is there', async () => {
  const run = aRun();
  const first = setUp();
  first.put(run, 'ADDED');
  first.call(run, 'prediction create');
  await first.sink.close();
  const second = setUp();
  second.put(finished(run, 5), 'ADDED');
  second.call(run, 'output download');
  await second.at(20);
  expect(await second.stored(run)).toEqual(['prediction create', 'output download']);
});

test('a death between putting a run’s file together and removing its pieces tells nothing twice', async () => {
  const run = aRun();
  const undying = new Proxy(store, {
    get: (target, name) => {
      if (name === 'remove') return () => Promise.reject(new Error('the process is gone'));
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  const { put, call, at, stored, keys } = setUp(undying);
  put(run, 'ADDED');
  call(run, 'prediction create');
  await at(301);
  put(finished(run, 400));
  call(run, 'output download');
  await at(411);
  expect(await keys(run)).toHaveLength(2);
  expect(await stored(run)).toEqual(['prediction create', 'output download']);
});

test('a store that does not answer costs lines, never more of them than a run may keep, and never an exception', async () => {
  const away = new Proxy(store, {
    get: (target, name) =>
      name === 'put' || name === 'get'
        ? () => Promise.reject(new Error('away'))
        : (Reflect.get(target, name) as unknown),
  });
  const { put, call, at, sink, lost } = setUp(away);
  const run = aRun();
  put(run, 'ADDED');
  for (let i = 0; i < 1500; i++) call(run, 'prediction get');
  expect(lost).toHaveLength(500);
  await at(400);
  expect(lost).toHaveLength(501);
  await sink.close();
});
