import type { OutcomeReason } from '../../crds/vocabulary.ts';
import type { JobView } from './job-view.ts';
import type { PodState } from './pod-state.ts';

/** From the ends of a Job and of its pods to one reason. Pure. */

export interface JobEnd {
  reason: OutcomeReason;
  message: string;
  exitCode: number | undefined;
}

export type EndedPod = PodState & { at: 'ended' };

export const COMPLETED: JobEnd = { reason: 'Completed', message: 'The command exited with 0.', exitCode: 0 };

/**
 * The pods are gone, deleted while nobody watched; what the Job controller wrote down of them is all there is. A
 * container that a deletion stopped (137, 143) did not fail by itself.
 */
export function endWithoutPods({ reason, message }: NonNullable<JobView['end']>): JobEnd {
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
export function byCause(a: EndedPod, b: EndedPod): number {
  const when = (end: EndedPod) => Date.parse(end.finishedAt) || Infinity;
  const rank = (end: EndedPod) => (end.reason === 'ChildDeleted' ? 1 : 0);
  const [first, second] = [when(a), when(b)];
  return first === second ? rank(a) - rank(b) : first - second;
}
