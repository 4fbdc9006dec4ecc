import { expect, test } from 'vitest';
import { formatTerminationMessage } from '../../results/termination-message.ts';
import { aPod, type PodBuilder } from '../../runtime/local/testing/a-pod.ts';
import { at, ms } from '../../runtime/local/testing/clock.ts';
import { makeCaches } from '../caches.ts';
import { aJob } from '../testing/a-job.ts';
import { aRun } from '../testing/a-run.ts';
import { observe } from './observe.ts';
import { emptyMemory, type World } from './world.ts';

/** A collector that never reached the gateway leaves its metrics in the pod. */
const told = (pod: PodBuilder, loss: number): PodBuilder =>
  pod
    .running(2)
    .exited(0)
    .collectorEnded({ message: formatTerminationMessage({ metrics: { loss }, metricsOmitted: 0 }) });

/** A run whose first start was evicted by its queue; the same Job has started again. */
function requeued(...pods: PodBuilder[]): World {
  const caches = makeCaches('installation', (error) => {
    throw error;
  });
  const last = { number: 1, jobUID: 'job-1', finishedAt: at(20), reason: 'Requeued', counted: false };
  const run = aRun().attempt(last);
  caches.jobs.upsert(aJob().inQueue('q').started(25).build());
  for (const pod of pods) caches.pods.upsert(pod.build());
  const nothing = { progress: undefined, results: new Map(), logs: new Map() };
  const from = {
    caches,
    installation: 'installation',
    results: { of: () => nothing, usage: () => 0 },
    ghosts: () => [],
    profileReady: () => ({ ready: true, configured: true, message: '' }),
    reservationOf: () => undefined,
    vendorOf: () => undefined,
  };
  return observe(from, run.live(), emptyMemory(), ms(40));
}

test('metrics in a pod’s last words are those of its own start, not of the next one of the same Job', () => {
  const old = told(aPod().deleting(), 1);
  const next = told(aPod().ofRank(1).createdAt(25), 2);
  expect([...requeued(old, next).results.results.values()]).toMatchObject([{ rank: 1, metrics: { loss: 2 } }]);
});
