import type { OutcomeReason } from '../../crds/vocabulary.ts';
import type { PodState } from '../../runtime/local/pod-state.ts';
import type { Attempt } from './attempt.ts';

/** How an attempt came to its end by itself. Pure. */

export interface End {
  reason: OutcomeReason;
  message: string;
  exitCode: number | undefined;
}

type Ended = PodState & { at: 'ended' };

const COMPLETED: End = { reason: 'Completed', message: 'The command exited with 0.', exitCode: 0 };

/**
 * Undefined while it has not ended; `unclear` when the Job says that it has, and the pods that the cache knows do not
 * say why: a live read must, because Job and pods come over two streams and either may be behind.
 */
export function endOf(attempt: Attempt): End | 'unclear' | undefined {
  const { job, seen, collects, world } = attempt;
  const failures = seen.map(({ state }) => state).filter((state): state is Ended => state.at === 'ended' && !state.ok);
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
  const words = [job.end.reason, job.end.message].filter(Boolean).join(': ');
  return { reason: 'ChildDeleted', message: `The pod of the run was deleted before it ended (${words}).`, exitCode: undefined };
}

/**
 * With several nodes the first to fail is the cause; the Job controller then deletes the others. Within one second,
 * which is all that Kubernetes tells, a deleted pod is the consequence.
 */
function byCause(a: Ended, b: Ended): number {
  const when = (end: Ended) => Date.parse(end.finishedAt) || Infinity;
  const rank = (end: Ended) => (end.reason === 'ChildDeleted' ? 1 : 0);
  const [first, second] = [when(a), when(b)];
  return first === second ? rank(a) - rank(b) : first - second;
}
