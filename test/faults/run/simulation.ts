import { makeCaches, type Caches } from '../../../src/controller/caches.ts';
import { SpendBook } from '../../../src/controller/admission/spend.ts';
import { RunController } from '../../../src/controller/run/controller.ts';
import type { WorldRun } from '../../../src/controller/run/view.ts';
import { isKubeError } from '../../../src/kube/errors.ts';
import type { KubeObject } from '../../../src/kube/resource.ts';
import type { Store } from '../../../src/kube/store.ts';
import type { RuntimeProfileSpec } from '../../../src/crds/runtime-profile.ts';
import type { CollectorConfig } from '../../../src/results/collector/config.ts';
import { ApiServer, KINDS, type Event, type Kind } from './api-server.ts';
import { clusterOn } from './cluster.ts';
import { Calls, Crash, type Fault } from './faults.ts';
import { startJobController } from './job-controller.ts';
import { startKubelet, type Workload } from './kubelet.ts';
import { accountsOf, ResultsOfProcess, RunStoreInMemory } from './results.ts';
import { ioOf, VendorInMemory, type VendorScript } from './vendor.ts';
import { VirtualClock } from './virtual-clock.ts';
import { Vendors } from '../../../src/controller/remote/vendors.ts';
import { RuntimeRegistry } from '../../../src/runtime/registry.ts';

export const INSTALLATION = '6f1f6d6e-6f3b-5f0e-9d2b-0c7c3f1f2f57';

/** How events come to the caches; without any of it, at once and once. */
export interface Delivery {
  /** Milliseconds that an event is under way. */
  latency?(kind: Kind, index: number): number;
  /** Nothing of these kinds comes through from the `from`th event of the log on, for so long. */
  frozen?: { kinds: readonly Kind[]; from: number; ms: number };
  /** Comes twice. */
  twice?: boolean;
  /** Is lost; a new list makes up for it so much later. */
  lost?: { index: number; relistMs: number };
  /** After this event another process leads, and the one before works on as if it did. */
  takeover?: number;
}

export interface Scene {
  run(name: string): WorldRun;
  profile: RuntimeProfileSpec;
  workload(attempt: number, rank: number): Workload;
  /** What people and other controllers do, each as soon as its time has come. */
  steps?: readonly {
    when(api: ApiServer): boolean;
    afterMs?: number;
    does(api: ApiServer, clock: VirtualClock): void;
  }[];
  prepare?(api: ApiServer, store: RunStoreInMemory): void;
  /** What the vendor does with each request, for a profile whose work lies with one. */
  vendor?: VendorScript;
  /** Names of the runs; the first one is `run`. */
  runs?: readonly string[];
}

const DOWNTIME_MS = 3000;

/** One operator, its cluster and its users, in virtual time. */
export class Simulation {
  readonly clock = new VirtualClock();
  readonly api = new ApiServer(this.clock);
  readonly store = new RunStoreInMemory();
  readonly calls = new Calls(() => this.api.log.length);
  readonly vendor: VendorInMemory | undefined;
  /** Work that was given up. */
  readonly orphans: string[] = [];
  readonly listenerErrors: unknown[] = [];
  readonly failures: string[] = [];
  #process: Process | undefined;
  /** Does not know that it leads no more. */
  #paused: Process | undefined;
  #stepsDone = 0;
  #epoch = 0;
  readonly #scene: Scene;
  readonly #delivery: Delivery;

