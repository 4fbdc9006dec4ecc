import type { AttemptStatus, WorldRunStatus } from '../../crds/world-run-status.ts';
import { approvalOf } from './approval.ts';
import type { Clocks } from './clocks.ts';
import type { Decision } from './decision.ts';
import { publicMessage } from './public-text.ts';
import { conditionsOf, mergeConditions, phaseOf, type Situation } from './situation.ts';
import type { LiveRun } from './view.ts';
import { openAttempt, uncounted, type World } from './world.ts';

/** The status to apply for a situation, and whether it needs to be. Pure. */

/** Progress, and new words for an old reason, are worth a write at most this often. */
const REWRITE_MS = 30_000;

/** Writes what the status does not say yet, now or when it is worth it; looks again `againMs` from now at the latest. */
export function writeOrWait(world: World, situation: Situation, againMs: number, attempt?: AttemptStatus): Decision {
  const due = writeDueMs(world, situation, attempt);
  const sooner = Math.min(againMs, due > 0 ? due : Infinity);
  // A timer of no end is none; one of nothing would spin.
  const again = Number.isFinite(sooner) ? Math.max(50, Math.min(sooner, 0x7fffffff)) : undefined;
  return due > 0 ? { do: 'nothing', againMs: again } : { do: 'writeStatus', situation, attempt, againMs: again };
}

/** Milliseconds until the status shall be written so that it says this; Infinity when it does already. */
export function writeDueMs(world: World, situation: Situation, attempt?: AttemptStatus): number {
  const { run, now, memory, results } = world;
  // After a restart nobody knows when the last write was.
  const rewrite = Math.max(0, memory.wroteAt + REWRITE_MS - now);
  const ready = run.status.conditions?.find((c) => c.type === 'Ready');
  const wanted = conditionsOf(situation);
  const merged = mergeConditions(run.status.conditions, wanted, run.generation, now);
  if (merged !== run.status.conditions) {
    const sameReason = ready?.reason === wanted[0]!.reason && ready.observedGeneration === run.generation;
    // The scheduler rewords "Unschedulable" whenever any node changes.
    return sameReason ? rewrite : 0;
  }
  if (attempt !== undefined && openAttempt(run)?.number !== attempt.number) return 0;
  const seen = run.status.progress?.updatedAt;
  const fresh = results.progress?.updatedAt;
  if (situation.is !== 'running' || fresh === undefined || fresh === seen) return Infinity;
  return Math.max(rewrite, (Date.parse(seen ?? '') || 0) + REWRITE_MS - now);
}

export interface StatusFacts {
  epoch: number;
  runId: string;
  clientRunId: string;
  now: number;
  profile: WorldRunStatus['profile'] | undefined;
  /** Replaces the listed attempt of the same number, or is added. */
  attempt: AttemptStatus | undefined;
  /** Totals of attempts that are over; given when one is closed. */
  clocks: Clocks | undefined;
  /** Start of a new wait; RFC 3339. */
  queuedSince: string | undefined;
  progress: WorldRunStatus['progress'] | undefined;
}

/** How many attempts the status lists; the manifest and the store have the count of all. */
const LISTED_ATTEMPTS = 16;

/** The whole status that this operator owns: server-side apply drops what is left out. */
export function buildStatus(run: LiveRun, situation: Situation, facts: StatusFacts): WorldRunStatus {
  const attempts = withAttempt(run.status.attempts ?? [], facts.attempt);
  const attemptCount = Math.max(run.status.attemptCount ?? 0, facts.attempt?.number ?? 0);
  const { number, counted } = facts.attempt ?? {};
  const isNews = counted === false && !run.status.attempts?.some((a) => a.number === number && a.counted === false);
  const uncountedAttempts = uncounted(run.status) + (isNews ? 1 : 0);
  const profile = facts.profile ?? run.status.profile;
  const approval = approvalOf(run);
  const clocks = facts.clocks === undefined ? run.status.clocks : rounded(facts.clocks);
  const queuedSince = facts.queuedSince ?? run.status.queuedSince;
  // How far a run came says something of one that failed. Of one that succeeded, the last report is merely old.
  const succeeded = situation.is === 'finished' && situation.status === 'succeeded';
  const progress = succeeded ? undefined : (facts.progress ?? run.status.progress);
  return {
    epoch: facts.epoch,
    phase: phaseOf(situation),
    conditions: [...mergeConditions(run.status.conditions, conditionsOf(situation), run.generation, facts.now)],
    observedGeneration: run.generation,
    runId: facts.runId,
    clientRunId: facts.clientRunId,
    ...(profile !== undefined && { profile }),
    ...(approval !== undefined && { approval }),
    ...(queuedSince !== undefined && { queuedSince }),
    ...(clocks !== undefined && { clocks }),
    ...(attemptCount > 0 && { attemptCount }),
    ...(uncountedAttempts > 0 && { uncountedAttempts }),
    ...(attempts.length > 0 && { attempts }),
    ...(progress !== undefined && { progress }),
  };
}

function withAttempt(before: readonly AttemptStatus[], attempt: AttemptStatus | undefined): AttemptStatus[] {
  if (attempt === undefined) return [...before];
  const { message } = attempt;
  const shown = message === undefined ? attempt : { ...attempt, message: publicMessage(message) };
  return [...before.filter((a) => a.number !== attempt.number), shown].slice(-LISTED_ATTEMPTS);
}

const round = (s: number): number => Math.round(s * 1000) / 1000;

function rounded(clocks: Clocks): Clocks {
  return {
    queueSeconds: round(clocks.queueSeconds),
    startupSeconds: round(clocks.startupSeconds),
    runSeconds: round(clocks.runSeconds),
  };
}
