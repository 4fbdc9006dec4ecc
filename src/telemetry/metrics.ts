import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { WorkQueueObserver } from '../kube/work-queue.ts';

/**
 * The operator's own metrics. Where controller-runtime has a name for something, it is used: dashboards that people
 * have then show this operator too. Labels are bounded: never a run, a namespace or a uid.
 */
export class Metrics {
  readonly registry = new Registry();
  readonly #reconciles = this.#counter('controller_runtime_reconcile_total', 'Passes over one object, by result', [
    'controller',
    'result',
  ]);
  readonly #reconcileTime = this.#histogram(
    'controller_runtime_reconcile_time_seconds',
    'Length of one pass',
    ['controller'],
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30],
  );
  readonly #queueTime = this.#histogram(
    'workqueue_queue_duration_seconds',
    'Time an object waits for a pass',
    ['name'],
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30],
  );
  readonly #leader = new Gauge({
    name: 'leader_election_master_status',
    help: '1 while this process leads',
    labelNames: ['name'],
    registers: [this.registry],
  });
  readonly #runs = this.#counter('worldrun_finished_total', 'Runs that ended, by reason', ['reason']);
  readonly #caches = this.#counter('worldflux_watch_errors_total', 'Watches that broke and were begun again', [
    'resource',
  ]);

  constructor() {
    collectDefaultMetrics({ register: this.registry });
  }

  #counter(name: string, help: string, labelNames: string[]): Counter {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }

  #histogram(name: string, help: string, labelNames: string[], buckets: number[]): Histogram {
    return new Histogram({ name, help, labelNames, buckets, registers: [this.registry] });
  }

  /** A number that is read when it is asked for. */
  gauge(name: string, help: string, read: () => number): void {
    const gauge = new Gauge({
      name,
      help,
      registers: [this.registry],
      collect() {
        gauge.set(read());
      },
    });
  }

  observerOf(controller: string, onError: (key: string, error: unknown) => void): WorkQueueObserver {
    return {
      taken: (_key, _lane, waitedMs) => this.#queueTime.observe({ name: controller }, waitedMs / 1000),
      done: (_key, tookMs) => {
        this.#reconciles.inc({ controller, result: 'success' });
        this.#reconcileTime.observe({ controller }, tookMs / 1000);
      },
      failed: (key, error) => {
        this.#reconciles.inc({ controller, result: 'error' });
        onError(key, error);
      },
    };
  }

  leads(is: boolean): void {
    this.#leader.set({ name: 'worldflux-operator' }, is ? 1 : 0);
  }

  finished(reason: string): void {
    this.#runs.inc({ reason });
  }

  watchBroke(resource: string): void {
    this.#caches.inc({ resource });
  }
}
