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

export function endedByOperator(reason: string | undefined): boolean {
  return reason !== undefined && ENDED_BY_OPERATOR.has(reason);
}