  constructor(scene: Scene, fault?: Fault, delivery: Delivery = {}) {
    this.#scene = scene;
    this.#delivery = delivery;
    this.calls.fault = fault;
    this.vendor = scene.vendor === undefined ? undefined : new VendorInMemory(this.clock, this.calls, scene.vendor);
    startJobController(this.api, this.clock);
    startKubelet(this.api, this.clock, scene.workload, {
      collectNow: (config) => {
        const task = this.#process?.controller.find(config.clientRunId);
        return task !== undefined && task !== 'over' && task.collectNow;
      },
      post: (config, pod, rank) => this.#post(config, pod.metadata!.uid!, rank),
    });
    this.api.subscribe((event) => {
      const index = this.api.log.length - 1;
      for (const process of this.#processes) process.onEvent(event, index);
      if (delivery.takeover === index) this.clock.after(0, () => this.#takeOver());
    });
    this.api.create('namespaces', { metadata: { name: 'team' } });
    this.#node('node-1');
    this.#node('node-2');
    this.api.create('profiles', {
      metadata: { name: 'cpu', annotations: { 'worldflux.ai/is-default-profile': 'true' } },
      spec: scene.profile,
    });
    scene.prepare?.(this.api, this.store);
    for (const name of scene.runs ?? ['run']) this.api.create('runs', scene.run(name));
    this.#process = this.#start(this.api.log.length);
  }

  #node(name: string): void {
    this.api.create('nodes', {
      metadata: { name },
      status: { conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: this.clock.stamp() }] },
    });
  }

  /** The gateway: known pods of the live attempt are heard. */
  #post(config: CollectorConfig, podUid: string, rank: number): 'taken' | 'later' | 'over' {
    const task = this.#process?.controller.find(config.clientRunId);
    if (task === 'over') return 'over';
    if (this.#process === undefined || task === undefined || config.attempt > task.attempt) return 'later';
    if (task.rankOf(podUid) === undefined) return config.attempt < task.attempt ? 'over' : 'later';
    const key = { clientRunId: config.clientRunId, runUid: task.runUid, attempt: task.attempt };
    this.#process.results.accept(key, {
      rank,
      podUid,
      metrics: { loss: 0.25 },
      metricsOmitted: 0,
      artifacts: [],
      via: 'Gateway',
      collectedAt: this.clock.stamp(),
    });
    this.#process.controller.onResult(config.clientRunId);
    return 'taken';
  }

  #start(listedAt: number): Process {
    return new Process({
      epoch: ++this.#epoch,
      listedAt,
      api: this.api,
      clock: this.clock,
      calls: this.calls,
      results: new ResultsOfProcess(this.store, this.calls),
      accounts: accountsOf(this.store, this.calls),
      delivery: this.#delivery,
      vendor: this.vendor,
      onOrphan: (externalId) => this.orphans.push(externalId),
      onListenerError: (error) => this.listenerErrors.push(error),
    });
  }

  get #processes(): Process[] {
    return [this.#paused, this.#process].filter((process) => process !== undefined);
  }

  #takeOver(): void {
    this.#paused = this.#process;
    if (this.#paused !== undefined) this.#paused.lagMs = 700;
    this.#process = this.#start(this.api.log.length);
  }

  /** What the present process knows of results. */
  get results(): ResultsOfProcess | undefined {
    return this.#process?.results;
  }

  /** The process is gone with all that it remembered; the next one starts a little later. */
  die(): void {
    this.calls.died = false;
    if (this.#process === undefined) return;
    this.#process.stop();
    this.#process = undefined;
    const listedAt = this.calls.crashedAt;
    this.clock.after(DOWNTIME_MS, () => {
      this.#process = this.#start(listedAt ?? this.api.log.length);
    });
  }

  /** Runs until nothing is due within `seconds` of virtual time, or `until` holds. */
  async run(seconds: number, until: () => boolean = () => false): Promise<void> {
    const end = this.clock.now + seconds * 1000;
    while (!until()) {
      // What goes on beside the passes (polls, copies) comes to its next call.
      for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
      if (this.calls.died) this.die();
      this.#doSteps();
      if (await this.#work()) continue;
      if (!this.clock.step(end)) return;
    }
  }

  /** One pass of one process; false when none has anything to do. */
  async #work(): Promise<boolean> {
    for (const process of this.#processes) {
      const key = process.nextKey();
      if (key === undefined) continue;
      await this.#reconcile(process, key);
      return true;
    }
    return false;
  }

  async #reconcile(process: Process, key: string): Promise<void> {
    try {
      await process.reconcile(key);
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      this.die();
    }
    if (process.failure !== undefined) this.failures.push(process.failure);
  }

  #doSteps(): void {
    const step = this.#scene.steps?.[this.#stepsDone];
    if (step === undefined || !step.when(this.api)) return;
    this.#stepsDone += 1;
    this.clock.after(step.afterMs ?? 0, () => step.does(this.api, this.clock));
  }

  /** Looks at every run again, with nothing having happened. */
  async lookAgain(times: number): Promise<void> {
    for (let i = 0; i < times; i += 1) {
      for (const name of this.#scene.runs ?? ['run']) await this.#process?.reconcile(`team/${name}`);
    }
  }
}

