import type { OutcomeReason } from '../../crds/vocabulary.ts';
import type { PodState } from '../../runtime/local/pod-state.ts';
import type { Attempt } from './attempt.ts';
import type { JobView } from './view.ts';

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
  return endWithoutPods(job.end);
}

/**
 * The pods are gone, deleted while nobody watched; what the Job controller wrote down of them is all there is. A
 * container that a deletion stopped (137, 143) did not fail by itself.
 */
function endWithoutPods({ reason, message }: NonNullable<JobView['end']>): End {
  const words = [reason, message].filter(Boolean).join(': ');
  if (/has condition DisruptionTarget/.test(message)) {
    return {
      reason: 'Preempted',
      message: `Preemption, eviction or a lost node took the pod (${words}).`,
      exitCode: undefined,
    };
  }
  const exitCode = Number(/failed with exit code (\d+)/.exec(message)?.[1] ?? 143);
  if (exitCode !== 137 && exitCode !== 143)
    return { reason: 'NonZeroExit', message: `The command exited with ${exitCode}.`, exitCode };
  return {
    reason: 'ChildDeleted',
    message: `The pod of the run was deleted before it ended (${words}).`,
    exitCode: undefined,
  };
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
