import type { AttemptStatus, WorldRunStatus } from '../../crds/world-run-status.ts';
import type { Clocks } from './clocks.ts';
import { conditionsOf, mergeConditions, phaseOf, type Situation } from './situation.ts';
import type { LiveRun } from './view.ts';
import { openAttempt, type World } from './world.ts';

/** The status to apply for a situation, and whether it needs to be. Pure. */

/** Progress, and new words for an old reason, are worth a write at most this often. */
const REWRITE_MS = 30_000;

/** True when the run's status already says this: no write is needed. */
export function statusSays(world: World, situation: Situation): boolean {
  const { run, now, memory, results } = world;
  const ready = run.status.conditions?.find((c) => c.type === 'Ready');
  const wanted = conditionsOf(situation);
  const merged = mergeConditions(run.status.conditions, wanted, run.generation, now);
  if (merged !== run.status.conditions) {
    const sameReason = ready?.reason === wanted[0]!.reason && ready.observedGeneration === run.generation;
    // The scheduler rewords "Unschedulable" whenever any node changes.
    return sameReason && now - memory.wroteAt < REWRITE_MS;
  }
  if (situation.is !== 'running') return true;
  if (openAttempt(run) === undefined) return false;
  const seen = run.status.progress?.updatedAt;
  const fresh = results.progress?.updatedAt;
  return fresh === undefined || fresh === seen || now - Math.max(memory.wroteAt, Date.parse(seen ?? '') || 0) < REWRITE_MS;
}

export interface StatusFacts {
  epoch: number;
  runId: string;
  clientRunId: string;
  now: number;
  profile: { name: string; digest: string } | undefined;
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
  const profile = facts.profile ?? run.status.profile;
  const clocks = facts.clocks === undefined ? run.status.clocks : rounded(facts.clocks);
  const queuedSince = facts.queuedSince ?? run.status.queuedSince;
  const progress = facts.progress ?? run.status.progress;
  return {
    epoch: facts.epoch,
    phase: phaseOf(situation),
    conditions: [...mergeConditions(run.status.conditions, conditionsOf(situation), run.generation, facts.now)],
    observedGeneration: run.generation,
    runId: facts.runId,
    clientRunId: facts.clientRunId,
    ...(profile !== undefined && { profile }),
    ...(queuedSince !== undefined && { queuedSince }),
    ...(clocks !== undefined && { clocks }),
    ...(attemptCount > 0 && { attemptCount }),
    ...(attempts.length > 0 && { attempts }),
    ...(progress !== undefined && { progress }),
  };
}

function withAttempt(before: readonly AttemptStatus[], attempt: AttemptStatus | undefined): AttemptStatus[] {
  if (attempt === undefined) return [...before];
  return [...before.filter((a) => a.number !== attempt.number), attempt].slice(-LISTED_ATTEMPTS);
}

function rounded(clocks: Clocks): Clocks {
  const round = (s: number) => Math.round(s * 1000) / 1000;
  return { queueSeconds: round(clocks.queueSeconds), startupSeconds: round(clocks.startupSeconds), runSeconds: round(clocks.runSeconds) };
}
