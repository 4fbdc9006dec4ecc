import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  CONDITION_TYPES,
  OUTCOME_REASONS,
  REFUSED_REASONS,
  WAITING_REASONS,
  type OutcomeReason,
  type RefusedReason,
  type WaitingReason,
} from '../../crds/vocabulary.ts';
import type { Condition } from '../../crds/common.ts';
import { INITIAL_STATUS, worldRunStatus } from '../../crds/world-run-status.ts';
import { at, ms } from '../../runtime/local/testing/clock.ts';
import { conditionsOf, mergeConditions, phaseOf, type Situation } from './situation.ts';

const STORED = { stored: true, reason: 'Stored', message: '' } as const;
const finished = (status: 'succeeded' | 'failed' | 'cancelled', reason: OutcomeReason): Situation => ({
  is: 'finished',
  status,
  reason,
  message: 'm',
  results: STORED,
});

const situation: fc.Arbitrary<Situation> = fc.oneof(
  fc.record({
    is: fc.constant('waiting' as const),
    reason: fc.constantFrom(...(Object.keys(WAITING_REASONS) as WaitingReason[])),
    message: fc.string(),
    admitted: fc.boolean(),
  }),
  fc.record({
    is: fc.constant('refused' as const),
    reason: fc.constantFrom(...(Object.keys(REFUSED_REASONS) as RefusedReason[])),
    message: fc.string(),
  }),
  fc.record({
    is: fc.constantFrom('running' as const, 'collecting' as const, 'stopping' as const),
    message: fc.string(),
  }),
  fc.record({
    is: fc.constant('finished' as const),
    status: fc.constantFrom('succeeded' as const, 'failed' as const, 'cancelled' as const),
    reason: fc.constantFrom(...(Object.keys(OUTCOME_REASONS) as OutcomeReason[])),
    message: fc.string(),
    results: fc.constantFrom(undefined, STORED),
  }),
);

/** https://pkg.go.dev/sigs.k8s.io/cli-utils/pkg/kstatus/status */
function kstatus(conditions: readonly { type: string; status: string }[]): string {
  const is = (type: string, status: string) => conditions.some((c) => c.type === type && c.status === status);
  if (is('Stalled', 'True')) return 'Failed';
  if (is('Reconciling', 'True') || is('Ready', 'False')) return 'InProgress';
  return 'Current';
}

/** What Argo CD's health check of this kind makes of it. */
function argo(conditions: readonly { type: string; status: string; reason: string }[]): string {
  const ready = conditions.find((c) => c.type === 'Ready')!;
  if (conditions.some((c) => c.type === 'Stalled' && c.status === 'True')) return 'Degraded';
  if (ready.status === 'True') return 'Healthy';
  return ready.reason === 'Suspended' ? 'Suspended' : 'Progressing';
}

describe('health', () => {
  const table: [
    string,
    Situation,
    { Ready: string; Reconciling: string; Stalled: string; Finished: string },
    string,
    string,
  ][] = [
    [
      'waiting',
      { is: 'waiting', reason: 'Unschedulable', message: '', admitted: true },
      { Ready: 'False', Reconciling: 'True', Stalled: 'False', Finished: 'False' },
      'Progressing',
      'InProgress',
    ],
    [
      'running',
      { is: 'running', message: '' },
      { Ready: 'False', Reconciling: 'True', Stalled: 'False', Finished: 'False' },
      'Progressing',
      'InProgress',
    ],
    [
      'collecting',
      { is: 'collecting', message: '' },
      { Ready: 'False', Reconciling: 'True', Stalled: 'False', Finished: 'False' },
      'Progressing',
      'InProgress',
    ],
    [
      'stopping',
      { is: 'stopping', message: '' },
      { Ready: 'False', Reconciling: 'True', Stalled: 'False', Finished: 'False' },
      'Progressing',
      'InProgress',
    ],
    [
      'suspended',
      { is: 'waiting', reason: 'Suspended', message: '', admitted: false },
      { Ready: 'False', Reconciling: 'True', Stalled: 'False', Finished: 'False' },
      'Suspended',
      'InProgress',
    ],
    [
      'refused for good',
      { is: 'refused', reason: 'EnvNotAllowed', message: '' },
      { Ready: 'False', Reconciling: 'False', Stalled: 'True', Finished: 'False' },
      'Degraded',
      'Failed',
    ],
    [
      'succeeded',
      finished('succeeded', 'Completed'),
      { Ready: 'True', Reconciling: 'False', Stalled: 'False', Finished: 'True' },
      'Healthy',
      'Current',
    ],
    [
      'failed',
      finished('failed', 'NonZeroExit'),
      { Ready: 'False', Reconciling: 'False', Stalled: 'True', Finished: 'True' },
      'Degraded',
      'Failed',
    ],
    [
      'cancelled',
      finished('cancelled', 'Cancelled'),
      { Ready: 'True', Reconciling: 'False', Stalled: 'False', Finished: 'True' },
      'Healthy',
      'Current',
    ],
    [
      'dry run done',
      finished('succeeded', 'DryRun'),
      { Ready: 'True', Reconciling: 'False', Stalled: 'False', Finished: 'True' },
      'Healthy',
      'Current',
    ],
  ];
  test.each(table)('%s', (_, said, expected, argoSays, kstatusSays) => {
    const conditions = conditionsOf(said);
    const statuses = Object.fromEntries(conditions.map((c) => [c.type, c.status]));
    expect(statuses).toMatchObject(expected);
    expect(argo(conditions)).toBe(argoSays);
    expect(kstatus(conditions)).toBe(kstatusSays);
  });

  test('before the operator has written anything', () => {
    expect(kstatus(INITIAL_STATUS.conditions)).toBe('InProgress');
    expect(argo(INITIAL_STATUS.conditions)).toBe('Progressing');
  });
});

