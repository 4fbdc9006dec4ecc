import { describe, expect, test } from 'vitest';
import { worldRunStatus, type AttemptStatus } from '../../crds/world-run-status.ts';
import { at, ms } from '../../runtime/local/testing/clock.ts';
import { aRun, type RunBuilder } from '../testing/a-run.ts';
import { aWorld } from '../testing/a-world.ts';
import { buildStatus, writeDueMs, writeOrWait, type StatusFacts } from './status.ts';
import type { Situation } from './situation.ts';

const RUNNING: Situation = { is: 'running', message: 'The container runs.' };
const facts: StatusFacts = {
  epoch: 3,
  runId: '20261120T100000Z-1234abcd',
  clientRunId: '6f1f6d6e-6f3b-5f0e-9d2b-0c7c3f1f2f57',
  now: ms(5),
  profile: undefined,
  attempt: undefined,
  clocks: undefined,
  queuedSince: undefined,
  progress: undefined,
};
const built = (run: RunBuilder, more: Partial<StatusFacts> = {}, situation: Situation = RUNNING) =>
  buildStatus(run.live(), situation, { ...facts, ...more });

describe('the status that is applied is the whole of it', () => {
  const run = aRun()
    .pinnedTo('cpu', 'sha256:x')
    .attempt({ number: 1, finishedAt: at(1), reason: 'NodeLost' })
    .status({ queuedSince: at(1), clocks: { queueSeconds: 1, startupSeconds: 2, runSeconds: 3 } });

  test('what is not new stays', () => {
    expect(built(run)).toMatchObject({
      epoch: 3,
      phase: 'Running',
      profile: { name: 'cpu', digest: 'sha256:x' },
      queuedSince: at(1),
      clocks: { runSeconds: 3 },
      attemptCount: 1,
      attempts: [{ number: 1, reason: 'NodeLost' }],
    });
  });

  test('an attempt is added, or replaces itself', () => {
    const second: AttemptStatus = { number: 2, jobUID: 'job-2', startedAt: at(4) };
    const once = built(run, { attempt: second });
    expect(once.attempts).toMatchObject([{ number: 1 }, { number: 2 }]);
    const again = built(run.status(once), { attempt: { ...second, finishedAt: at(9), reason: 'Preempted' } });
    expect(again.attempts).toMatchObject([{ number: 1 }, { number: 2, reason: 'Preempted' }]);
    expect(again.attemptCount).toBe(2);
  });

  test('sixteen attempts are listed, all are counted, also those that take no try', () => {
    let status = built(aRun());
    for (let number = 1; number <= 40; number += 1) {
      const ended = {
        number,
        finishedAt: at(number),
        reason: 'Requeued',
        counted: number % 4 === 0 ? undefined : false,
      } as AttemptStatus;
      // Written twice, as after an answer that was lost.
      for (let times = 0; times < 2; times += 1) status = built(aRun().status(status), { attempt: ended });
    }
    expect(status.attempts).toHaveLength(16);
    expect(status).toMatchObject({ attemptCount: 40, uncountedAttempts: 30 });
    expect(worldRunStatus.safeParse(JSON.parse(JSON.stringify(status))).error).toBeUndefined();
  });

  test('clocks are whole milliseconds: no tail of digits makes another status of it', () => {
    expect(built(aRun(), { clocks: { queueSeconds: 0.1 + 0.2, startupSeconds: 1 / 3, runSeconds: 7 } }).clocks).toEqual(
      { queueSeconds: 0.3, startupSeconds: 0.333, runSeconds: 7 },
    );
  });
});

describe('when it is worth a write', () => {
  const waits = (message: string): Situation => ({ is: 'waiting', reason: 'Unschedulable', message, admitted: true });
  const world = (now: number, wroteAt = 0) =>
    aWorld({ now, run: aRun().saying(waits('a'), 0), memory: { wroteAt: ms(wroteAt) } });

  test('never, when it stands there', () => {
    expect(writeDueMs(world(5), waits('a'))).toBe(Infinity);
  });

  test('at once, for another reason', () => {
    expect(writeDueMs(world(5), RUNNING)).toBe(0);
  });

  test('after half a minute, for other words', () => {
    expect(writeDueMs(world(5), waits('b'))).toBe(25_000);
    expect(writeDueMs(world(40), waits('b'))).toBe(0);
    expect(writeOrWait(world(5), waits('b'), 3_600_000)).toEqual({ do: 'nothing', againMs: 25_000 });
  });

  test('a timer is neither endless nor busy', () => {
    expect(writeOrWait(world(5), waits('a'), Infinity)).toEqual({ do: 'nothing', againMs: undefined });
    expect(writeOrWait(world(5), waits('a'), 0)).toEqual({ do: 'nothing', againMs: 50 });
    expect(writeOrWait(world(5), waits('a'), 1e12)).toEqual({ do: 'nothing', againMs: 2 ** 31 - 1 });
  });
});

describe('progress', () => {
  const progress = { percent: 96, updatedAt: at(50) };
  const finished = (status: 'succeeded' | 'failed'): Situation => ({
    is: 'finished',
    status,
    reason: status === 'succeeded' ? 'Completed' : 'NonZeroExit',
    message: 'It ended.',
    results: undefined,
  });

  test('a run that succeeded is not said to stand at the last per cent that it reported', () => {
    expect(built(aRun(), { progress }, finished('succeeded'))).not.toHaveProperty('progress');
  });

  test('how far a run came is said while it runs, and of one that failed', () => {
    expect(built(aRun(), { progress }).progress).toEqual(progress);
    expect(built(aRun(), { progress }, finished('failed')).progress).toEqual(progress);
  });
});
