import type { PodView } from '../../runtime/local/pod-state.ts';
import { UNCOUNTED } from './world.ts';
import type { OutcomeReason } from '../../crds/vocabulary.ts';

/** Outcomes for which the operator, not the pod, ended the work: its Job still has to be stopped. */
const ENDED_BY_OPERATOR: ReadonlySet<string> = new Set<OutcomeReason | typeof UNCOUNTED.suspended>([
  UNCOUNTED.suspended,
  'Cancelled',
  'QueueDeadlineExceeded',
  'StartupDeadlineExceeded',
  'RunDeadlineExceeded',
  'CapacityUnavailable',
  'ImagePullFailed',
  'InvalidImageName',
  'SourceFailed',
  'StartFailed',
  'NodeLost',
]);

/**
 * A pod of an attempt that is over and that still has a long time to go. Looked for again and again: the process that
 * deleted the Job may have died before it came to the pods.
 */
export function lingeringPod<P extends PodView>(pods: readonly P[], now: number): P | undefined {
  return pods.find((pod) => pod.goneBy !== undefined && pod.goneBy > now + LINGER_MS);
}
/** More than what a stopped pod is left, and the clocks of two machines. */
const LINGER_MS = 40_000;

/** A pod that runs on without a Job, such as after `kubectl delete job --cascade=orphan`: nobody else would ever end it. */
export function orphanedPod<P extends PodView>(pods: readonly P[]): P | undefined {
  return pods.find(
    (pod) => pod.jobUid === undefined && !pod.deleting && (pod.phase === 'Running' || pod.phase === 'Pending'),
  );
}

export function endedByOperator(reason: string | undefined): boolean {
  return reason !== undefined && ENDED_BY_OPERATOR.has(reason);
}