test.each([
  [{ is: 'waiting', reason: 'ConcurrencyLimit', message: '', admitted: false }, 'Pending'],
  [{ is: 'waiting', reason: 'Unschedulable', message: '', admitted: true }, 'Admitted'],
  [{ is: 'waiting', reason: 'Suspended', message: '', admitted: false }, 'Suspended'],
  [{ is: 'refused', reason: 'ImageMissing', message: '' }, 'Refused'],
  [{ is: 'running', message: '' }, 'Running'],
  [{ is: 'collecting', message: '' }, 'Collecting'],
  [{ is: 'stopping', message: '' }, 'Collecting'],
  [finished('succeeded', 'Completed'), 'Succeeded'],
  [finished('failed', 'OOMKilled'), 'Failed'],
  [finished('cancelled', 'Cancelled'), 'Cancelled'],
] as [Situation, string][])('phase %#: %o', (said, phase) => {
  expect(phaseOf(said)).toBe(phase);
});

test('Succeeded is said once the run has finished, and only then; every type is in the vocabulary', () => {
  fc.assert(
    fc.property(situation, (said) => {
      const conditions = conditionsOf(said);
      expect(conditions.some((c) => c.type === 'Succeeded')).toBe(said.is === 'finished');
      expect(Object.keys(CONDITION_TYPES)).toEqual(expect.arrayContaining(conditions.map((c) => c.type)));
      expect(new Set(conditions.map((c) => c.type)).size).toBe(conditions.length);
    }),
  );
});

const written = (before: readonly Condition[] | undefined, said: Situation, seconds: number) =>
  mergeConditions(before, conditionsOf(said), 1, ms(seconds));
const time = (conditions: readonly Condition[], type: string) =>
  conditions.find((c) => c.type === type)?.lastTransitionTime;

describe('merged into what stands there', () => {
  test('a time changes with the status and not with the words', () => {
    const first = written(undefined, { is: 'waiting', reason: 'Unschedulable', message: 'a', admitted: true }, 1);
    const second = written(first, { is: 'running', message: 'b' }, 9);
    const third = written(second, finished('succeeded', 'Completed'), 20);
    expect([time(second, 'Ready'), time(third, 'Ready'), time(third, 'Stalled')]).toEqual([at(1), at(20), at(1)]);
  });

  test('the CRD’s default has no time; the first write gives one', () => {
    const merged = written(INITIAL_STATUS.conditions as unknown as Condition[], { is: 'running', message: '' }, 5);
    expect(merged.map((c) => c.lastTransitionTime)).toEqual(merged.map(() => at(5)));
  });

  test('the same again is the very same: nothing to write', () => {
    fc.assert(
      fc.property(situation, fc.nat(1000), (said, seconds) => {
        const once = written(undefined, said, 0);
        expect(written(once, said, seconds)).toBe(once);
        // Stored and read back, in whatever order the server keeps them.
        const stored = (JSON.parse(JSON.stringify(once)) as Condition[]).toReversed();
        expect(written(stored, said, seconds)).toBe(stored);
      }),
    );
  });

  test('a new generation is something to write', () => {
    const once = written(undefined, { is: 'running', message: '' }, 0);
    expect(mergeConditions(once, conditionsOf({ is: 'running', message: '' }), 2, ms(1))).not.toBe(once);
  });

  test('every status that can be said is one that the API takes', () => {
    fc.assert(
      fc.property(situation, (said) => {
        const status = { phase: phaseOf(said), conditions: written(undefined, said, 0) };
        expect(worldRunStatus.safeParse(JSON.parse(JSON.stringify(status))).error).toBeUndefined();
      }),
    );
  });
});
