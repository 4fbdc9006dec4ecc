import { expect, test } from 'vitest';
import { at, ms } from '../../runtime/local/testing/clock.ts';
import { aRun } from '../testing/a-run.ts';
import { buildStatus, type StatusFacts } from './status.ts';

const facts: StatusFacts = {
  epoch: 1,
  runId: 'run',
  clientRunId: 'client',
  now: ms(60),
  profile: undefined,
  attempt: undefined,
  clocks: undefined,
  queuedSince: undefined,
  progress: { percent: 96, updatedAt: at(50) },
};
const finished = (status: 'succeeded' | 'failed') =>
  ({
    is: 'finished',
    status,
    reason: status === 'succeeded' ? 'Completed' : 'NonZeroExit',
    message: 'It ended.',
    results: undefined,
  }) as const;

test('a run that succeeded is not said to stand at the last per cent that it reported', () => {
  expect(buildStatus(aRun().live(), finished('succeeded'), facts)).not.toHaveProperty('progress');
});

test('how far a run came is said while it runs, and of one that failed', () => {
  const running = buildStatus(aRun().live(), { is: 'running', message: 'The container runs.' }, facts);
  expect(running.progress).toEqual(facts.progress);
  expect(buildStatus(aRun().live(), finished('failed'), facts).progress).toEqual(facts.progress);
});
