import { parseProgressFromLogs } from 'replicate';
import type { WorkEnd, WorkState } from '../contract.ts';
import type { Prediction } from './answers.ts';
import { clean } from './words.ts';

/** The vendor's clock and its own deadline are this close when the one ended the other; milliseconds. */
const DEADLINE_SLACK_MS = 2000;

/** Where a prediction stands. Pure. `now`: milliseconds since the epoch. */
export function workState(
  prediction: Prediction,
  credentials: Readonly<Record<string, string>>,
  now: number,
): WorkState {
  const { status, startedAt, completedAt, createdAt } = prediction;
  const ended = (end: Pick<WorkEnd, 'outcome' | 'reason' | 'message' | 'exitCode'>): WorkEnd => ({
    at: 'ended',
    ...end,
    ...(startedAt === undefined ? {} : { startedAt }),
    finishedAt: completedAt ?? now,
  });
  switch (status) {
    case 'processing':
      return { at: 'running', startedAt: startedAt ?? createdAt, ...percentOf(prediction) };
    case 'succeeded':
      return ended({ outcome: 'succeeded', reason: 'Completed', message: 'The prediction succeeded.', exitCode: 0 });
    case 'failed': {
      const words = prediction.error === undefined ? '' : clean(prediction.error, credentials);
      const message = words === '' ? 'The prediction failed.' : `The prediction failed: ${words}`;
      return ended({ outcome: 'failed', reason: 'VendorFailed', message, exitCode: 1 });
    }
    case 'canceled':
    case 'aborted':
      return ended(stopped(prediction));
    case 'starting':
    case 'queued':
      return { at: 'queued', message: 'Replicate has it and has not started it: a machine is being found or booted.' };
    default:
      // A word that is new; it is still there, and its deadline stands.
      return { at: 'queued', message: 'Replicate names a state that is not known here.' };
  }
}

/**
 * `aborted` is the deadline before the start, which is not billed; `canceled` is the deadline after it, or a person.
 * Only the time tells these apart.
 */
function stopped({ status, completedAt, deadline }: Prediction): Pick<WorkEnd, 'outcome' | 'reason' | 'message'> {
  const before = status === 'aborted' ? ' before it had started' : '';
  const atDeadline =
    deadline === undefined || completedAt === undefined
      ? status === 'aborted'
      : completedAt >= deadline - DEADLINE_SLACK_MS;
  if (atDeadline) {
    return {
      outcome: 'failed',
      reason: 'VendorDeadline',
      message: `Replicate ended the prediction at the deadline that was set with it${before}.`,
    };
  }
  return {
    outcome: 'cancelled',
    reason: 'VendorCancelled',
    message: `The prediction was cancelled at Replicate${before}.`,
  };
}

/** From progress bars in the log. */
function percentOf({ logs }: Prediction): { percent?: number } {
  const progress = logs === undefined ? null : parseProgressFromLogs(logs);
  return progress === null ? {} : { percent: Math.min(100, Math.round(progress.percentage * 100)) };
}
