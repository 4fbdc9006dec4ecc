import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { OutcomeReason } from '../../crds/vocabulary.ts';
import { OUTCOME_REASONS } from '../../crds/vocabulary.ts';
import { ms } from '../../runtime/local/testing/clock.ts';
import { aJob, type JobBuilder } from '../testing/a-job.ts';
import { aPod, type PodBuilder } from '../../runtime/local/testing/a-pod.ts';
import { aRun, type RunBuilder } from '../testing/a-run.ts';
import { decideSettled } from './decide.ts';

const ended = (reason: OutcomeReason, run = aRun()): RunBuilder =>
  run.saying(
    {
      is: 'finished',
      status: reason === 'Completed' ? 'succeeded' : 'failed',
      reason,
      message: '',
      results: undefined,
    },
    10,
  );

interface Left {
  now?: number;
  jobs?: JobBuilder[];
  pods?: PodBuilder[];
  waitsForSync?: boolean;
}

const next = (run: RunBuilder, { now = 20, jobs = [], pods = [], waitsForSync = false }: Left = {}) =>
  decideSettled({
    now: ms(now),
    run: run.settled(),
    jobs: jobs.map((job) => job.view()),
    pods: pods.map((pod) => pod.view()),
    waitsForSync,
  });

describe('what is left to do of a run that has ended', () => {
  test('nothing, most of the time', () => {
    expect(next(ended('Completed'), { jobs: [aJob().complete()] })).toEqual({ do: 'nothing' });
  });

  test.each([
    'Cancelled',
    'RunDeadlineExceeded',
    'StartupDeadlineExceeded',
    'QueueDeadlineExceeded',
    'ImagePullFailed',
    'NodeLost',
  ] as const)('a Job that the operator gave up (%s) is deleted', (reason) => {
    expect(next(ended(reason), { jobs: [aJob().started()] })).toMatchObject({ do: 'deleteJob' });
    expect(next(ended(reason), { jobs: [aJob().started().deleting()] })).toEqual({ do: 'nothing' });
  });

  test('a pod that somebody left without its Job is stopped, once, and one that has ended is left', () => {
    const run = ended('ChildDeleted');
    const pod = aPod().running(2).orphaned();
    expect(next(run, { pods: [aPod().running(2)] })).toEqual({ do: 'nothing' });
    expect(next(run, { pods: [pod] })).toMatchObject({ do: 'hastenPod' });
    expect(next(run, { pods: [pod.deleting()] })).toEqual({ do: 'nothing' });
    expect(next(run, { pods: [pod.phase('Succeeded')] })).toEqual({ do: 'nothing' });
  });

  test('a Job that failed by itself comes to its end alone, and stays to be looked at', () => {
    expect(next(ended('NonZeroExit'), { jobs: [aJob().started()] })).toEqual({ do: 'nothing' });
    expect(next(ended('NonZeroExit'), { jobs: [aJob().failed()] })).toEqual({ do: 'nothing' });
  });
});

describe('the time to live', () => {
  const run = ended('Completed', aRun().asking({ ttlSecondsAfterFinished: 60 }));

  test('is waited for, then the run goes', () => {
    expect(next(run, { now: 20 })).toEqual({ do: 'nothing', againMs: 50_000 });
    expect(next(run, { now: 70 })).toEqual({ do: 'deleteRun' });
  });

  test('zero means at once, none means never', () => {
    expect(next(ended('Completed', aRun().asking({ ttlSecondsAfterFinished: 0 })), { now: 10 })).toEqual({
      do: 'deleteRun',
    });
    expect(next(ended('Completed'), { now: 1_000_000 })).toEqual({ do: 'nothing' });
  });

  test('waits for the sync', () => {
    expect(next(run, { now: 70, waitsForSync: true }).do).toBe('nothing');
  });

  test('is not for a run that is going already', () => {
    expect(next(run.deleting(), { now: 70 })).toEqual({ do: 'nothing' });
  });

  test.each([
    { 'argocd.argoproj.io/tracking-id': 'app:worldflux.ai/WorldRun:team/x' },
    { 'kustomize.toolkit.fluxcd.io/name': 'apps' },
  ])('only trims the children of what a GitOps tool would apply again: %o', (marks) => {
    const tracked = run.annotated(marks as unknown as Record<string, string>);
    expect(next(tracked, { now: 70, jobs: [aJob().complete()] })).toMatchObject({ do: 'deleteJob' });
    expect(next(tracked, { now: 70, jobs: [aJob().complete().deleting()] })).toEqual({ do: 'nothing' });
    expect(next(tracked, { now: 70 })).toEqual({ do: 'nothing' });
  });
});

test('a terminal run never creates anything again', () => {
  const job = fc
    .record({
      attempt: fc.integer({ min: 1, max: 5 }),
      is: fc.constantFrom('new', 'started', 'suspended', 'complete', 'failed', 'deleting'),
    })
    .map(({ attempt, is }) => {
      const job = aJob().ofAttempt(attempt);
      return {
        new: job,
        started: job.started(),
        suspended: job.suspended(),
        complete: job.complete(),
        failed: job.failed(),
        deleting: job.deleting(),
      }[is]!;
    });
  fc.assert(
    fc.property(
      fc.constantFrom(...(Object.keys(OUTCOME_REASONS) as OutcomeReason[])),
      fc.array(job, { maxLength: 4 }),
      fc.option(fc.nat(100), { nil: undefined }),
      fc.nat(200),
      fc.boolean(),
      fc.boolean(),
      (reason, jobs, ttlSecondsAfterFinished, now, deleting, waitsForSync) => {
        let run = ended(
          reason,
          ttlSecondsAfterFinished === undefined ? aRun() : aRun().asking({ ttlSecondsAfterFinished }),
        );
        if (deleting) run = run.deleting();
        // Whatever was asked for afterwards.
        for (const asked of [run, run.resumed(), run.suspended(), run.cancelled()]) {
          expect(['nothing', 'deleteJob', 'deleteRun']).toContain(next(asked, { now, jobs, waitsForSync }).do);
        }
      },
    ),
  );
});
