import type { AttemptStatus } from '../../crds/world-run-status.ts';
import type { OutcomeReason, RetryableReason } from '../../crds/vocabulary.ts';
import type { End } from './attempt-end.ts';
import type { Clocks } from './clocks.ts';
import type { Decision, Ending } from './decision.ts';
import { publicMessage } from './public-text.ts';
import type { Situation } from './situation.ts';
import { uncounted, UNCOUNTED, type World } from './world.ts';

/** The last word on an attempt, whoever did its work. Pure. */

/** Why the operator itself must end the attempt now. */
export interface Stop {
  reason: OutcomeReason | typeof UNCOUNTED.suspended;
  message: string;
}

export interface Closing {
  world: World;
  number: number;
  /** As the status shows it so far. */
  shown: AttemptStatus;
  /** RFC 3339. */
  finishedAt: string;
  clocks: Clocks;
  imageDigest?: string | undefined;
  sourceCommit?: string | undefined;
}

/** Closes the attempt and goes on to the next, or records the run. */
export function closeAs(closing: Closing, end: End | Stop): Decision {
  const { world, number, shown, finishedAt, clocks, imageDigest, sourceCommit } = closing;
  const { spec, status } = world.run;
  const exitCode = 'exitCode' in end ? end.exitCode : undefined;
  const closed = {
    ...shown,
    finishedAt,
    ...(exitCode !== undefined && { exitCode }),
    reason: end.reason,
    // The conditions have the whole; sixteen attempts stand in one status.
    message: publicMessage(end.message, 300),
  };
  if (end.reason === UNCOUNTED.suspended) {
    return {
      do: 'closeAttempt',
      attempt: { ...closed, counted: false },
      clocks,
      situation: {
        is: 'waiting',
        reason: 'Suspended',
        message: 'spec.suspend is true; set it to false to go on.',
        admitted: false,
      },
    };
  }
  const used = number - uncounted(status);
  if (
    end.reason !== 'Completed' &&
    end.reason !== 'Cancelled' &&
    spec.retry.onReasons.includes(end.reason as RetryableReason) &&
    used < spec.retry.maxAttempts &&
    !spec.cancel
  ) {
    return { do: 'closeAttempt', attempt: closed, clocks, situation: waitsForRetry(closed) };
  }
  const ending: Ending = {
    status: end.reason === 'Completed' ? 'succeeded' : end.reason === 'Cancelled' ? 'cancelled' : 'failed',
    reason: end.reason as OutcomeReason,
    message: end.message,
    exitCode,
    attempt: closed,
    resultsOf: number,
    clocks,
    imageDigest,
    sourceCommit,
  };
  return { do: 'record', ending };
}

/** The same words before and during the pause, so that they are written once. */
export function waitsForRetry(
  last: { number: number; reason?: string | undefined; message?: string | undefined } | undefined,
): Situation & { is: 'waiting' } {
  // A list of attempts that somebody emptied says nothing of the one whose Job is still there.
  const message =
    last === undefined
      ? 'What an earlier attempt left is being removed.'
      : `Attempt ${last.number} ended with ${last.reason}: ${last.message ?? ''}`;
  return { is: 'waiting', reason: 'WaitingForRetry', message, admitted: true };
}
