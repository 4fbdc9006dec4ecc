import { byCause, COMPLETED, endWithoutPods, type EndedPod, type JobEnd } from '../../runtime/local/job-end.ts';
import type { Attempt } from './attempt.ts';

export type { JobEnd as End } from '../../runtime/local/job-end.ts';

/** How an attempt came to its end by itself. Pure. */

/**
 * Undefined while it has not ended; `unclear` when the Job says that it has, and the pods that the cache knows do not
 * say why: a live read must, because Job and pods come over two streams and either may be behind.
 */
export function endOf(attempt: Attempt): JobEnd | 'unclear' | undefined {
  const { job, seen, collects, world } = attempt;
  const failures = seen
    .map(({ state }) => state)
    .filter((state): state is EndedPod => state.at === 'ended' && !state.ok);
  if (failures.length > 0) return failures.toSorted(byCause)[0]!;
  const allOk = seen.length >= world.run.spec.nodes && seen.every(({ state }) => state.at === 'ended');
  if (allOk && collects) return COMPLETED;
  // Without a collector there is nothing to wait for but the Job itself.
  if (job.end?.status === 'Complete' && (allOk || !collects)) return COMPLETED;
  if (job.end === undefined) return undefined;
  const lives = seen.some(({ pod, state }) => !pod.gone && state.at !== 'ended');
  if (!world.memory.podsRead.has(job.uid) && (lives || seen.length < world.run.spec.nodes)) return 'unclear';
  // The pod is about to say why itself.
  if (lives) return undefined;
  if (job.end.status === 'Complete') return COMPLETED;
  return endWithoutPods(job.end);
}
