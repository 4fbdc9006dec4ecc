import type { Condition } from '../../crds/common.ts';
import { publicMessage } from './public-text.ts';
import {
  SYNC_CONDITIONS,
  type Phase,
  type RefusedReason,
  type RunReason,
  type WaitingReason,
} from '../../crds/vocabulary.ts';

/** Where a run stands, and the conditions and phase that say so. Pure. */

export type ResultsVerdict = { stored: boolean; reason: RunReason; message: string };

export type Situation =
  | { is: 'waiting'; reason: WaitingReason; message: string; admitted: boolean }
  | { is: 'refused'; reason: RefusedReason; message: string }
  | { is: 'running'; message: string }
  | { is: 'collecting'; message: string }
  | { is: 'stopping'; message: string }
  | {
      is: 'finished';
      status: 'succeeded' | 'failed' | 'cancelled';
      reason: RunReason;
      message: string;
      results: ResultsVerdict | undefined;
    };

type Bare = Pick<Condition, 'type' | 'status' | 'reason' | 'message'>;

const say = (type: string, status: boolean | 'Unknown', reason: string, message: string): Bare => ({
  type,
  status: status === 'Unknown' ? 'Unknown' : status ? 'True' : 'False',
  reason,
  message: publicMessage(message),
});

/** Conditions without times. Every situation states the same types, so that none keeps an old word. */
export function conditionsOf(situation: Situation): Bare[] {
  switch (situation.is) {
    case 'waiting': {
      const { reason, message, admitted } = situation;
      return [
        say('Ready', false, reason, message),
        say('Reconciling', true, reason, message),
        say('Stalled', false, reason, ''),
        say('Admitted', admitted, admitted ? 'Admitted' : reason, admitted ? '' : message),
        say('Finished', false, reason, ''),
      ];
    }
    case 'refused': {
      const { reason, message } = situation;
      return [
        say('Ready', false, reason, message),
        say('Reconciling', false, reason, ''),
        say('Stalled', true, reason, message),
        say('Admitted', false, reason, message),
        say('Finished', false, reason, ''),
      ];
    }
    case 'running':
    case 'collecting':
    case 'stopping': {
      const reason = ({ running: 'Running', collecting: 'Collecting', stopping: 'Stopping' } as const)[situation.is];
      return [
        say('Ready', false, reason, situation.message),
        say('Reconciling', true, reason, situation.message),
        say('Stalled', false, reason, ''),
        say('Admitted', true, 'Admitted', ''),
        say('Finished', false, reason, ''),
      ];
    }
    case 'finished': {
      const { status, reason, message, results } = situation;
      const failed = status === 'failed';
      return [
        // Cancelled and dry runs have reached what was asked of them: Argo CD shows them Healthy.
        say('Ready', !failed, reason, message),
        say('Reconciling', false, reason, ''),
        say('Stalled', failed, reason, failed ? message : ''),
        say('Admitted', true, 'Admitted', ''),
        say('Finished', true, reason, message),
        say('Succeeded', status === 'succeeded', reason, message),
        ...(results === undefined ? [] : [say('ResultsStored', results.stored, results.reason, results.message)]),
      ];
    }
  }
}

export function phaseOf(situation: Situation): Phase {
  switch (situation.is) {
    case 'waiting':
      if (situation.reason === 'Suspended' || situation.reason === 'AwaitingApproval') return 'Suspended';
      return situation.admitted ? 'Admitted' : 'Pending';
    case 'refused':
      return 'Refused';
    case 'running':
      return 'Running';
    case 'collecting':
    case 'stopping':
      return 'Collecting';
    case 'finished':
      return ({ succeeded: 'Succeeded', failed: 'Failed', cancelled: 'Cancelled' } as const)[situation.status];
  }
}

/**
 * Conditions with times: one keeps its `lastTransitionTime` as long as its status stays. Returns `before` itself when
 * nothing changed, so that a caller can tell that there is nothing to write.
 */
export function mergeConditions(
  before: readonly Condition[] | undefined,
  bare: readonly Bare[],
  generation: number,
  now: number,
): readonly Condition[] {
  const time = new Date(Math.floor(now / 1000) * 1000).toISOString().replace('.000Z', 'Z');
  const ours = before?.filter(({ type }) => !SYNC_CONDITIONS.includes(type));
  let same = ours?.length === bare.length;
  const merged = bare.map((condition) => {
    const old = before?.find((c) => c.type === condition.type);
    // The CRD's default carries no real time.
    const transition =
      old?.status === condition.status && !old.lastTransitionTime.startsWith('1970-') ? old.lastTransitionTime : time;
    same &&=
      old !== undefined &&
      old.status === condition.status &&
      old.reason === condition.reason &&
      (old.message ?? '') === condition.message &&
      old.observedGeneration === generation;
    return { ...condition, lastTransitionTime: transition, observedGeneration: generation };
  });
  return same ? before! : merged;
}
