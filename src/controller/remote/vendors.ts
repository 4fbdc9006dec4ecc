import { parseQuantity } from '../../kube/quantity.ts';
import type {
  FoundWork,
  Handle,
  ProfileRef,
  Runtime,
  RuntimeContext,
  RuntimeIo,
  SourceFile,
} from '../../runtime/contract.ts';
import { isRuntimeError } from '../../runtime/errors.ts';
import type { RuntimeRegistry } from '../../runtime/registry.ts';
import type { Caches } from '../caches.ts';
import { clientRunId, runId } from '../identity.ts';
import type { Results } from '../run/ports.ts';
import type { LiveRun } from '../run/view.ts';
import { openAttempt, type RunMemory } from '../run/world.ts';
import { resolvableAt, unansweredIntent, windowOf } from './attempt.ts';
import { matchIntents } from './claims.ts';
import { NO_FILES } from './files.ts';
import { WorkPoller, type PolledGroup } from './poller.ts';
import type { Orphan, VendorAccess } from './ports.ts';
import { findOrphans, type SweptIntent } from './sweep.ts';
import { turnToAttempt, type Resolution, type VendorWorld } from './world.ts';

export interface VendorsOptions {
  registry: RuntimeRegistry;
  access: VendorAccess;
  caches: Caches;
  installationId: string;
  results: Pick<Results, 'sink' | 'storeResult'>;
  /** In words, while a profile's vendor fails often. */
  degraded(profile: string): string | undefined;
  wake(runUid: string): void;
  onOrphan(orphan: Orphan): void;
  onError(what: string, error: unknown): void;
  now(): number;
}

/** The runtime name of a request's timeout where the profile has no policy; milliseconds. */
const REQUEST_TIMEOUT_MS = 60_000;
const CALL_MS = 120_000;
const COPIES_AT_ONCE = 4;
const SWEEP_BACK_MS = 24 * 3_600_000;