interface ProcessOptions {
  epoch: number;
  /** Length of the log that its first list shows. */
  listedAt: number;
  api: ApiServer;
  clock: VirtualClock;
  calls: Calls;
  results: ResultsOfProcess;
  accounts: ReturnType<typeof accountsOf>;
  delivery: Delivery;
  vendor: VendorInMemory | undefined;
  onListenerError(error: unknown): void;
  onOrphan(externalId: string): void;
}

/** The operator's memory between two deaths: caches, controller, queue. */
class Process {
  readonly results: ResultsOfProcess;
  readonly controller: RunController;
  /** What the last pass failed with, if it did and no fault of the test was the cause. */
  failure: string | undefined;
  readonly #o: ProcessOptions;
  readonly #caches: Caches;
  readonly #vendors: Vendors;
  readonly #end = new AbortController();
  readonly #ready = new Map<string, 'finish' | 'start'>();
  readonly #due = new Map<string, number>();
  readonly #failures = new Map<string, number>();
  /** When the last event of a kind arrives: a stream keeps its order. */
  readonly #arrival = new Map<Kind, number>();
  #stopped = false;
  /** Milliseconds that every event comes late, besides what `delivery` says. */
  lagMs = 0;

  constructor(options: ProcessOptions) {
    this.#o = options;
    this.results = options.results;
    const { api, clock, calls, listedAt } = options;
    this.#caches = makeCaches(INSTALLATION, options.onListenerError);
    this.#vendors = new Vendors({
      registry: new RuntimeRegistry(options.vendor === undefined ? [] : [options.vendor]),
      access: { of: () => ({ ready: true, io: ioOf(this.#end.signal, () => clock.now) }) },
      caches: this.#caches,
      installationId: INSTALLATION,
      results: this.results,
      degraded: () => undefined,
      wake: (uid) => this.controller.onWork(uid),
      onOrphan: (orphan) => options.onOrphan(orphan.externalId),
      onError: () => {},
      now: () => clock.now,
    });
    this.controller = new RunController({
      caches: this.#caches,
      cluster: clusterOn(api, calls),
      results: this.results,
      vendors: this.#vendors,
      installation: {
        id: INSTALLATION,
        namespace: 'operator',
        image: 'operator:1',
        gatewayUrl: 'https://gateway:8443',
        caPem: 'PEM',
      },
      epoch: () => options.epoch,
      queue: { add: (key, lane = 'start') => this.#add(key, lane), addAfter: (key, ms) => this.#addAfter(key, ms) },
      profileReady: () => ({ ready: true, configured: true, message: '' }),
      spend: new SpendBook(
        options.accounts,
        () => clock.now,
        () => {},
      ),
      onError: () => {},
      onRunDeleted: () => {},
      waitsForSync: () => false,
      onSettled: () => {},
      now: () => clock.now,
    });
    for (const kind of KINDS) this.#list(kind, listedAt);
    if (options.vendor !== undefined) this.#poll();
    this.controller.restore();
    for (let index = listedAt; index < api.log.length; index += 1) this.#deliver(api.log[index]!, 2000);
  }

  stop(): void {
    this.#stopped = true;
    this.#end.abort();
  }

  #poll(): void {
    if (this.#stopped) return;
    this.#vendors.poller.tick(this.#o.clock.now);
    this.#o.clock.after(1000, () => this.#poll());
  }

  #store(kind: Kind): Store<KubeObject, unknown> | undefined {
    return kind === 'services' ? undefined : (this.#caches[kind] as unknown as Store<KubeObject, unknown>);
  }

  #list(kind: Kind, events: number): void {
    const store = this.#store(kind);
    if (store === undefined) return;
    const last = this.#o.api.log[events - 1]?.object.metadata?.resourceVersion ?? '1';
    const replacement = store.replace();
    for (const object of this.#o.api.listAt(kind, events)) replacement.add(object as KubeObject);
    replacement.finish(last);
  }

  onEvent(event: Event, index: number): void {
    const { latency, frozen, lost } = this.#o.delivery;
    if (lost?.index === index) {
      // The stream breaks with this event; everything comes with the next list.
      this.#o.clock.after(lost.relistMs, () => !this.#stopped && this.#list(event.kind, this.#o.api.log.length));
      return;
    }
    const thaw =
      frozen !== undefined && frozen.kinds.includes(event.kind) && index >= frozen.from ? this.#thaw(frozen) : 0;
    this.#deliver(event, Math.max(this.lagMs, latency?.(event.kind, index) ?? 0, thaw - this.#o.clock.now));
  }

  #thawsAt: number | undefined;
  #thaw(frozen: NonNullable<Delivery['frozen']>): number {
    this.#thawsAt ??= this.#o.clock.now + frozen.ms;
    return this.#thawsAt;
  }

  #deliver(event: Event, ms: number): void {
    const store = this.#store(event.kind);
    if (store === undefined) return;
    const put = () => {
      if (this.#stopped) return;
      const times = this.#o.delivery.twice ? 2 : 1;
      for (let i = 0; i < times; i += 1) store.apply({ type: event.type, object: event.object });
    };
    const at = Math.max(this.#o.clock.now + Math.max(0, ms), this.#arrival.get(event.kind) ?? 0);
    this.#arrival.set(event.kind, at);
    // At once, also in the middle of the call that caused it: the watch is often faster than the answer.
    if (at <= this.#o.clock.now) put();
    else this.#o.clock.after(at - this.#o.clock.now, put);
  }

  #add(key: string, lane: 'finish' | 'start'): void {
    if (this.#ready.get(key) !== 'finish') this.#ready.set(key, lane);
  }

  #addAfter(key: string, ms: number): void {
    const { clock } = this.#o;
    const due = clock.now + ms;
    if ((this.#due.get(key) ?? Infinity) <= due) return;
    this.#due.set(key, due);
    clock.after(ms, () => {
      if (this.#stopped || this.#due.get(key) !== due) return;
      this.#due.delete(key);
      this.#add(key, 'start');
    });
  }

  nextKey(): string | undefined {
    const entries = [...this.#ready];
    const next = (entries.find(([, lane]) => lane === 'finish') ?? entries[0])?.[0];
    if (next !== undefined) this.#ready.delete(next);
    return next;
  }

  async reconcile(key: string): Promise<void> {
    this.failure = undefined;
    try {
      const again = await this.controller.reconcile(key);
      this.#failures.delete(key);
      if (again !== undefined) this.#addAfter(key, again.afterMs);
    } catch (error) {
      if (error instanceof Crash) throw error;
      const failures = (this.#failures.get(key) ?? 0) + 1;
      this.#failures.set(key, failures);
      if (!isKubeError(error)) this.failure = String(error);
      this.#addAfter(key, Math.min(60_000, 500 * 2 ** failures));
    }
  }
}
