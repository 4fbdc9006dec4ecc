import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import type { WorldRunStatus } from '../crds/world-run-status.ts';
import { at, ms } from '../runtime/local/testing/clock.ts';
import { makeCaches } from './caches.ts';
import { RunMetrics, writeFacts } from './run-metrics.ts';
import { aProfile } from './testing/a-profile.ts';
import { aRun, type RunBuilder } from './testing/a-run.ts';

const finishedAs = (run: RunBuilder, status: 'succeeded' | 'failed', reason: 'Completed' | 'OOMKilled') =>
  run.saying({ is: 'finished', status, reason, message: '', results: undefined });

const statusOf = (run: RunBuilder): WorldRunStatus => run.build().status!;

test.each<[string, RunBuilder, RunBuilder, ReturnType<typeof writeFacts>]>([
  [
    'an attempt begins',
    aRun(),
    aRun().attempt({ number: 1, podSetStartedAt: at(30) }),
    { attempts: [], queuedSeconds: 30, finished: undefined },
  ],
  [
    'it goes on',
    aRun().attempt({ number: 1, podSetStartedAt: at(30) }),
    aRun().attempt({ number: 1, podSetStartedAt: at(30), startedAt: at(40) }),
    { attempts: [], queuedSeconds: undefined, finished: undefined },
  ],
  [
    'it fails and is to be repeated',
    aRun().attempt({ number: 1, startedAt: at(30) }),
    aRun().attempt({ number: 1, startedAt: at(30), finishedAt: at(50), reason: 'Preempted' }),
    { attempts: ['Preempted'], queuedSeconds: undefined, finished: undefined },
  ],
  [
    'a closed attempt is written again',
    aRun().attempt({ number: 1, startedAt: at(30), reason: 'Preempted' }),
    aRun().attempt({ number: 1, startedAt: at(30), reason: 'Preempted' }),
    { attempts: [], queuedSeconds: undefined, finished: undefined },
  ],
  [
    'the second attempt has waited since the end of the first',
    aRun()
      .attempt({ number: 1, startedAt: at(30), reason: 'Preempted' })
      .status({ queuedSince: at(50) }),
    aRun()
      .attempt({ number: 1, startedAt: at(30), reason: 'Preempted' })
      .attempt({ number: 2, startedAt: at(75) }),
    { attempts: [], queuedSeconds: 25, finished: undefined },
  ],
  [
    'a quick run is written once, with its end',
    aRun(),
    finishedAs(aRun().attempt({ number: 1, startedAt: at(3), reason: 'Completed' }), 'succeeded', 'Completed').status({
      result: { costEstimateUSD: '0.2500' },
    }),
    { attempts: ['Completed'], queuedSeconds: 3, finished: { reason: 'Completed', costUSD: 0.25 } },
  ],
])('%s', (_, before, after, facts) => {
  expect(writeFacts(before.live(), statusOf(after))).toEqual(facts);
});

function setUp() {
  const registry = new Registry();
  const caches = makeCaches('6f1f6d6e-6f3b-5f0e-9d2b-0c7c3f1f2f57', (error) => {
    throw error;
  });
  let now = ms(0);
  const metrics = new RunMetrics({ registry, caches, now: () => now });
  let version = 10;
  const put = (run: RunBuilder, type: 'ADDED' | 'MODIFIED' | 'DELETED' = 'MODIFIED') => {
    const object = run.build();
    caches.runs.apply({
      type,
      object: { ...object, metadata: { ...object.metadata, resourceVersion: `${++version}` } },
    });
  };
  const write = (run: RunBuilder, seconds: number) => {
    now = ms(seconds);
    const { namespace, name } = run.build().metadata!;
    metrics.wrote(caches.runs.get(`${namespace}/${name}`), statusOf(run));
    put(run);
  };
  const values = async (name: string): Promise<Record<string, number>> => {
    const { values: all } = await registry.getSingleMetric(name)!.get();
    return Object.fromEntries(
      all.flatMap(({ labels, value }) => (value === 0 ? [] : [[Object.values(labels).join(' '), value]])),
    ) as Record<string, number>;
  };
  const profile = aProfile().build();
  caches.profiles.apply({
    type: 'ADDED',
    object: { ...profile, metadata: { ...profile.metadata, resourceVersion: '1' } },
  });
  return { registry, caches, put, write, values };
}

test('a run from its creation to its end', async () => {
  const { put, write, values } = setUp();
  const run = aRun().withProfile('cpu');
  put(run, 'ADDED');
  expect(await values('worldrun_runs')).toEqual({ Pending: 1 });
  const running = run.attempt({ number: 1, podSetStartedAt: at(20) }).status({ phase: 'Running' });
  write(running, 20);
  expect(await values('worldrun_runs')).toEqual({ Running: 1 });
  const ended = finishedAs(running.attempt({ number: 1, reason: 'Completed' }), 'succeeded', 'Completed');
  write(ended.status({ result: { costEstimateUSD: '1.5' } }), 320);
  expect(await values('worldrun_runs')).toEqual({ Succeeded: 1 });
  expect(await values('worldrun_finished_total')).toEqual({ Completed: 1 });
  expect(await values('worldrun_attempts_total')).toEqual({ 'local Completed': 1 });
  expect(await values('worldrun_cost_usd_total')).toEqual({ local: 1.5 });
  expect(await values('worldrun_queue_seconds')).toMatchObject({ '60 local': 1, local: 1 });
  // Pending for 20 seconds, Running for 300.
  expect(await values('worldrun_phase_seconds')).toMatchObject({
    Pending: 1,
    '60 Pending': 1,
    Running: 1,
    '300 Running': 1,
  });
  put(ended, 'DELETED');
  expect(await values('worldrun_runs')).toEqual({});
});

test('a word that nobody knows makes no series of its own', async () => {
  const { put, write, values } = setUp();
  put(aRun(), 'ADDED');
  write(aRun().attempt({ number: 1, startedAt: at(1), reason: 'run-7f3a of namespace team-a' }), 5);
  expect(await values('worldrun_attempts_total')).toEqual({ 'unknown other': 1 });
});

test('ten thousand runs make no more series than one', async () => {
  const { registry, put, write } = setUp();
  const live = async () => {
    const lines = (await registry.metrics()).split('\n');
    return lines.filter((line) => !line.startsWith('#')).length;
  };
  const one = (i: number) => {
    const run = aRun().named(`run-${i}`).withProfile('cpu');
    put(run, 'ADDED');
    write(run.attempt({ number: 1, startedAt: at(2), reason: 'OOMKilled' }).status({ phase: 'Running' }), 3);
    write(finishedAs(run, 'failed', 'OOMKilled'), 5);
  };
  one(0);
  const before = await live();
  for (let i = 1; i < 10_000; i++) one(i);
  expect(await live()).toBe(before);
});
