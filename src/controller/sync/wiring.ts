import type { Logger } from 'pino';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { KubeClient } from '../../kube/client.ts';
import { NotLeaderError } from '../../kube/lease.ts';
import type { RunStore } from '../../results/contract.ts';
import type { ProviderEventRecorder } from '../../telemetry/provider-events.ts';
import type { Caches } from '../caches.ts';
import type { ProfileView, RunView } from '../run/view.ts';
import { KubeSyncCluster } from './kube-cluster.ts';
import { planSync } from './plan.ts';
import { systemClock, type SyncObserver, type SyncProfile, type SyncRun } from './ports.ts';
import { SyncQueue } from './queue.ts';
import { ownRedactor } from './redactor.ts';

/** The sync queue as a part of the operator: fed from its caches while it leads, seen in its metrics and its log. */

export interface SyncOptions {
  readonly caches: Pick<Caches, 'runs' | 'profiles'>;
  readonly client: KubeClient;
  readonly assertLeader: () => unknown;
  readonly store: RunStore;
  readonly registry: Registry;
  readonly events: ProviderEventRecorder;
  readonly log: Logger;
  readonly operatorNamespace: string;
  readonly settings: {
    readonly 'sync-concurrency': number;
    readonly 'sync-concurrency-per-target': number;
    readonly 'cluster-ranges': readonly string[];
  };
}

/** Registers the metrics once; each term of leadership has a queue of its own. */
export class Sync {
  readonly #o: SyncOptions;
  readonly #observer: SyncObserver;
  #queue: SyncQueue | undefined;

  constructor(options: SyncOptions) {
    this.#o = options;
    this.#observer = observerOf(options.registry, options.log);
    const gauges: [string, string, (queue: SyncQueue) => number][] = [
      ['worldrun_sync_waiting', 'Finished runs that wait to be sent to WorldFlux', (queue) => queue.waiting],
      [
        'worldrun_sync_lag_seconds',
        'Time since the run ended that has waited longest to be sent to WorldFlux',
        (queue) => queue.lagSeconds,
      ],
      ['worldrun_sync_running', 'Runs that are being sent', (queue) => queue.running],
      ['worldrun_sync_cleanups', 'Deleted runs whose uploads are still to be taken back', (queue) => queue.cleaningUp],
    ];
    for (const [name, help, read] of gauges) {
      const collect = () => gauge.set(this.#queue === undefined ? 0 : read(this.#queue));
      const gauge: Gauge = new Gauge({ name, help, registers: [options.registry], collect });
    }
  }

  /** True while a finished run is to be sent and is not there yet: nothing of it may be deleted. */
  waitsFor(view: RunView): boolean {
    const run = syncRunOf(view);
    if (run === undefined) return false;
    const profile = this.#o.caches.profiles.get(run.profile);
    return (
      planSync(run, profile === undefined ? undefined : syncProfileOf(profile), this.#o.operatorNamespace).do === 'Sync'
    );
  }

  /** Uploads of a deleted run are still to be taken back: its results may not go yet. */
  holds(clientRunId: string): boolean {
    return this.#queue?.holds(clientRunId) === true;
  }

  /** Call while this process leads and the caches are complete; answers how to stop. */
  start(): () => Promise<void> {
    const { caches, client, assertLeader, store, operatorNamespace, settings } = this.#o;
    const queue = new SyncQueue({
      store,
      cluster: new KubeSyncCluster(client, assertLeader),
      redactor: ownRedactor,
      clock: systemClock,
      observer: this.#observer,
      events: this.#o.events,
      operatorNamespace,
      concurrency: { total: settings['sync-concurrency'], perTarget: settings['sync-concurrency-per-target'] },
      clusterRanges: settings['cluster-ranges'],
    });
    this.#queue = queue;
    const seeRun = (view: RunView): void => {
      const run = syncRunOf(view);
      // Its sync is over, or it has none: what the queue may still know of it is stale.
      if (run === undefined) queue.settleRun(view.uid);
      else queue.setRun(run);
    };
    const forgetListeners = [
      caches.profiles.subscribe(({ type, old, new: now }) =>
        type === 'deleted' ? queue.deleteProfile(old.name) : queue.setProfile(syncProfileOf(now)),
      ),
      caches.runs.subscribe(({ type, old, new: now }) => (type === 'deleted' ? queue.deleteRun(old.uid) : seeRun(now))),
    ];
    for (const profile of caches.profiles.list()) queue.setProfile(syncProfileOf(profile));
    for (const run of caches.runs.list()) seeRun(run);
    queue.start();
    return async () => {
      for (const forget of forgetListeners) forget();
      this.#queue = undefined;
      await queue.stop();
    };
  }
}

function syncRunOf(view: RunView): SyncRun | undefined {
  if (view.state !== 'settled' || view.sync === undefined || view.deleting) return undefined;
  const { namespace, name, uid, generation, succeeded, finishedAt, sync } = view;
  return { namespace, name, uid, generation, succeeded, finishedAt, ...sync };
}

const syncProfileOf = ({ name, uid, generation, spec, status }: ProfileView): SyncProfile => ({
  name,
  uid,
  generation,
  sync: spec.sync,
  network: spec.network,
  conditions: status.conditions,
});

function observerOf(registry: Registry, log: Logger): SyncObserver {
  const registers = [registry];
  const attempts = new Counter({
    name: 'worldrun_sync_attempts_total',
    help: 'Tries to send a run to WorldFlux, by outcome',
    labelNames: ['outcome'],
    registers,
  });
  const seconds = new Histogram({
    name: 'worldrun_sync_attempt_seconds',
    help: 'Length of one try',
    labelNames: ['outcome'],
    buckets: [0.1, 0.5, 1, 5, 30, 120, 600, 3600],
    registers,
  });
  const bytes = new Counter({
    name: 'worldrun_sync_uploaded_bytes_total',
    help: 'Artifact bytes that arrived',
    registers,
  });
  const orphans = new Counter({
    name: 'worldrun_sync_orphaned_uploads_total',
    help: 'Uploads begun upstream that could not be taken back',
    registers,
  });
  return {
    attempt(outcome, tookMs) {
      attempts.inc({ outcome });
      seconds.observe({ outcome }, tookMs / 1000);
    },
    uploaded: (count) => bytes.inc(count),
    orphaned: (count) => orphans.inc(count),
    problem(what, error) {
      if (!(error instanceof NotLeaderError)) log.warn({ err: error }, `could not ${what}`);
    },
  };
}
