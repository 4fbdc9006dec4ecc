import type { PodView } from '../../runtime/local/pod-state.ts';
import { childName } from '../identity.ts';
import type { Decision } from './decision.ts';
import type { SettledRun } from './view.ts';
import { currentAttempt, jobUidOf, type World } from './world.ts';
import { decideStart } from './decide-start.ts';
import { decideAttempt, decideWithoutJob } from './decide-attempt.ts';
import { endedByOperator, lingeringPod, orphanedPod } from './endings.ts';
import { vendorAttemptOf } from '../remote/attempt.ts';
import { decideDeleted } from '../remote/decide-deleted.ts';
import { decideSubmit } from '../remote/decide-submit.ts';
import { decideWork } from '../remote/decide-work.ts';

/**
 * What to do next with a run: pure, total, one step at a time.
 *
 * A run is before its attempt (no Job yet), in it (its Job is there), or has lost it (a recorded Job is gone). Each has
 * a file of its own; a settled run has only its own end left. Where a vendor does the work, an attempt is an intent and
 * what came of it (../remote).
 */
export function decide(world: World): Decision {
  const { run } = world;
  if (run.deleting) {
    if (run.hasFinalizer)
      return world.vendor === undefined ? { do: 'removeFinalizer' } : decideDeleted(world, world.vendor);
    // No finalizer: the garbage collector takes the Job, and a namespace that goes away takes everything.
    return { do: 'release' };
  }
  if (world.namespace?.terminating === true) return { do: 'nothing' };

  if (world.vendor !== undefined) {
    const attempt = vendorAttemptOf(world, world.vendor);
    if (attempt !== undefined) return attempt.externalId === undefined ? decideSubmit(attempt) : decideWork(attempt);
  }

  const { number, job } = currentAttempt(world);
  if (job !== undefined) return decideAttempt(world, job, number);
  const lost = jobUidOf(world);
  if (lost !== undefined) return decideLost(world, lost, number);
  return decideStart(world, number);
}

/** The Job that carried the attempt is not in the cache. */
function decideLost(world: World, jobUid: string, number: number): Decision {
  const { run, memory } = world;
  if (memory.gone.has(jobUid)) return decideWithoutJob(world, jobUid, number);
  // A cache may lag behind the status that another process wrote: only a live read says that the Job is gone. Its name
  // is that of the attempt it was made for: after a queue's eviction it serves later ones too.
  const made = run.status.attempts?.find((a) => a.jobUID === jobUid)?.number ?? number;
  return { do: 'confirmJobGone', name: childName(run, made), uid: jobUid };
}

export interface SettledWorld {
  now: number;
  run: SettledRun;
  jobs: World['jobs'];
  pods: readonly PodView[];
  /** Its sync is not done: it is not deleted before. */
  waitsForSync: boolean;
}

/** A terminal run never creates anything again: this function knows no such decision. */
export function decideSettled({ now, run, jobs, pods, waitsForSync }: SettledWorld): Decision {
  // What it bought has ended, or its end says that it may not have.
  if (run.hasFinalizer) return { do: 'removeFinalizer' };
  if (run.deleting) return { do: 'nothing' };
  const alive = jobs.find((job) => !job.deleting && job.end === undefined && endedByOperator(run.reason));
  if (alive !== undefined) return { do: 'deleteJob', job: alive };
  const lingering = endedByOperator(run.reason) ? lingeringPod(pods, now) : undefined;
  const unwanted = lingering ?? orphanedPod(pods);
  if (unwanted !== undefined) return { do: 'hastenPod', pod: unwanted };
  // The end of its sync changes its status, and with that it is looked at again.
  if (run.ttlSeconds === undefined || waitsForSync) return { do: 'nothing' };
  const left = run.finishedAt + run.ttlSeconds * 1000 - now;
  if (left > 0) return { do: 'nothing', againMs: left };
  if (!run.trackedByGitOps) return { do: 'deleteRun' };
  // Deleting what a GitOps tool tracks would make it apply the run again: only the children go.
  const leftover = jobs.find((job) => !job.deleting);
  return leftover === undefined ? { do: 'nothing' } : { do: 'deleteJob', job: leftover };
}
