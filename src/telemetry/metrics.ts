import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Lane, WorkQueueObserver } from '../kube/work-queue.ts';

/** Seconds; a selection of controller-runtime's own bounds, so that its dashboards' quantiles stay comparable. */
const PASS_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
/** Seconds; controller-runtime's bounds, without those below a tenth of a millisecond. */
const QUEUE_SECONDS = [0.0001, 0.001, 0.01, 0.1, 1, 10, 100, 1000];

const LEASE = 'worldflux-operator';

/** A queue as its metrics see it. */
export interface MeasuredQueue {
  readonly depth: Readonly<Record<Lane, number>>;
}

/**
 * The operator's own metrics. Where controller-runtime or client-go has a name for something, it is used with its labels:
 * dashboards that people have then show this operator too. Labels are bounded: never a run, a namespace or a uid.
 */
export class Metrics {
  readonly registry = new Registry();
  readonly #reconciles = this.#counter(
    'controller_runtime_reconcile_total',
    'Passes over one object, by result: success, requeue_after, error',
    ['controller', 'result'],
  );
  readonly #reconcileErrors = this.#counter(
    'controller_runtime_reconcile_errors_total',
    'Passes that failed; they are tried again',
    ['controller'],
  );
  readonly #reconcileTime = this.#histogram(
    'controller_runtime_reconcile_time_seconds',
    'Length of one pass',
    ['controller'],
    PASS_SECONDS,
  );
  readonly #workers = this.#gauge('controller_runtime_max_concurrent_reconciles', 'Passes that may run at one time', [
    'controller',
  ]);
  readonly #active = this.#gauge('controller_runtime_active_workers', 'Passes that run', ['controller']);

  readonly #adds = this.#counter('workqueue_adds_total', 'Objects put into the queue', ['name', 'controller']);
  readonly #retries = this.#counter('workqueue_retries_total', 'Objects that come again because a pass failed', [
    'name',
    'controller',
  ]);
  readonly #queueTime = this.#histogram(
    'workqueue_queue_duration_seconds',
    'Time an object waits for a pass',
    ['name', 'controller'],
    QUEUE_SECONDS,
  );
  readonly #workTime = this.#histogram(
    'workqueue_work_duration_seconds',
    'Time a pass over an object takes',
    ['name', 'controller'],
    QUEUE_SECONDS,
  );
  readonly #queues = new Map<string, { queue: MeasuredQueue | undefined; begun: Map<string, number> }>();

  readonly #requests = this.#counter(
    'rest_client_requests_total',
    'Requests to the Kubernetes API; code is <error> where no answer came',
    ['code', 'method', 'host'],
  );
  readonly #leader = this.#gauge('leader_election_master_status', '1 while this process leads, 0 while it stands by', [
    'name',
  ]);
  readonly #lost = this.#counter(
    'worldflux_telemetry_lost_total',
    'Provider events that a sink could not take; `event`: those that could not be used at all',
    ['sink'],
  );
  readonly #orphans = this.#counter(
    'worldrun_orphans_total',
    'Work of this installation at a vendor that no run names, by what was done about it',
    ['runtime', 'action'],
  );
  readonly #watches = this.#counter('worldflux_watch_errors_total', 'Watches that broke and were begun again', [
    'resource',
  ]);

  constructor() {
    collectDefaultMetrics({ register: this.registry });
    this.#leader.set({ name: LEASE }, 0);
    this.#readQueues();
  }

  #counter(name: string, help: string, labelNames: string[]): Counter {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }

  #gauge(name: string, help: string, labelNames: string[]): Gauge {
    return new Gauge({ name, help, labelNames, registers: [this.registry] });
  }

  #histogram(name: string, help: string, labelNames: string[], buckets: number[]): Histogram {
    return new Histogram({ name, help, labelNames, buckets, registers: [this.registry] });
  }

  /** A number that is read when it is asked for: it must cost nothing, whatever the number of runs. */
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

  /** Measures a work queue; `workers` is its concurrency. Call {@link measure} once the queue exists. */
  observerOf(
    controller: string,
    workers: number,
    onError: (key: string, error: unknown) => void,
  ): Required<WorkQueueObserver> {
    const queue = { name: controller, controller };
    const begun = new Map<string, number>();
    this.#queues.set(controller, { queue: undefined, begun });
    this.#workers.set({ controller }, workers);
    this.#active.set({ controller }, 0);
    // A rate over a series that begins with its first error would not show it.
    this.#reconcileErrors.inc({ controller }, 0);
    for (const result of ['success', 'requeue_after', 'error']) this.#reconciles.inc({ controller, result }, 0);
    return {
      added: () => this.#adds.inc(queue),
      taken: (key, _lane, waitedMs) => {
        begun.set(key, performance.now());
        this.#active.set({ controller }, begun.size);
        this.#queueTime.observe(queue, waitedMs / 1000);
      },
      done: (key, tookMs, end) => {
        begun.delete(key);
        this.#active.set({ controller }, begun.size);
        this.#workTime.observe(queue, tookMs / 1000);
        this.#reconciles.inc({ controller, result: end });
        this.#reconcileTime.observe({ controller }, tookMs / 1000);
      },
      failed: (key, error) => {
        this.#reconcileErrors.inc({ controller });
        this.#retries.inc(queue);
        onError(key, error);
      },
    };
  }

  /** The queue whose passes {@link observerOf} observes. */
  measure(controller: string, queue: MeasuredQueue): void {
    const known = this.#queues.get(controller);
    if (known === undefined) throw new Error(`no observer was made for ${controller}`);
    known.queue = queue;
  }

  #readQueues(): void {
    const ofQueue = (name: string, help: string, read: (ages: number[]) => number) => {
      const gauge = new Gauge({
        name,
        help,
        labelNames: ['name', 'controller'],
        registers: [this.registry],
        collect: () => {
          const now = performance.now();
          for (const [controller, { begun }] of this.#queues)
            gauge.set({ name: controller, controller }, read([...begun.values()].map((at) => (now - at) / 1000)));
        },
      });
    };
    ofQueue('workqueue_unfinished_work_seconds', 'Time spent so far on passes that run', (ages) =>
      ages.reduce((sum, age) => sum + age, 0),
    );
    ofQueue('workqueue_longest_running_processor_seconds', 'Time spent so far on the oldest pass that runs', (ages) =>
      Math.max(0, ...ages),
    );
    const depth = new Gauge({
      name: 'workqueue_depth',
      help: 'Objects that wait for a pass; priority 1: what has begun, 0: what has not',
      labelNames: ['name', 'controller', 'priority'],
      registers: [this.registry],
      collect: () => {
        for (const [controller, { queue }] of this.#queues) {
          depth.set({ name: controller, controller, priority: '1' }, queue?.depth.finish ?? 0);
          depth.set({ name: controller, controller, priority: '0' }, queue?.depth.start ?? 0);
        }
      },
    });
  }

  /** A request to the API server was answered, or was not (`<error>`, as client-go has it). */
  requested(code: string, method: string, host: string): void {
    this.#requests.inc({ code, method, host });
  }

  leads(is: boolean): void {
    this.#leader.set({ name: LEASE }, is ? 1 : 0);
  }

  eventLost(sink: string): void {
    this.#lost.inc({ sink });
  }

  /** Work at a vendor that no run names. */
  orphan(runtime: string, action: 'Reported' | 'Deleted'): void {
    this.#orphans.inc({ runtime, action });
  }

  watchBroke(resource: string): void {
    this.#watches.inc({ resource });
  }
}
