import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { OUTCOME_REASONS, PHASES, REFUSED_REASONS, WAITING_REASONS, type Phase } from '../crds/vocabulary.ts';
import type { WorldRunStatus } from '../crds/world-run-status.ts';
import type { Caches } from './caches.ts';
import { KubeCluster } from './kube-cluster.ts';
import { findCondition, type LiveRun, type RunView } from './run/view.ts';

/**
 * What runs come to, in numbers. Counted where a status is written: once, and by the replica that leads alone. Nothing
 * here grows with the number of runs but one small entry for each that is live.
 */

/** Seconds, from the run of a moment to that of a day. */
const LONG_SECONDS = [1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400];

/** One status write, as counters see it. Durations are seconds. */
export interface WriteFacts {
  /** Reasons of the attempts that this write closes. */
  readonly attempts: readonly string[];
  /** From the beginning of the wait until the attempt that this write opens had its pods, or the vendor its order. */
  readonly queuedSeconds: number | undefined;
  /** The run's last word. */
  readonly finished: { readonly reason: string; readonly costUSD: number } | undefined;
}

/** Pure. */
export function writeFacts(before: LiveRun, after: WorldRunStatus): WriteFacts {
  const known = new Map(before.status.attempts?.map((attempt) => [attempt.number, attempt]));
  const attempts = (after.attempts ?? []).flatMap(({ number, reason }) =>
    reason === undefined || known.get(number)?.reason !== undefined ? [] : [reason],
  );
  const began = (after.attempts ?? []).findLast((a) => a.startedAt !== undefined || a.podSetStartedAt !== undefined);
  const earlier = began === undefined ? undefined : known.get(began.number);
  const isNew =
    began !== undefined &&
    attempts.length <= 1 &&
    earlier?.startedAt === undefined &&
    earlier?.podSetStartedAt === undefined;
  const since = Date.parse(before.status.queuedSince ?? before.createdAt);
  const queuedMs = isNew ? Date.parse(began.podSetStartedAt ?? began.startedAt ?? '') - since : Number.NaN;
  const finished = findCondition(after.conditions, 'Finished')?.status === 'True';
  const reason = findCondition(after.conditions, 'Succeeded')?.reason ?? '';
  return {
    attempts,
    queuedSeconds: Number.isNaN(queuedMs) ? undefined : Math.max(0, queuedMs / 1000),
    finished: finished ? { reason, costUSD: Number(after.result?.costEstimateUSD ?? 0) || 0 } : undefined,
  };
}

export interface RunMetricsOptions {
  readonly registry: Registry;
  readonly caches: Pick<Caches, 'runs' | 'profiles'>;
  now(): number;
}

export class RunMetrics {
  readonly #o: RunMetricsOptions;
  /** When a live run came into its phase; milliseconds since the epoch. */
  readonly #phases = new Map<string, { phase: Phase; since: number }>();
  readonly #finished: Counter<'reason'>;
  readonly #attempts: Counter<'runtime' | 'reason'>;
  readonly #cost: Counter<'runtime'>;
  readonly #queued: Histogram<'runtime'>;
  readonly #inPhase: Histogram<'phase'>;

