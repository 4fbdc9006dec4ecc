import type { V1Job } from '@kubernetes/client-node';
import { setTimeout as pause } from 'node:timers/promises';
import { WORLD_RUNS, type WorldRun } from '../../src/controller/run/view.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { JOBS, type KubeObject, type ResourceType, type Wire } from '../../src/kube/resource.ts';
import { completeStatus, NAMESPACE, rawJob, worldRun } from './objects.ts';

/**
 * The one driver of every measurement: creates runs (or, for the floor, Jobs), and notes when its own watches bring
 * what became of them. All times are of this process's clock: when an answer or a watch event was received here.
 */

export type Who = (typeof WHOS)[number];
export const WHOS = ['raw Job', 'operator', 'operator without policies'] as const;
/** `full`: Job controller, scheduler and simulated nodes. `nojob`: the driver ends each Job as soon as it sees it. */
export type Form = 'full' | 'nojob';
export type Load = { perSecond: number; seconds: number } | { burst: number };

/** What became of one of them; milliseconds of `performance.now()`. */
export interface Trace {
  sentAt: number;
  answeredAt?: number;
  jobSeenAt?: number;
  jobEndSeenAt?: number;
  terminalAt?: number;
}

/** Creates under way at the same time in a burst. */
const BURST_WIDTH = 32;

const isTrue = (
  object: { status?: { conditions?: { type: string; status: string }[] | undefined } | undefined },
  type: string,
): boolean => object.status?.conditions?.some((c) => c.type === type && c.status === 'True') ?? false;

export class Driver {
  readonly #client: KubeClient;
  readonly #who: Who;
  readonly #endJobs: boolean;
  readonly #traces = new Map<string, Trace>();
  readonly #watching = new AbortController();
  /** How often the API server ended a watch of the driver. */
  watchesCut = 0;
  #open = 0;
  #failure: unknown;

  constructor(client: KubeClient, options: { who: Who; endJobs: boolean }) {
    this.#client = client;
    this.#who = options.who;
    this.#endJobs = options.endJobs;
  }

  /** Follows from now on. Begin before anything is created. */
  async watch(): Promise<void> {
    await this.#follow(JOBS, (job) => this.#onJob(job));
    if (this.#who !== 'raw Job') await this.#follow(WORLD_RUNS, (run) => this.#onRun(run as WorldRun));
  }

  stop(): void {
    this.#watching.abort();
  }

  /** Puts the load on and resolves when everything is terminal, or nothing has become so for `patienceMs`. */
  async put(load: Load, prefix: string, patienceMs = 60_000): Promise<Trace[]> {
    const count = 'burst' in load ? load.burst : load.perSecond * load.seconds;
    const names = Array.from({ length: count }, (_, i) => `${prefix}-${String(i).padStart(5, '0')}`);
    this.#open += count;
    if ('burst' in load) await this.#burst(names);
    else await this.#steady(names, load.perSecond);
    let open = this.#open;
    for (let since = performance.now(); this.#open > 0;) {
      if (this.#failure !== undefined) throw this.#failure;
      await pause(20);
      if (this.#open !== open) {
        open = this.#open;
        since = performance.now();
      } else if (performance.now() - since > patienceMs) break;
    }
    this.#open = 0;
    return names.map((name) => this.#traces.get(name)!);
  }

  async #burst(names: readonly string[]): Promise<void> {
    const queue = [...names].toReversed();
    await Promise.all(
      Array.from({ length: BURST_WIDTH }, async () => {
        for (let name = queue.pop(); name !== undefined; name = queue.pop()) await this.#create(name);
      }),
    );
  }

  /** At fixed times, whatever the answers do: a slow cluster must not slow the load. */
  async #steady(names: readonly string[], perSecond: number): Promise<void> {
    const startedAt = performance.now();
    const creations: Promise<void>[] = [];
    for (const [i, name] of names.entries()) {
      await pause(Math.max(0, startedAt + (i * 1000) / perSecond - performance.now()));
      creations.push(this.#create(name));
    }
    await Promise.all(creations);
  }

  async #create(name: string): Promise<void> {
    const trace: Trace = { sentAt: performance.now() };
    this.#traces.set(name, trace);
    try {
      if (this.#who !== 'raw Job') await this.#client.create(WORLD_RUNS, worldRun(name));
      else await this.#client.create(JOBS, rawJob(name));
      trace.answeredAt = performance.now();
    } catch (error) {
      this.#failure ??= error;
    }
  }

  #onJob(job: Wire<V1Job>): void {
    const meta = job.metadata!;
    const name = this.#who !== 'raw Job' ? meta.ownerReferences?.[0]?.name : meta.name;
    const trace = this.#traces.get(name ?? '');
    if (trace === undefined) return;
    const now = performance.now();
    if (trace.jobSeenAt === undefined) {
      trace.jobSeenAt = now;
      if (this.#endJobs) void this.#end(meta.name!);
    }
    if (trace.jobEndSeenAt !== undefined || !(isTrue(job, 'Complete') || isTrue(job, 'Failed'))) return;
    trace.jobEndSeenAt = now;
    if (this.#who === 'raw Job') this.#terminal(trace, now);
  }

  #onRun(run: WorldRun): void {
    const trace = this.#traces.get(run.metadata!.name!);
    if (trace !== undefined && trace.terminalAt === undefined && isTrue(run, 'Finished'))
      this.#terminal(trace, performance.now());
  }

  #terminal(trace: Trace, now: number): void {
    trace.terminalAt = now;
    this.#open -= 1;
  }

  async #end(name: string): Promise<void> {
    const patch = { merge: { status: completeStatus() } };
    await this.#client
      .patch(JOBS, { namespace: NAMESPACE, name }, patch, { subresource: 'status' })
      .catch((error: unknown) => {
        this.#failure ??= error;
      });
  }

  /**
   * Resolves when the watch begins. The API server ends the watch of a client that reads too slowly, which happens to
   * this driver in a burst; it goes on where it ended then, and loses nothing but some milliseconds.
   */
  async #follow<T extends KubeObject>(type: ResourceType<T>, see: (object: T) => void): Promise<void> {
    let resourceVersion = '';
    for await (const page of this.#client.pages(type, { namespace: NAMESPACE })) resourceVersion = page.resourceVersion;
    const { signal } = this.#watching;
    const watchOn = async () => {
      while (!signal.aborted) {
        const selection = { namespace: NAMESPACE, signal, resourceVersion, timeoutSeconds: 3600 };
        for await (const event of this.#client.watch(type, selection)) {
          resourceVersion = event.object.metadata?.resourceVersion ?? resourceVersion;
          if (event.type === 'ADDED' || event.type === 'MODIFIED') see(event.object);
        }
        this.watchesCut += 1;
      }
    };
    void watchOn().catch((error: unknown) => {
      if (!signal.aborted) this.#failure ??= error;
    });
  }
}
