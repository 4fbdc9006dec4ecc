import type { Lane, Requeue } from '../../kube/work-queue.ts';
import type { StoreChange } from '../../kube/store.ts';
import type { CollectTask } from '../../results/contract.ts';
import { podState, type PodView } from '../../runtime/local/pod-state.ts';
import { Admission } from '../admission/admission.ts';
import type { SpendBook } from '../admission/spend.ts';
import { spentBy } from '../admission/spent-by.ts';
import type { MicroUSD } from '../money.ts';
import type { Caches } from '../caches.ts';
import { clientRunId } from '../identity.ts';
import { stopJob } from '../../runtime/local/cluster.ts';
import { apply, hasSecrets } from './apply.ts';
import { ignoreGone } from '../../kube/gone.ts';
import type { Apply, Installation } from './context.ts';
import { decide, decideSettled } from './decide.ts';
import { observe, profileKeysOf, type Observed } from './observe.ts';
import type { Vendors } from '../remote/vendors.ts';
import type { Cluster, Results } from './ports.ts';
import type { JobView, LiveRun, NodeView, ProfileView, RunView, SettledRun } from './view.ts';
import { podsOf } from './attempt.ts';
import { collectTaskOf } from './collect-task.ts';
import { currentAttempt, emptyMemory, openAttempt, type RunMemory } from './world.ts';

export interface RunControllerOptions {
  caches: Caches;
  cluster: Cluster;
  results: Results;
  installation: Installation;
  vendors: Vendors;
  epoch(): number;
  queue: { add(key: string, lane?: Lane): void; addAfter(key: string, delayMs: number, lane?: Lane): void };
  profileReady(profile: ProfileView): { ready: boolean; configured: boolean; message: string };
  /** Its record is still to be sent upstream. */
  waitsForSync(run: SettledRun): boolean;
  /** A live run is gone from the API: what it left in the store is dealt with there. */
  onRunDeleted(run: RunView, clientRunId: string): void;
  /** A run has just ended, or was refused: for events and metrics. */
  onSettled(run: LiveRun, settled: SettledRun): void;
  /** What namespaces have spent. */
  spend: SpendBook;
  onError(what: string, error: unknown): void;
  now(): number;
}

/** The answer to our own write shows what others wrote meanwhile; the watch, which comes later, is then old news. */
function carriesNews({ old, new: run }: StoreChange<RunView>): boolean {
  return (
    old?.generation !== run?.generation ||
    old?.deleting !== run?.deleting ||
    (old?.state === 'live' &&
      run?.state === 'live' &&
      JSON.stringify([old.rerun, old.approval, old.submitOutcome]) !==
        JSON.stringify([run.rerun, run.approval, run.submitOutcome]))
  );
}

/** The watch shows what a call without an answer of its own has done. */
const WATCH_LAG_MS = 1000;

/** Longer than any time without a leader that a standby ends. */
const TAKEOVER_MS = 60_000;

/** Ids of runs that are over and gone, kept so that their pods' collectors are told. */
const MOST_OVER = 4096;

/** Steps of one pass. A run needs at most a handful; more means that deciding and doing disagree. */
const MAX_STEPS = 24;

/**
 * Drives every run: observe → decide → apply, until there is nothing to do now.
 *
 * Keys are `namespace/name`. The work queue gives each key to one worker at a time, so all of a run's steps are serial;
 * the ledger is the one thing that runs share, and its steps are synchronous.
 */
export class RunController {
  readonly #o: RunControllerOptions;
  readonly #memories = new Map<string, RunMemory>();
  readonly #ghosts = new Map<string, Map<string, PodView>>();
  readonly #admission: Admission;
  readonly #observed: Observed;
  readonly #apply: Apply;
  /** Our own write is being put into a cache: it needs no second look. */
  #ownWrite = false;
  /** Until `restore`, what happens is remembered and nothing is done about it: another replica leads. */
  #leads = false;
  /** Runs that went lately while another one led, oldest first: it may have died before it dealt with them. */
  readonly #unattended: { run: RunView; id: string; at: number }[] = [];
  readonly #over = new Set<string>();