  /** Subscribes to the cache of runs: make it before the cache is filled. */
  constructor(options: RunMetricsOptions) {
    this.#o = options;
    const { registry, caches } = options;
    const registers = [registry];
    this.#finished = new Counter({
      name: 'worldrun_finished_total',
      help: 'Runs that ended, by reason',
      labelNames: ['reason'],
      registers,
    });
    this.#attempts = new Counter({
      name: 'worldrun_attempts_total',
      help: 'Attempts that ended, by reason',
      labelNames: ['runtime', 'reason'],
      registers,
    });
    this.#cost = new Counter({
      name: 'worldrun_cost_usd_total',
      help: 'Estimated cost of runs that ended, US dollars',
      labelNames: ['runtime'],
      registers,
    });
    this.#queued = new Histogram({
      name: 'worldrun_queue_seconds',
      help: 'Time from the beginning of a wait until an attempt has its pods, or the vendor its order',
      labelNames: ['runtime'],
      buckets: LONG_SECONDS,
      registers,
    });
    this.#inPhase = new Histogram({
      name: 'worldrun_phase_seconds',
      help: 'Time that runs spent in a phase, counted when they leave it',
      labelNames: ['phase'],
      buckets: LONG_SECONDS,
      registers,
    });
    this.#countRuns(registry, caches.runs);
    caches.runs.subscribe(({ old, new: run }) => {
      if (old !== undefined && run?.state !== 'live') this.#phases.delete(old.uid);
    });
  }

  /** A status was written over `before`. */
  wrote(before: RunView | undefined, after: WorldRunStatus): void {
    if (before?.state !== 'live') return;
    const runtime = this.#runtimeOf(after.profile?.name ?? before.spec.runtimeProfileRef?.name);
    const { attempts, queuedSeconds, finished } = writeFacts(before, after);
    for (const reason of attempts) this.#attempts.inc({ runtime, reason: boundReason(reason) });
    if (queuedSeconds !== undefined) this.#queued.observe({ runtime }, queuedSeconds);
    this.#movePhase(before, after.phase ?? 'Pending', finished !== undefined);
    if (finished === undefined) return;
    this.#finished.inc({ reason: boundReason(finished.reason) });
    if (finished.costUSD > 0) this.#cost.inc({ runtime }, finished.costUSD);
  }

  #movePhase(before: LiveRun, phase: Phase, isLast: boolean): void {
    const { now } = this.#o;
    const here = before.status.phase ?? 'Pending';
    // A process that takes over does not know since when, but for a run that nobody has touched.
    const known =
      this.#phases.get(before.uid) ??
      (here === 'Pending' && (before.status.attempts ?? []).length === 0
        ? { phase: here, since: Date.parse(before.createdAt) }
        : undefined);
    if (known?.phase === phase) return;
    if (known !== undefined) this.#inPhase.observe({ phase: known.phase }, Math.max(0, (now() - known.since) / 1000));
    if (isLast) this.#phases.delete(before.uid);
    else this.#phases.set(before.uid, { phase, since: now() });
  }

  #runtimeOf(profile: string | undefined): string {
    return (profile === undefined ? undefined : this.#o.caches.profiles.get(profile)?.spec.runtime) ?? 'unknown';
  }

  /** Kept up to date run by run: a scrape costs as much with ten thousand runs as with none. */
  #countRuns(registry: Registry, runs: Caches['runs']): void {
    const counts = new Map<Phase, number>(PHASES.map((phase) => [phase, 0]));
    const count = (run: RunView | undefined, by: number): void => {
      if (run !== undefined) counts.set(phaseOf(run), (counts.get(phaseOf(run)) ?? 0) + by);
    };
    runs.subscribe(({ old, new: run }) => {
      count(old, -1);
      count(run, 1);
    });
    const gauge = new Gauge({
      name: 'worldrun_runs',
      help: 'WorldRuns that exist, by phase; every replica says the same',
      labelNames: ['phase'],
      registers: [registry],
      collect() {
        for (const [phase, number] of counts) gauge.set({ phase }, number);
      },
    });
  }
}

function phaseOf(run: RunView): Phase {
  if (run.state === 'live') return run.status.phase ?? 'Pending';
  if (run.succeeded) return 'Succeeded';
  return run.reason === 'Cancelled' ? 'Cancelled' : 'Failed';
}

/** A word of the vocabulary, or `other`. */
function boundReason(reason: string): string {
  const isKnown = reason in OUTCOME_REASONS || reason in REFUSED_REASONS || reason in WAITING_REASONS;
  return isKnown ? reason : 'other';
}

/** Counts every status that was accepted. */
export class MeteredCluster extends KubeCluster {
  readonly #metrics: RunMetrics;
  readonly #runs: Caches['runs'];

  constructor(
    client: ConstructorParameters<typeof KubeCluster>[0],
    assertLeader: () => unknown,
    metrics: RunMetrics,
    runs: Caches['runs'],
  ) {
    super(client, assertLeader);
    this.#metrics = metrics;
    this.#runs = runs;
  }

  override async applyRunStatus(
    ...[run, status]: Parameters<KubeCluster['applyRunStatus']>
  ): ReturnType<KubeCluster['applyRunStatus']> {
    const before = this.#runs.get(`${run.namespace}/${run.name}`);
    const written = await super.applyRunStatus(run, status);
    if (before?.uid === run.uid) this.#metrics.wrote(before, status);
    return written;
  }
}
