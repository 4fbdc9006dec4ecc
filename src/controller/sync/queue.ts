import type { RunStore } from '../../results/contract.ts';
import type { ProviderEventRecorder } from '../../telemetry/provider-events.ts';
import { hasLedger } from '../../upstream/contract.ts';
import type { TextRedactor } from '../../upstream/upload-set.ts';
import { Cleanup } from './cleanup.ts';
import { SyncFailure, unforeseen, waitFor, type Failure } from './failure.ts';
import { syncOnce } from './pass.ts';
import { isSettled, planSync, targetOf, type SyncTarget } from './plan.ts';
import type { Clock, SyncCluster, SyncObserver, SyncProfile, SyncRun } from './ports.ts';
import { ProfileWatch } from './profile-watch.ts';
import type { SyncRecord } from './record.ts';
import { Schedule, type Concurrency, type Entry, type Lane } from './schedule.ts';
import { sayingOf } from './status.ts';
import { TargetSession } from './target-session.ts';
import { Voice } from './voice.ts';

export interface SyncQueueOptions {
  readonly store: RunStore;
  readonly cluster: SyncCluster;
  readonly redactor: TextRedactor;
  readonly clock: Clock;
  readonly observer: SyncObserver;
  readonly events: ProviderEventRecorder;
  readonly operatorNamespace: string;
  readonly concurrency: Concurrency;
  /** Pod, service and node ranges, refused like private addresses. */
  readonly clusterRanges: readonly string[];
}

/** A run that waits or is being sent for longer than this says so in its status; a quick one needs no second write. */
const PATIENCE_MS = 30_000;

/**
 * Finished runs on their way to WorldFlux, apart from the loop that runs them. Everything it must not forget is in the
 * run store; what is here can be lost at any moment.
 *
 * Feed it runs and profiles before `start`, and every change after it.
 */
export class SyncQueue {
  readonly #o: SyncQueueOptions;
  readonly #profiles: ProfileWatch;
  readonly #schedule: Schedule;
  readonly #cleanup: Cleanup;
  readonly #voice: Voice;
  /** Runs that are not settled, by uid. */
  readonly #runs = new Map<string, SyncRun>();
  /** Those of them that are to be sent. */
  readonly #entries = new Map<string, Entry>();
  #state: 'new' | 'started' | 'stopped' = 'new';
  #cancelWake: (() => void) | undefined;
  #cancelAnnounce: (() => void) | undefined;

