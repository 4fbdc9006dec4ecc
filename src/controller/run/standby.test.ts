import { beforeEach, describe, expect, test } from 'vitest';
import { ResultsHub } from '../../results/hub.ts';
import { RuntimeRegistry } from '../../runtime/registry.ts';
import { aPod } from '../../runtime/local/testing/a-pod.ts';
import { at, ms } from '../../runtime/local/testing/clock.ts';
import { SpendBook } from '../admission/spend.ts';
import { makeCaches, type Caches } from '../caches.ts';
import { clientRunId } from '../identity.ts';
import { Vendors } from '../remote/vendors.ts';
import { aJob } from '../testing/a-job.ts';
import { aProfile } from '../testing/a-profile.ts';
import { aRun, type RunBuilder } from '../testing/a-run.ts';
import { RunController } from './controller.ts';
import type { Cluster, Results } from './ports.ts';

/** A replica that does not lead sees everything, and does nothing: the one that leads does. */

const INSTALLATION = '1f0c1c52-6d5f-5d3e-8f43-6d3a4a0c8f22';
const idOf = (name: string): string =>
  clientRunId(INSTALLATION, { namespace: 'team', uid: `uid-${name}`, runKey: undefined });

let caches: Caches;
let controller: RunController;
let now: number;
/** Whatever it did, in order. */
let done: string[];
let version: number;

beforeEach(() => {
  done = [];
  now = ms(20);
  version = 10;
  caches = makeCaches(INSTALLATION, (error) => {
    throw error;
  });
  const hub = new ResultsHub({} as never);
  const results = {
    of: (key) => hub.get(key),
    usage: () => 0,
    forget: () => {},
    trackLog: (_, pod) => void done.push(`read the log of ${pod.name}`),
  } as Partial<Results> as Results;
  const cluster = new Proxy({} as Cluster, { get: (_, call) => () => done.push(String(call)) });
  controller = new RunController({
    caches,
    cluster,
    results,
    vendors: new Vendors({
      registry: new RuntimeRegistry([]),
      access: { of: () => ({ ready: false, message: '' }) },
      caches,
      installationId: INSTALLATION,
      results,
      degraded: () => undefined,
      wake: () => {},
      onOrphan: () => {},
      onError: () => {},
      now: () => now,
    }),
    installation: { id: INSTALLATION, namespace: 'operator', image: '', gatewayUrl: '', caPem: '' },
    epoch: () => 1,
    queue: { add: (key) => done.push(`look at ${key}`), addAfter: (key) => done.push(`look at ${key}`) },
    profileReady: () => ({ ready: true, configured: true, message: '' }),
    spend: new SpendBook(
      { put: async () => {}, async *list() {}, remove: async () => {} },
      () => now,
      () => {},
    ),
    waitsForSync: () => false,
    onRunDeleted: (run) => done.push(`forget the results of ${run.name}`),
    onSettled: (run) => done.push(`say that ${run.name} ended`),
    onError: (what) => done.push(what),
    now: () => now,
  });
  caches.profiles.upsert(aProfile('cpu').asDefault().build());
});

/** The watch brings it. */
function see(store: 'runs' | 'jobs' | 'pods', object: object, type: 'MODIFIED' | 'DELETED' = 'MODIFIED'): void {
  version += 1;
  const { metadata } = object as { metadata: object };
  const event = { type, object: { ...object, metadata: { ...metadata, resourceVersion: String(version) } } };
  caches[store].apply(event as never);
}

const over = (run: RunBuilder): RunBuilder =>
  run.saying({ is: 'finished', status: 'failed', reason: 'NonZeroExit', message: '', results: undefined }, 10);

function seeRunAtWork(): void {
  see('runs', aRun().build());
  see('jobs', aJob().started().build());
  see('pods', aPod().running(2).build());
}

describe('while another replica leads', () => {
  test('runs start, run, end and go, and nothing is done about it', () => {
    seeRunAtWork();
    see('runs', over(aRun()).build());
    see('runs', over(aRun()).build(), 'DELETED');
    see('runs', aRun('other').build());
    see('runs', aRun('other').build(), 'DELETED');
    expect(done).toEqual([]);
  });

  test('pods that reach it are known', () => {
    seeRunAtWork();
    const task = controller.find(idOf('pendulum'));
    expect(task).toMatchObject({ attempt: 1, namespace: 'team', runName: 'pendulum', collectNow: false });
  });
});

describe('when it leads itself', () => {
  test('it looks at every run, and reads the logs of the pods that run', () => {
    seeRunAtWork();
    see('runs', over(aRun('ended')).build());
    controller.restore();
    expect(done.toSorted()).toEqual(['look at team/ended', 'look at team/pendulum', 'read the log of pod-of-job-1-0']);
  });

  test('a pod of a start that a queue has ended is not taken for the next one of the same Job', () => {
    const last = { number: 1, jobUID: 'job-1', finishedAt: at(20), reason: 'Requeued', counted: false };
    see('runs', aRun().attempt(last).build());
    see('jobs', aJob().inQueue('q').started(25).build());
    see('pods', aPod().running(2).deleting().build());
    see('pods', aPod().ofRank(1).createdAt(25).running(26).build());
    controller.restore();
    expect(done.filter((what) => what.startsWith('read'))).toEqual(['read the log of pod-of-job-1-1']);
  });

  test('it deals with runs that were deleted while nobody may have led, and with none that went long before', () => {
    see('runs', aRun('before').build());
    see('runs', aRun('meanwhile').build());
    see('runs', aRun('before').build(), 'DELETED');
    now += 61_000;
    see('runs', aRun('meanwhile').build(), 'DELETED');
    now += 30_000;
    controller.restore();
    expect(done).toEqual(['forget the results of meanwhile']);
  });

  test('what happens from then on is its own to deal with', () => {
    seeRunAtWork();
    controller.restore();
    done.length = 0;
    see('runs', over(aRun()).build());
    see('runs', over(aRun()).build(), 'DELETED');
    expect(done).toContain('say that pendulum ended');
    expect(done).toContain('forget the results of pendulum');
  });
});

describe('what a collector is told of a run that is not there', () => {
  test('over, once it has ended or is gone', () => {
    seeRunAtWork();
    see('runs', over(aRun()).build());
    expect(controller.find(idOf('pendulum'))).toBe('over');
    see('runs', aRun('deleted').build());
    see('runs', aRun('deleted').build(), 'DELETED');
    expect(controller.find(idOf('deleted'))).toBe('over');
    see('runs', aRun('leaving').deleting().build());
    expect(controller.find(idOf('leaving'))).toBe('over');
  });

  test('to wait, while it may only not be known yet', () => {
    expect(controller.find(idOf('unknown'))).toBeUndefined();
    see('runs', aRun().build());
    expect(controller.find(idOf('pendulum'))).toBeUndefined();
  });

  test('to wait too, where a later run of the same key has the same name in the store', () => {
    const keyed = aRun().keyed('k');
    see('runs', keyed.build());
    const id = clientRunId(INSTALLATION, { namespace: 'team', uid: 'uid-pendulum', runKey: 'k' });
    see('runs', keyed.build(), 'DELETED');
    expect(controller.find(id)).toBeUndefined();
  });
});