  constructor(options: RunControllerOptions) {
    this.#o = options;
    const { caches, cluster, results, installation } = options;
    this.#admission = new Admission({
      spend: options.spend,
      wake: (uid) => this.#wake(uid),
      onError: options.onError,
      now: () => options.now(),
    });
    this.#observed = {
      caches,
      results,
      installation: installation.id,
      ghosts: (uid) => this.#ghosts.get(uid)?.values() ?? [],
      profileReady: options.profileReady,
      reservationOf: (uid) => this.#admission.of(uid),
      vendorOf: (run, profile, number, memory) => options.vendors.worldOf(run, profile, number, memory),
    };
    this.#apply = {
      cluster,
      results,
      vendors: options.vendors,
      installation,
      epoch: () => options.epoch(),
      now: () => options.now(),
      seen: {
        run: (object) => this.#own(() => caches.runs.upsert(object)),
        job: (object) => this.#own(() => caches.jobs.upsert(object)),
        jobGone: (namespace, name) => this.#own(() => this.#markDeleting(namespace, name)),
        // Not marked as our own: what they say is news.
        pods: (objects) => objects.forEach((pod) => caches.pods.upsert(pod)),
        pin: (object) => caches.pins.upsert(object),
      },
      ledger: {
        request: async (run, { profile, limits, ceiling }) => {
          const { uid, namespace, createdAt } = run;
          const claim = { uid, namespace, profile, ceiling, createdAt: Date.parse(createdAt) };
          const answer = await this.#admission.request(claim, limits);
          this.#memory(uid).denied = answer.granted ? undefined : { ...answer, profile };
        },
        release: (run) => {
          this.#release(run);
          this.#memory(run.uid).denied = undefined;
        },
      },
    };
    caches.runs.subscribe((change) => this.#onRun(change));
    caches.jobs.subscribe((change) => this.#onJob(change));
    caches.pods.subscribe((change) => this.#onPod(change));
    caches.nodes.subscribe((change) => this.#onNode(change));
    caches.profiles.subscribe(({ old, new: now }) => {
      // The doctor writes into its status every minute: that is no news for the runs.
      if (old?.digest !== now?.digest || old?.isDefault !== now?.isDefault) this.#onProfile(old, now);
    });
    caches.namespaces.subscribe((change) => this.#addAll('namespace', (change.new ?? change.old).name));
  }

  /**
   * Call when this process leads, the caches are complete and the queue has not started: reservations and logs of runs
   * at work are taken up again.
   */
  restore(): void {
    const { caches } = this.#o;
    this.#leads = true;
    this.#admission.begin();
    for (const { run, id } of this.#unattended.splice(0)) this.#o.onRunDeleted(run, id);
    for (const run of caches.runs.list()) {
      if (run.state === 'live' && !run.deleting) {
        const jobs = caches.jobs.byIndex('run', run.uid);
        // Jobs may have come before their runs: what was made is remembered, so that it is missed when it goes.
        for (const job of jobs) this.#remember(run.uid, job);
        const job = jobs.find((each) => each.end === undefined);
        const profile = run.status.profile?.name ?? job?.profileName;
        if (profile !== undefined && (openAttempt(run) !== undefined || job !== undefined)) {
          this.#admission.restore({
            uid: run.uid,
            namespace: run.namespace,
            profile,
            createdAt: Date.parse(run.createdAt),
          });
        }
      }
      this.#add(run, 'start');
    }
    for (const pod of caches.pods.list()) this.#trackLog(pod);
    void this.#admission.ended(
      [...caches.runs.list()].flatMap((run) => {
        const spent = run.state === 'settled' ? this.#spentBy(run) : undefined;
        return spent === undefined ? [] : [{ uid: run.uid, spent }];
      }),
    );
  }

  /** The work queue's handler. */
  async reconcile(key: string): Promise<Requeue | undefined> {
    for (let step = 0; step < MAX_STEPS; step += 1) {
      const run = this.#o.caches.runs.get(key);
      if (run === undefined) return undefined;
      const again = run.state === 'settled' ? await this.#settled(run) : await this.#live(run);
      if (again !== 'look again') return again;
    }
    throw new Error(`run ${key} did not come to rest within ${MAX_STEPS} steps`);
  }

  /** What the gateway may accept from the pods of a run; `over`: nothing, and never again. */
  find(id: string): CollectTask | 'over' | undefined {
    const runs = this.#o.caches.runs.byIndex('clientRunId', id);
    const run = runs.find(
      (r) => r.state === 'live' && !r.deleting && this.#o.caches.pods.countByIndex('run', r.uid) > 0,
    );
    if (run === undefined || run.state !== 'live') return this.#isOver(id, runs) ? 'over' : undefined;
    return collectTaskOf(observe(this.#observed, run, this.#memory(run.uid), this.#o.now()), id);
  }

  /** With a `runKey` nobody can tell: the next run of the same key has the same id, and may not be in the cache yet. */
  #isOver(id: string, runs: readonly RunView[]): boolean {
    if (this.#over.has(id)) return true;
    return runs.some((run) => run.state === 'live' && run.deleting && run.spec.runKey === undefined);
  }

  /** Its work at a vendor stands somewhere else now. */
  onWork(runUid: string): void {
    this.#addByUid(runUid, 'finish');
  }

  /** Something arrived at the gateway. */
  onResult(id: string): void {
    for (const run of this.#o.caches.runs.byIndex('clientRunId', id)) this.#add(run, 'finish');
  }

  async #live(run: LiveRun): Promise<Requeue | undefined | 'look again'> {
    const memory = this.#memory(run.uid);
    const world = observe(this.#observed, run, memory, this.#o.now());
    const decision = decide(world);
    if (decision.do === 'nothing') return decision.againMs === undefined ? undefined : { afterMs: decision.againMs };
    await apply(decision, world, this.#apply);
    if (decision.do === 'hastenPod' || decision.do === 'removeFinalizer') return { afterMs: WATCH_LAG_MS };
    if (decision.do === 'writeStatus' && decision.againMs !== undefined) return { afterMs: decision.againMs };
    if (decision.do === 'release' && run.deleting) return undefined;
    return 'look again';
  }

  async #settled(run: SettledRun): Promise<Requeue | undefined | 'look again'> {
    const { caches, cluster, now } = this.#o;
    const decision = decideSettled({
      now: now(),
      run,
      jobs: caches.jobs.byIndex('run', run.uid),
      pods: caches.pods.byIndex('run', run.uid),
      waitsForSync: this.#o.waitsForSync(run),
    });
    if (decision.do === 'nothing') return decision.againMs === undefined ? undefined : { afterMs: decision.againMs };
    if (decision.do === 'deleteRun') {
      await cluster.deleteRun(run).catch(ignoreGone);
      // The watch shows that it is gone; until then there is nothing more to do.
      return undefined;
    }
    if (decision.do === 'hastenPod') {
      await cluster.hastenPod(decision.pod).catch(ignoreGone);
      return { afterMs: WATCH_LAG_MS };
    }
    if (decision.do === 'removeFinalizer') {
      await cluster.setFinalizer(run, false).catch(ignoreGone);
      return { afterMs: WATCH_LAG_MS };
    }
    if (decision.do === 'deleteJob') {
      await stopJob(cluster, decision.job, caches.pods.byIndex('run', run.uid));
      this.#markDeleting(decision.job.namespace, decision.job.name);
    }
    return 'look again';
  }

  #memory(uid: string): RunMemory {
    let memory = this.#memories.get(uid);
    if (memory === undefined) {
      memory = emptyMemory();
      this.#memories.set(uid, memory);
    }
    return memory;
  }

  #own(write: () => void): void {
    this.#ownWrite = true;
    try {
      write();
    } finally {
      this.#ownWrite = false;
    }
  }

  #markDeleting(namespace: string, name: string): void {
    const job = this.#o.caches.jobs.get(`${namespace}/${name}`);
    // The projection is this cache's own object: the deletion shows at once, the watch confirms it.
    if (job !== undefined) job.deleting = true;
  }

  #add(run: RunView, lane: Lane): void {
    if (!this.#leads) return;
    this.#o.queue.add(`${run.namespace}/${run.name}`, lane);
  }

  #addByUid(uid: string | undefined, lane: Lane): void {
    if (uid === undefined) return;
    for (const run of this.#o.caches.runs.byIndex('uid', uid)) this.#add(run, lane);
  }

  #addAll(index: 'profile' | 'namespace', value: string): void {
    for (const run of this.#o.caches.runs.byIndex(index, value)) this.#add(run, 'start');
  }

  #wake(uid: string): void {
    this.#memory(uid).denied = undefined;
    this.#addByUid(uid, 'start');
  }

  #onRun(change: StoreChange<RunView>): void {
    const run = change.new ?? change.old;
    if (change.type === 'deleted' || run.state === 'settled') {
      if (this.#leads && change.old?.state === 'live' && run.state === 'settled' && change.type === 'updated')
        this.#o.onSettled(change.old, run);
      this.#forget(run);
    }
    if (change.type !== 'deleted' && (!this.#ownWrite || carriesNews(change))) this.#add(run, this.#laneOf(run));
    // A settled run's TTL and its Job still need a look.
    if (change.type !== 'deleted' && run.state === 'settled') this.#add(run, 'finish');
  }

  #laneOf(run: RunView): Lane {
    return run.state === 'live' && (run.status.attempts ?? []).length === 0 && !run.spec.cancel ? 'start' : 'finish';
  }

  #forget(run: RunView): void {
    this.#release(run);
    this.#o.vendors.forget(run);
    this.#memories.delete(run.uid);
    this.#ghosts.delete(run.uid);
    const runKey = run.state === 'live' ? run.spec.runKey : run.runKey;
    const id = clientRunId(this.#o.installation.id, { namespace: run.namespace, uid: run.uid, runKey });
    const twins = this.#o.caches.runs.byIndex('clientRunId', id).filter((twin) => twin.uid !== run.uid);
    // A rerun under the same runKey may be at work: what has arrived for it is not ours to drop.
    if (twins.length === 0) this.#o.results.forget(id);
    if (runKey === undefined) this.#rememberOver(id);
    if (this.#o.caches.runs.get(`${run.namespace}/${run.name}`)?.uid !== run.uid) this.#gone(run, id);
    // The next run of the same key may adopt the record now.
    for (const twin of twins) {
      this.#memory(twin.uid).record = undefined;
      this.#add(twin, 'start');
    }
  }

  #rememberOver(id: string): void {
    this.#over.add(id);
    for (const oldest of this.#over) {
      if (this.#over.size <= MOST_OVER) return;
      this.#over.delete(oldest);
    }
  }

  #gone(run: RunView, id: string): void {
    this.#o.vendors.sweeper.onGone(run);
    if (this.#leads) return this.#o.onRunDeleted(run, id);
    const at = this.#o.now();
    this.#unattended.push({ run, id, at });
    while (at - this.#unattended[0]!.at > TAKEOVER_MS) this.#unattended.shift();
  }

  /** Gives back its place, and what it did not spend. */
  #release(run: RunView): void {
    this.#admission.release(run.uid, this.#leads ? this.#spentBy(run) : undefined);
  }

  #spentBy(run: RunView): MicroUSD | undefined {
    const { vendors, caches, now } = this.#o;
    const profile = run.state === 'live' ? vendors.profileOf(run) : undefined;
    return spentBy(run, profile, (name) => caches.profiles.get(name)?.spec, now());
  }

  #onJob(change: StoreChange<JobView>): void {
    const job = change.new ?? change.old;
    if (change.type === 'deleted') return this.#addByUid(job.runUid, 'finish');
    const { old } = change;
    if (old === undefined && !this.#ownWrite) this.#memoryOfLive(job);
    if (
      old !== undefined &&
      old.end?.status === job.end?.status &&
      old.suspended === job.suspended &&
      old.startedAt === job.startedAt &&
      old.deleting === job.deleting
    )
      return;
    if (!this.#ownWrite) this.#addByUid(job.runUid, job.end === undefined ? 'start' : 'finish');
  }

  /** A Job that a cache brought (after a restart) counts as seen: if it goes, somebody deleted it. */
  #memoryOfLive(job: JobView): void {
    for (const run of this.#o.caches.runs.byIndex('uid', job.runUid ?? '')) {
      if (run.state === 'live') this.#remember(run.uid, job);
    }
  }

  #remember(runUid: string, job: JobView): void {
    const memory = this.#memory(runUid);
    if ((memory.seenJob?.number ?? 0) < job.attempt) memory.seenJob = { uid: job.uid, number: job.attempt };
  }

  #onPod(change: StoreChange<PodView>): void {
    const pod = change.new ?? change.old;
    const [run] = pod.runUid === undefined ? [] : this.#o.caches.runs.byIndex('uid', pod.runUid);
    if (run === undefined) return;
    if (run.state === 'settled') {
      if (change.type === 'updated' && change.new.goneBy !== change.old.goneBy) this.#add(run, 'finish');
      return;
    }
    if (change.type === 'deleted') {
      const ghosts = this.#ghosts.get(run.uid) ?? new Map<string, PodView>();
      this.#ghosts.set(run.uid, ghosts.set(pod.uid, pod));
    }
    const state = podState(pod);
    if (change.type !== 'deleted' && this.#leads) this.#trackLog(pod);
    this.#add(run, state.at === 'ended' || change.type === 'deleted' ? 'finish' : 'start');
  }

  /** Reads the log of a pod of the present attempt while it grows. */
  #trackLog(pod: PodView): void {
    const { caches, installation, results } = this.#o;
    const [run] = pod.runUid === undefined ? [] : caches.runs.byIndex('uid', pod.runUid);
    if (run?.state !== 'live' || pod.collector === undefined || podState(pod).at !== 'running') return;
    const id = clientRunId(installation.id, { namespace: run.namespace, uid: run.uid, runKey: run.spec.runKey });
    const jobs = caches.jobs.byIndex('run', run.uid);
    const { number, job } = currentAttempt({ run, jobs, memory: this.#memory(run.uid) });
    // A pod of the attempt before, still stopping, is not the next one's, also where both are of one Job.
    if (job !== undefined && podsOf({ run, pods: [{ ...pod, gone: false }] }, job).length > 0)
      results.trackLog({ clientRunId: id, runUid: run.uid, attempt: number }, pod, hasSecrets(run));
  }

  #onNode(change: StoreChange<NodeView>): void {
    const node = change.new ?? change.old;
    if (change.type === 'updated' && change.old.ready === node.ready) return;
    for (const pod of this.#o.caches.pods.byIndex('node', node.name)) this.#addByUid(pod.runUid, 'finish');
  }

  #onProfile(...views: (ProfileView | undefined)[]): void {
    const keys = new Set(views.flatMap((view) => (view === undefined ? [] : profileKeysOf(view))));
    for (const key of keys) {
      for (const run of this.#o.caches.runs.byIndex('profile', key)) {
        // Its limits may have been raised: ask the ledger again.
        this.#memory(run.uid).denied = undefined;
        this.#add(run, 'start');
      }
    }
  }

  /** Called when a profile's doctor has come to another verdict. */
  onProfileVerdict(profile: ProfileView): void {
    this.#onProfile(profile);
  }
}