/** Everything that the controller does with vendors: what a run's world shows of them, and each step's one call. */
export class Vendors {
  readonly #o: VendorsOptions;
  readonly poller: WorkPoller;
  /** Work that a run of this process has taken for its own and the status may not show yet, by external id. */
  readonly #claims = new Map<string, string>();
  /** By profile: what the last sweep took for an orphan. */
  readonly #suspects = new Map<string, ReadonlySet<string>>();
  #copies = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(options: VendorsOptions) {
    this.#o = options;
    this.poller = new WorkPoller({
      groups: () => this.#groups(),
      onChange: options.wake,
      onError: options.onError,
    });
  }

  isVendor(profile: ProfileRef | undefined): boolean {
    return profile !== undefined && this.#o.registry.isVendor(profile.spec.runtime);
  }

  /** What deciding sees; undefined where a cluster does the work. */
  worldOf(run: LiveRun, profile: ProfileRef | undefined, number: number, memory: RunMemory): VendorWorld | undefined {
    if (profile === undefined || !this.isVendor(profile)) return undefined;
    turnToAttempt(memory.vendor, number);
    const runtime = this.#o.registry.getRuntime(profile.spec.runtime);
    const known = openAttempt(run)?.externalId ?? memory.vendor.submitted;
    const files = (run.spec.request?.files?.length ?? 0) === 0 ? NO_FILES : memory.vendor.files;
    const readable = files !== undefined && !('problem' in files);
    // The plan is asked for until the work exists: its digest goes over the whole request.
    const wanted = readable && known === undefined;
    const access = this.#o.access.of(profile, runtime);
    return {
      traits: runtime.traits,
      plan: wanted ? runtime.plan(this.contextOf(run, profile, number, files)) : undefined,
      work: known === undefined ? undefined : this.poller.stateOf(known),
      access: access.ready ? { ready: true } : access,
      degraded: this.#o.degraded(profile.name),
      requestTimeoutMs: requestTimeoutMs(profile),
    };
  }

  contextOf(
    run: LiveRun,
    profile: ProfileRef,
    attempt: number,
    files: ReadonlyMap<string, SourceFile>,
  ): RuntimeContext {
    return {
      installationId: this.#o.installationId,
      clientRunId: this.#idOf(run),
      runId: runId(run.createdAt, run.uid),
      namespace: run.namespace,
      name: run.name,
      uid: run.uid,
      attempt,
      spec: run.spec,
      profile,
      files,
    };
  }

  /** Throws RuntimeError of kind `credentials` while the profile's Secret is not usable. */
  reach(profile: ProfileRef): { runtime: Runtime; io: RuntimeIo } {
    const runtime = this.#o.registry.getRuntime(profile.spec.runtime);
    const access = this.#o.access.of(profile, runtime);
    if (!access.ready) throw new CannotReach(access.message);
    const { io } = access;
    return { runtime, io: { ...io, signal: AbortSignal.any([io.signal, AbortSignal.timeout(CALL_MS)]) } };
  }

  wake(runUid: string): void {
    this.#o.wake(runUid);
  }

  /** Says what went wrong at a vendor where no run's status does. */
  say(what: string, error: unknown): void {
    this.#o.onError(what, error);
  }

  report(profile: ProfileRef, externalId: string, action: Orphan['action']): void {
    this.#o.onOrphan({ profile: profile.name, runtime: profile.spec.runtime, externalId, action });
  }

  claim(externalId: string, runUid: string): void {
    this.#claims.set(externalId, runUid);
  }

  /** A run is over or gone: its statuses, or nobody, speak for its work now. */
  forget(run: { uid: string }): void {
    for (const [externalId, uid] of this.#claims) {
      if (uid !== run.uid) continue;
      this.#claims.delete(externalId);
      this.poller.forget(externalId);
    }
  }

  /** Looks at the vendor for the work of an intent in doubt. Never throws for what the vendor answers. */
  async resolve(run: LiveRun, profile: ProfileRef): Promise<{ found: string } | Resolution> {
    const { now } = this.#o;
    const intent = openAttempt(run)?.intent;
    if (intent === undefined) throw new Error(`run ${run.namespace}/${run.name} has no intent`);
    const timeoutMs = requestTimeoutMs(profile);
    const { from, until } = windowOf(intent, timeoutMs);
    const runtime = this.#o.registry.getRuntime(profile.spec.runtime);
    const rivals = [...this.#o.caches.runs.byIndex('work', 'unanswered')].flatMap((other) => {
      if (other.state !== 'live' || other.uid === run.uid) return [];
      const theirs = unansweredIntent(other, timeoutMs);
      if (theirs === undefined || theirs.requestDigest !== intent.requestDigest) return [];
      if (theirs.from > until || theirs.until < from) return [];
      const at = resolvableAt(openAttempt(other)!.intent!, { requestTimeoutMs: timeoutMs, traits: runtime.traits });
      return [{ intent: theirs, resolvableAt: at }];
    });
    // A piece of work that is there may be the one whose answer a rival is about to get.
    const under = rivals.find((rival) => rival.resolvableAt > now());
    if (under !== undefined)
      return { is: 'unasked', at: now(), tries: 0, message: 'Identical requests are still under way.' };
    try {
      const works: FoundWork[] = [];
      const { io } = this.reach(profile);
      for await (const work of runtime.list(from, io)) if (!this.#isClaimed(work.externalId)) works.push(work);
      const marked = works.find(
        (w) => w.mark?.clientRunId === this.#idOf(run) && w.mark.attempt === openAttempt(run)!.number,
      );
      const mine = { run: run.uid, requestDigest: intent.requestDigest, from, until };
      const { matched, unreadable } = matchIntents([mine, ...rivals.map((rival) => rival.intent)], works);
      const found = marked ?? matched.get(run.uid);
      if (found !== undefined) {
        this.claim(found.externalId, run.uid);
        return { found: found.externalId };
      }
      if (unreadable.length === 0) return { is: 'nothing', at: now() };
      const ids = unreadable.slice(0, 3).map((w) => w.externalId);
      const message = `The vendor has work from that time whose request it no longer keeps (${ids.join(', ')}).`;
      return { is: 'ambiguous', at: now(), message };
    } catch (error) {
      if (!isRuntimeError(error) && !(error instanceof CannotReach)) throw error;
      return { is: 'unasked', at: now(), tries: 1, message: `The vendor could not be asked: ${error.message}` };
    }
  }

  /**
   * Looks for orphans of a profile's account, and stops them where the profile says so. Call when the caches are complete:
   * an empty one would make every piece of work an orphan.
   */
  async sweep(profile: ProfileRef, minAgeMs: number): Promise<void> {
    const { caches, now } = this.#o;
    const { runtime, io } = this.reach(profile);
    const works: FoundWork[] = [];
    for await (const work of runtime.list(now() - SWEEP_BACK_MS, io)) works.push(work);
    const intents: SweptIntent[] = [];
    for (const run of caches.runs.list()) {
      if (run.state === 'settled')
        intents.push(...(run.work?.intents ?? []).map((intent) => ({ intent, open: false })));
      else
        for (const { intent, externalId } of run.status.attempts ?? [])
          if (intent !== undefined) intents.push({ intent, open: externalId === undefined });
    }
    const { orphans, seen } = findOrphans({
      now: now(),
      works,
      isClaimed: (id) => this.#isClaimed(id),
      intents,
      requestTimeoutMs: requestTimeoutMs(profile),
      minAgeMs,
      seenBefore: this.#suspects.get(profile.name) ?? new Set(),
    });
    this.#suspects.set(profile.name, seen);
    for (const { externalId, createdAt } of orphans) {
      if (profile.spec.orphans === 'Delete') await runtime.teardown({ externalId, createdAt, attempt: 0 }, io);
      this.report(profile, externalId, profile.spec.orphans === 'Delete' ? 'Deleted' : 'Reported');
    }
  }

  /** Copies the results of ended work into the run store; at most a few runs at once. Throws what the copy throws. */
  async collect(run: LiveRun, profile: ProfileRef, externalId: string): Promise<void> {
    await this.#turn();
    try {
      const attempt = openAttempt(run)!;
      const access = this.reach(profile);
      const signal = AbortSignal.any([
        this.#baseSignal(profile),
        AbortSignal.timeout(run.spec.timeouts.uploadSeconds * 1000),
      ]);
      const context = this.contextOf(run, profile, attempt.number, NO_FILES);
      const key = { clientRunId: context.clientRunId, runUid: run.uid, attempt: attempt.number };
      const committed = new Set((run.spec.outputs.artifacts ?? []).flatMap((a) => (a.commit ? [a.name] : [])));
      const maxArtifactBytes = parseQuantity(profile.spec.limits.maxArtifactBytes);
      const sink = this.#o.results.sink(key, { maxArtifactBytes, committed, signal });
      const handle = { externalId, attempt: attempt.number, createdAt: Date.parse(attempt.intent!.recordedAt) };
      const result = await access.runtime.collect(handle, context, sink, { ...access.io, signal });
      await this.#o.results.storeResult(key, {
        rank: 0,
        podUid: '',
        metrics: { ...result.metrics },
        metricsOmitted: 0,
        artifacts: [...result.artifacts],
        via: 'Runtime',
        runtime: {
          metadata: { ...result.metadata },
          durationSeconds: result.durationSeconds,
          ...(result.costEstimateUSD !== undefined && { costEstimateUSD: result.costEstimateUSD }),
        },
        collectedAt: new Date(this.#o.now()).toISOString(),
      });
    } finally {
      this.#copies -= 1;
      this.#waiting.shift()?.();
    }
  }

  async #turn(): Promise<void> {
    while (this.#copies >= COPIES_AT_ONCE) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
    this.#copies += 1;
  }

  #baseSignal(profile: ProfileRef): AbortSignal {
    const access = this.#o.access.of(profile, this.#o.registry.getRuntime(profile.spec.runtime));
    return access.ready ? access.io.signal : AbortSignal.abort();
  }

  #isClaimed(externalId: string): boolean {
    return this.#claims.has(externalId) || this.#o.caches.runs.countByIndex('externalId', externalId) > 0;
  }

  #idOf(run: LiveRun): string {
    return clientRunId(this.#o.installationId, { namespace: run.namespace, uid: run.uid, runKey: run.spec.runKey });
  }

  *#groups(): Generator<PolledGroup> {
    const groups = new Map<string, PolledGroup & { handles: Map<string, { handle: Handle; run: string }> }>();
    for (const run of this.#o.caches.runs.byIndex('work', 'open')) {
      const attempt = run.state === 'live' ? openAttempt(run) : undefined;
      if (run.state !== 'live' || attempt?.externalId === undefined || attempt.intent === undefined) continue;
      const profile = this.profileOf(run);
      if (profile === undefined || this.poller.stateOf(attempt.externalId)?.at === 'ended') continue;
      let group = groups.get(profile.digest);
      if (group === undefined) {
        const runtime = this.#o.registry.getRuntime(profile.spec.runtime);
        const access = this.#o.access.of(profile, runtime);
        if (!access.ready) continue;
        group = { key: profile.digest, runtime, profile, io: access.io, handles: new Map() };
        groups.set(profile.digest, group);
      }
      const { externalId, number, intent } = attempt;
      const handle = { externalId, attempt: number, createdAt: Date.parse(intent.recordedAt) };
      group.handles.set(externalId, { handle, run: run.uid });
    }
    yield* groups.values();
  }

  /** The profile as the run's first attempt started with it, else as it is. */
  profileOf(run: LiveRun): ProfileRef | undefined {
    const { caches } = this.#o;
    const { digest, name } = run.status.profile ?? {};
    const pin = digest === undefined ? undefined : caches.pins.byIndex('digest', digest)[0];
    if (pin !== undefined) return { name: pin.profileName, digest: pin.digest, spec: pin.spec };
    const profile = name === undefined ? undefined : caches.profiles.get(name);
    return profile === undefined ? undefined : { name: profile.name, digest: profile.digest, spec: profile.spec };
  }
}

/** The profile's credentials are not usable now. */
export class CannotReach extends Error {
  override readonly name = 'CannotReach';
}

export function requestTimeoutMs(profile: ProfileRef): number {
  return (profile.spec.requestPolicy?.request.timeoutSeconds ?? REQUEST_TIMEOUT_MS / 1000) * 1000;
}
