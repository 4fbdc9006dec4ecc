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
import { handleOf, resolvableAt, unansweredIntent } from './attempt.ts';
import { matchIntents, type Intent } from './claims.ts';
import { NO_FILES } from './files.ts';
import { WorkPoller, type PolledGroup } from './poller.ts';
import type { Orphan, VendorAccess } from './ports.ts';
import { pollBudgetMs, requestTimeoutMs } from './request-times.ts';
import type { Claim } from './sweep.ts';
import { Sweeper } from './sweeper.ts';
import { withTimeLeft } from './time-left.ts';
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

const CALL_MS = 120_000;
const COPIES_AT_ONCE = 4;

/** Everything that the controller does with vendors: what a run's world shows of them, and each step's one call. */
export class Vendors {
  readonly #o: VendorsOptions;
  readonly poller: WorkPoller;
  readonly sweeper: Sweeper;
  /** Work that a run of this process has taken for its own and the status may not show yet, by external id. */
  readonly #claims = new Map<string, { run: string; attempt: number }>();
  #copies = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(options: VendorsOptions) {
    this.#o = options;
    this.poller = new WorkPoller({
      groups: () => this.#groups(),
      onChange: options.wake,
      onError: options.onError,
    });
    this.sweeper = new Sweeper({
      caches: options.caches,
      reach: (profile) => this.reach(profile),
      claimOf: (externalId) => this.#claimOf(externalId),
      report: (profile, externalId, action) => this.report(profile, externalId, action),
      onError: options.onError,
      now: options.now,
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
      pollBudgetMs: pollBudgetMs(profile),
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
      spec: withTimeLeft(run),
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

  claim(externalId: string, run: string, attempt: number): void {
    this.#claims.set(externalId, { run, attempt });
  }

  /** False when another run has taken it since it was offered. */
  claimOffered(externalId: string, run: string, attempt: number): boolean {
    if (this.#isClaimed(externalId)) return false;
    this.claim(externalId, run, attempt);
    return true;
  }

  /** A run is over or gone: its statuses, or nobody, speak for its work now. */
  forget(run: { uid: string }): void {
    for (const [externalId, claim] of this.#claims) {
      if (claim.run !== run.uid) continue;
      this.#claims.delete(externalId);
      this.poller.forget(externalId);
    }
  }

  /** Looks at the vendor for the work of an intent in doubt. Never throws for what the vendor answers. */
  async resolve(run: LiveRun, profile: ProfileRef): Promise<{ found: string } | Resolution> {
    const { now } = this.#o;
    const timeoutMs = requestTimeoutMs(profile);
    const mine = unansweredIntent(run, timeoutMs);
    if (mine === undefined) throw new Error(`run ${run.namespace}/${run.name} has no intent in doubt`);
    if (this.#isUnderWay(mine, profile)) return stillUnderWay(now());
    try {
      const { runtime, io } = this.reach(profile);
      const found: FoundWork[] = [];
      for await (const work of runtime.list(mine.from, io)) found.push(work);
      return this.#judge(run, mine, profile, found);
    } catch (error) {
      if (!isRuntimeError(error) && !(error instanceof CannotReach)) throw error;
      return { is: 'unasked', at: now(), tries: 1, message: `The vendor could not be asked: ${error.message}` };
    }
  }

  /**
   * Whose what was found is: in one go, from what is known at this moment, and claimed at once. Many runs look at the
   * same time; with anything of it from before the list, two of them could take one piece of work.
   */
  #judge(run: LiveRun, mine: Intent, profile: ProfileRef, found: readonly FoundWork[]): { found: string } | Resolution {
    const { now } = this.#o;
    if (this.#isUnderWay(mine, profile)) return stillUnderWay(now());
    const others = this.#askedByOthers(mine);
    const works = found.filter(
      ({ externalId, requestDigest }) => !this.#isClaimed(externalId) && !others.has(requestDigest),
    );
    const attempt = openAttempt(run)?.number ?? 0;
    const marked = works.find(({ mark }) => mark?.clientRunId === this.#idOf(run) && mark.attempt === attempt);
    const rivals = this.#rivalsOf(mine, profile).map(({ intent }) => intent);
    const { matched, unsure } = matchIntents([mine, ...rivals], works);
    const own = marked ?? matched.get(mine.run);
    if (own !== undefined) {
      this.claim(own.externalId, run.uid, attempt);
      return { found: own.externalId };
    }
    if (unsure.length === 0) return { is: 'nothing', at: now() };
    const candidates = unsure.map(({ externalId }) => externalId);
    const some = candidates.slice(0, 3).join(', ');
    const message = `The vendor has work from that time that may be this run’s (${some}): what was asked for it is not kept there, or not given back as it was sent.`;
    return { is: 'ambiguous', at: now(), message, candidates };
  }

  /** What other runs have asked for, and wait to be answered: work of theirs is nobody's riddle. */
  #askedByOthers(mine: Intent): ReadonlySet<string | undefined> {
    const digests = new Set<string | undefined>();
    for (const run of this.#o.caches.runs.byIndex('work', 'unanswered')) {
      const intent = run.state === 'live' ? openAttempt(run)?.intent : undefined;
      if (intent !== undefined && intent.requestDigest !== mine.requestDigest) digests.add(intent.requestDigest);
    }
    return digests;
  }

  /** Other runs that may have bought the very same thing in the same time, and do not know it yet either. */
  #rivalsOf(mine: Intent, profile: ProfileRef): { intent: Intent; resolvableAt: number }[] {
    const timeoutMs = requestTimeoutMs(profile);
    const { traits } = this.#o.registry.getRuntime(profile.spec.runtime);
    const answered = new Set([...this.#claims.values()].map(({ run, attempt }) => `${run}/${attempt}`));
    return [...this.#o.caches.runs.byIndex('work', 'unanswered')].flatMap((other) => {
      if (other.state !== 'live' || other.uid === mine.run) return [];
      const intent = unansweredIntent(other, timeoutMs);
      const { number, intent: recorded } = openAttempt(other)!;
      // Its answer is known here, and on its way into the status.
      if (intent === undefined || answered.has(`${other.uid}/${number}`)) return [];
      if (intent.requestDigest !== mine.requestDigest || intent.from > mine.until || intent.until < mine.from)
        return [];
      return [{ intent, resolvableAt: resolvableAt(recorded!, { requestTimeoutMs: timeoutMs, traits }) }];
    });
  }

  /** A piece of work that is there may be the one whose answer a rival is about to get. */
  #isUnderWay(mine: Intent, profile: ProfileRef): boolean {
    return this.#rivalsOf(mine, profile).some((rival) => rival.resolvableAt > this.#o.now());
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
      const handle = handleOf(run, { ...attempt, externalId })!;
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
    return this.#claimOf(externalId) !== undefined;
  }

  #claimOf(externalId: string): Claim {
    const named = [...this.#o.caches.runs.byIndex('externalId', externalId)];
    const isOpen = named.some((run) => run.state === 'live' && openAttempt(run)?.externalId === externalId);
    // A claim of this process may not stand in a status yet.
    if (isOpen || (named.length === 0 && this.#claims.has(externalId))) return 'open';
    return named.length === 0 ? undefined : 'over';
  }

  #idOf(run: LiveRun): string {
    return clientRunId(this.#o.installationId, { namespace: run.namespace, uid: run.uid, runKey: run.spec.runKey });
  }

  *#groups(): Generator<PolledGroup> {
    const groups = new Map<string, PolledGroup & { handles: Map<string, { handle: Handle; run: string }> }>();
    for (const run of this.#o.caches.runs.byIndex('work', 'open')) {
      const attempt = run.state === 'live' ? openAttempt(run) : undefined;
      const handle = run.state === 'live' && attempt !== undefined ? handleOf(run, attempt) : undefined;
      if (run.state !== 'live' || handle === undefined) continue;
      const profile = this.profileOf(run);
      if (profile === undefined || this.poller.stateOf(handle.externalId)?.at === 'ended') continue;
      let group = groups.get(profile.digest);
      if (group === undefined) {
        const runtime = this.#o.registry.getRuntime(profile.spec.runtime);
        const access = this.#o.access.of(profile, runtime);
        if (!access.ready) continue;
        group = { key: profile.digest, runtime, profile, io: access.io, handles: new Map() };
        groups.set(profile.digest, group);
      }
      group.handles.set(handle.externalId, { handle, run: run.uid });
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

const stillUnderWay = (at: number): Resolution => ({
  is: 'unasked',
  at,
  tries: 0,
  message: 'Identical requests are still under way.',
});

/** The profile's credentials are not usable now. */
export class CannotReach extends Error {
  override readonly name = 'CannotReach';
}