  constructor(options: SyncQueueOptions) {
    this.#o = options;
    const { cluster, clock, clusterRanges, concurrency, observer, store } = options;
    const problem = (what: string, error: unknown) => observer.problem(what, error);
    this.#profiles = new ProfileWatch({
      cluster,
      clock,
      clusterRanges,
      connections: concurrency.total + 2,
      events: options.events,
      problem,
    });
    this.#schedule = new Schedule(concurrency, (lane) => {
      const { contract } = lane.session.endpoint;
      return contract === undefined || hasLedger(contract) ? 1 : concurrency.perTarget;
    });
    this.#cleanup = new Cleanup({
      store,
      clock,
      observer,
      session: (record) => this.#sessionFor(record),
      wanted: (clientRunId) => this.#isWanted(clientRunId),
    });
    this.#voice = new Voice(cluster, clock, (error) => problem('write a run’s sync status', error));
  }

  /** Begins to ask targets. Call it where this process leads and the caches are complete. */
  start(): void {
    this.#state = 'started';
    this.#profiles.start();
    for (const run of this.#runs.values()) this.#place(run);
    this.#cleanup.sweep().catch((error: unknown) => this.#o.observer.problem('look for open uploads', error));
    this.#announceLater();
    this.#pump();
  }

  /** Ends every request at once; what was begun goes on after the next start. */
  async stop(): Promise<void> {
    this.#state = 'stopped';
    this.#cancelWake?.();
    this.#cancelAnnounce?.();
    this.#cleanup.stop();
    this.#voice.stop();
    const ended = [...this.#entries.values()].map(({ pass, ended: when }) => {
      pass?.abort();
      return when;
    });
    await Promise.all(ended);
    await this.#profiles.stop();
  }

  /** A finished run, new or changed. */
  setRun(run: SyncRun): void {
    if (isSettled(run)) return this.settleRun(run.uid);
    this.#runs.set(run.uid, run);
    this.#place(run);
    return this.#pump();
  }

  /** Its sync is over, as its status says. */
  settleRun(uid: string): void {
    this.#runs.delete(uid);
    this.#voice.forget(uid);
    this.#drop(uid);
  }

  /** The object is gone: its sync ends, and what was begun upstream is taken back. */
  deleteRun(uid: string): void {
    const run = this.#runs.get(uid);
    if (run !== undefined) this.#cleanUpAfter(run, this.#entries.get(uid));
    this.settleRun(uid);
  }

  setProfile(profile: SyncProfile): void {
    if (this.#profiles.set(profile)) this.#placeRunsOf(profile.name);
  }

  deleteProfile(name: string): void {
    this.#profiles.delete(name);
    this.#placeRunsOf(name);
  }

  /** Runs that wait for their turn or for their target. */
  get waiting(): number {
    return this.#schedule.waiting;
  }

  /** Seconds since the run ended that has waited longest; 0 where none waits. */
  get lagSeconds(): number {
    const oldest = this.#schedule.oldestFinishedAt;
    return oldest === undefined ? 0 : Math.max(0, (this.#o.clock.now() - oldest) / 1000);
  }

  /** Runs that are being sent. */
  get running(): number {
    return this.#schedule.running;
  }

  /** Uploads of this deleted run are still to be taken back. */
  holds(clientRunId: string): boolean {
    return this.#cleanup.holds(clientRunId);
  }

  /** Deleted runs whose uploads are still to be taken back. */
  get cleaningUp(): number {
    return this.#cleanup.size;
  }

  /** Resolves when every status that was decided on stands. */
  async written(): Promise<void> {
    await this.#voice.idle();
    await this.#profiles.idle();
  }

  #drop(uid: string): void {
    const entry = this.#entries.get(uid);
    if (entry === undefined) return;
    this.#entries.delete(uid);
    this.#schedule.remove(entry);
    entry.pass?.abort();
  }

  #placeRunsOf(profile: string): void {
    for (const run of this.#runs.values()) if (run.profile === profile) this.#place(run);
    this.#pump();
  }

  /** Puts a run where its plan says it belongs. */
  #place(run: SyncRun): void {
    if (this.#state !== 'started') return;
    const plan = planSync(run, this.#profiles.get(run.profile), this.#o.operatorNamespace);
    const before = this.#entries.get(run.uid);
    const lane = plan.do === 'Sync' ? this.#laneFor(plan.target) : undefined;
    if (plan.do !== 'Sync' || lane === undefined) {
      if (before !== undefined) this.#cleanUpAfter(run, before);
      this.#drop(run.uid);
      if (plan.do === 'Say') this.#voice.ofRun(run, { status: 'False', reason: plan.reason, message: plan.message });
      return;
    }
    const asked = run.request !== undefined && run.request !== run.status?.request;
    if (before?.lane === lane && before.project === plan.project) {
      const news = asked && run.request !== before.run.request;
      before.run = run;
      if (news) this.#hurry(before);
      return;
    }
    this.#drop(run.uid);
    this.#cleanup.cancel(run.clientRunId);
    this.#add(lane, run, plan.project, asked);
  }

  #add(lane: Lane, run: SyncRun, project: string, asked: boolean): void {
    const nextAt = Date.parse(run.status?.nextAttemptAt ?? '') || 0;
    const ofTarget = run.synced?.reason === 'TargetUnavailable' || run.synced?.reason === 'TargetThrottled';
    // What a target asked for before a restart still holds, for all its runs.
    if (ofTarget) lane.blockedUntil = Math.max(lane.blockedUntil, nextAt);
    const entry: Entry = {
      run,
      lane,
      project,
      queuedAt: this.#o.clock.now(),
      dueAt: ofTarget ? 0 : nextAt,
      attempts: run.status?.attempts ?? 0,
      failures: 0,
      again: false,
      pass: undefined,
      ended: undefined,
      record: undefined,
    };
    this.#entries.set(run.uid, entry);
    this.#schedule.add(entry);
    if (asked) this.#hurry(entry);
  }

  /** A person asked: no waiting, and a refused key gets another chance. */
  #hurry(entry: Entry): void {
    entry.dueAt = 0;
    entry.again = entry.attempts > 0;
    entry.lane.blockedUntil = 0;
    entry.lane.session.forgive();
  }

  /** Undefined where the profile went away meanwhile. */
  #laneFor(target: SyncTarget): Lane | undefined {
    const known = this.#schedule.lane(target);
    const endpoint = this.#profiles.endpoint(target);
    if (endpoint === undefined || known?.session.endpoint === endpoint) return endpoint && known;
    return this.#schedule.open(new TargetSession(target, endpoint, this.#o.cluster, this.#o.store, this.#o.clock));
  }

  /** The session of a record's own target, if the profile still points there. */
  #sessionFor({ target, run }: SyncRecord): TargetSession | undefined {
    const profile = this.#profiles.get(target.profile);
    if (profile?.sync === undefined) return undefined;
    const now = targetOf(profile.sync, profile, run.namespace, this.#o.operatorNamespace);
    const endpoint = this.#profiles.endpoint(now);
    if (endpoint === undefined || now.baseURL !== target.baseURL) return undefined;
    return (
      this.#schedule.lane(now)?.session ??
      new TargetSession(now, endpoint, this.#o.cluster, this.#o.store, this.#o.clock)
    );
  }

  #isWanted(clientRunId: string): boolean {
    for (const { run } of this.#entries.values()) if (run.clientRunId === clientRunId) return true;
    return false;
  }

  /** Not before the pass that may be under way has ended: two must not write one record. */
  #cleanUpAfter({ clientRunId }: SyncRun, entry: Entry | undefined): void {
    if (this.#state !== 'started') return;
    const cleanUp = (): void => {
      if (this.#state === 'started' && !this.#isWanted(clientRunId)) this.#cleanup.add(clientRunId);
    };
    void (entry?.ended ?? Promise.resolve()).finally(cleanUp);
  }

  #pump(): void {
    if (this.#state !== 'started') return;
    const { clock } = this.#o;
    for (;;) {
      const entry = this.#schedule.take(clock.now(), (e) => this.#mayRun(e));
      if (entry === undefined) break;
      entry.ended = this.#run(entry).finally(() => this.#pump());
    }
    this.#cancelWake?.();
    const at = this.#schedule.wakeAt(clock.now());
    this.#cancelWake = at === undefined ? undefined : clock.after(at - clock.now(), () => this.#pump());
  }

  /** Two WorldRuns of one runKey share a record: one at a time, and not while it is being cleaned up. */
  #mayRun({ run: { clientRunId } }: Entry): boolean {
    if (this.#cleanup.isBusy(clientRunId)) return false;
    for (const { pass, run } of this.#entries.values())
      if (pass !== undefined && run.clientRunId === clientRunId) return false;
    return true;
  }

  async #run(entry: Entry): Promise<void> {
    const { clock, observer } = this.#o;
    const { lane, run, project, again } = entry;
    const { session } = lane;
    const started = clock.now();
    const signal = entry.pass?.signal ?? AbortSignal.abort();
    let outcome = 'Synced';
    try {
      const onRecord = (record: SyncRecord): void => this.#onRecord(entry, record, started);
      const record = await syncOnce({
        run,
        project,
        target: session.target,
        session,
        sources: this.#o,
        clock,
        observer,
        again,
        signal,
        onRecord,
      });
      this.#succeeded(entry, record, run.request);
    } catch (error) {
      if (!(error instanceof SyncFailure) && !signal.aborted) observer.problem('sync a run', error);
      const failure = error instanceof SyncFailure ? error.failure : unforeseen(error);
      outcome = signal.aborted ? 'Stopped' : failure.reason;
      if (!signal.aborted) this.#failed(entry, failure, run.request);
      if (failure.reason === 'KeyRefused') await this.#refuseKey(session);
    } finally {
      this.#schedule.finished(entry);
      observer.attempt(outcome, clock.now() - started);
      const { profile } = session.target;
      this.#profiles.tell(
        profile,
        [...this.#schedule.lanes()].map((other) => other.session).filter(({ target }) => target.profile === profile),
      );
    }
  }

  async #refuseKey(session: TargetSession): Promise<void> {
    try {
      await session.refuseKey();
    } catch (error) {
      this.#o.observer.problem('remember a refused key', error);
    }
  }

  #succeeded(entry: Entry, record: SyncRecord, request: string | undefined): void {
    Object.assign(entry.lane, { failures: 0, trouble: undefined });
    Object.assign(entry, { attempts: entry.attempts + 1, record });
    this.#voice.ofTry(entry, sayingOf(record), { lastError: undefined, nextAttemptAt: undefined, request });
    this.#over(entry, request);
  }

  #failed(entry: Entry, failure: Failure, request: string | undefined): void {
    const { lane } = entry;
    const now = this.#o.clock.now();
    const { reason, retry, scope } = failure;
    const message = reason === 'KeyRefused' ? lane.session.refusal : failure.message;
    // A key that is only looked at again is no attempt.
    if (retry !== 'NewKey' || lane.trouble !== message) entry.attempts += 1;
    entry.again = false;
    if (failure.reprobe) lane.session.endpoint.expire();
    lane.session.distrust();
    const wait = waitFor(failure, scope === 'Target' ? lane.failures : entry.failures);
    if (scope === 'Target') {
      lane.failures += 1;
      lane.trouble = message;
      lane.blockedUntil = now + (wait ?? 0);
    } else {
      entry.failures += 1;
      entry.dueAt = now + (wait ?? 0);
    }
    const nextAttemptAt = wait === undefined || retry === 'NewKey' ? undefined : now + wait;
    this.#voice.ofTry(entry, { status: 'False', reason, message }, { lastError: message, nextAttemptAt, request });
    if (retry === 'Never') this.#over(entry, request);
  }

  /** The last word on a run, unless somebody asked for another try while it was found. */
  #over(entry: Entry, request: string | undefined): void {
    if (entry.run.request !== request) return this.#hurry(entry);
    this.#entries.delete(entry.run.uid);
    this.#runs.delete(entry.run.uid);
    return this.#schedule.remove(entry);
  }

  /** A long upload shows how far it is. */
  #onRecord(entry: Entry, record: SyncRecord, started: number): void {
    entry.record = record;
    if (record.done || this.#o.clock.now() - started < PATIENCE_MS) return;
    const words = record.artifacts.slice(0, 5).map(({ name, state }) => `${name}: ${state}`);
    const message = `The run is being sent${words.length === 0 ? '.' : ` (${words.join(', ')}).`}`;
    this.#voice.ofTry(
      entry,
      { status: 'False', reason: 'Syncing', message },
      { lastError: undefined, nextAttemptAt: undefined, request: entry.run.status?.request },
    );
  }

  #announceLater(): void {
    this.#cancelAnnounce = this.#o.clock.after(PATIENCE_MS, () => {
      const before = this.#o.clock.now() - PATIENCE_MS;
      for (const lane of this.#schedule.lanes()) this.#voice.ofWaiting(lane, before);
      this.#schedule.sweep();
      this.#announceLater();
    });
  }
}
