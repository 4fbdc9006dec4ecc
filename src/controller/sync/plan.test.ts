import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SYNC_MODES } from '../../crds/vocabulary.ts';
import { isSettled, planSync } from './plan.ts';
import type { SyncProfile, SyncRun } from './ports.ts';

const run: SyncRun = {
  namespace: 'team-a',
  name: 'r',
  uid: 'u',
  generation: 1,
  clientRunId: 'c',
  manifestDigest: 'd',
  profile: 'cpu',
  succeeded: true,
  finishedAt: 0,
  mode: undefined,
  project: undefined,
  private: false,
  request: undefined,
  synced: undefined,
  status: undefined,
};
const sync: NonNullable<SyncProfile['sync']> = {
  mode: 'OnCompletion',
  baseURL: 'https://api.example/',
  allowedProjects: ['a'],
  apiKeySecretRef: { name: 'k', key: 'apiKey', from: 'RunNamespace' },
  unsuccessfulRuns: 'Include',
};
const profile: SyncProfile = { name: 'cpu', uid: 'p', generation: 1, sync, network: undefined, conditions: undefined };
const plan = (r: Partial<SyncRun>, s: Partial<typeof sync> = {}) =>
  planSync({ ...run, ...r }, { ...profile, sync: { ...sync, ...s } }, 'system');

describe('planSync', () => {
  it('never sends more than the lower of the two modes', () => {
    const mode = fc.constantFrom(...SYNC_MODES);
    const request = fc.option(fc.string({ minLength: 1 }), { nil: undefined });
    fc.assert(
      fc.property(mode, fc.option(mode, { nil: undefined }), request, (ofProfile, ofRun, asked) => {
        const lowest = SYNC_MODES[Math.max(SYNC_MODES.indexOf(ofProfile), SYNC_MODES.indexOf(ofRun ?? ofProfile))];
        const sends = lowest === 'OnCompletion' || (lowest === 'Manual' && asked !== undefined);
        expect(plan({ mode: ofRun, request: asked }, { mode: ofProfile }).do === 'Sync').toBe(sends);
      }),
    );
  });

  it('reads the key where the profile says, and gives each namespace a lane of its own', () => {
    const own = plan({});
    expect(own).toMatchObject({
      do: 'Sync',
      project: 'a',
      target: { baseURL: 'https://api.example', key: { namespace: 'team-a', mustBeLabelled: false } },
    });
    const shared = plan({}, { apiKeySecretRef: { name: 'k', key: 'apiKey', from: 'OperatorNamespace' } });
    expect(shared).toMatchObject({ target: { key: { namespace: 'system', mustBeLabelled: true } } });
    const lanes = ['team-a', 'team-b']
      .map((namespace) => plan({ namespace }))
      .map((p) => (p.do === 'Sync' ? p.target.lane : ''));
    expect(new Set(lanes).size).toBe(2);
  });

  it.each([
    [{ project: 'b' }, {}, 'ProjectNotAllowed'],
    [{}, { allowedProjects: ['a', 'b'] }, 'ProjectNotAllowed'],
    [{ mode: 'Manual' as const }, {}, 'AwaitingRequest'],
    [{ mode: 'OnCompletion' as const }, { mode: 'Disabled' as const }, 'SyncDisabled'],
  ])('%j under %j waits with %s', (r, s, reason) => {
    expect(plan(r, s)).toMatchObject({ do: 'Say', reason });
  });

  it('says nothing of a run that nobody wants to sync, nor of one without a profile', () => {
    expect(plan({}, { mode: 'Disabled' }).do).toBe('Nothing');
    expect(plan({ succeeded: false }, { unsuccessfulRuns: 'Exclude' }).do).toBe('Nothing');
    expect(planSync(run, undefined, 'system').do).toBe('Nothing');
  });
});

const synced = (status: 'True' | 'False', reason: string) => ({
  type: 'Synced',
  status,
  reason,
  lastTransitionTime: '',
});

describe('isSettled', () => {
  it.each([
    [undefined, undefined, undefined, false],
    [synced('True', 'Synced'), undefined, undefined, true],
    [synced('False', 'SyncConflict'), undefined, undefined, true],
    [synced('False', 'TargetUnavailable'), undefined, undefined, false],
    [synced('True', 'Synced'), 'now', undefined, false],
    [synced('True', 'Synced'), 'now', 'now', true],
    [synced('False', 'SyncConflict'), 'again', 'now', false],
  ])('%j, asked %s, answered %s: %s', (condition, request, answered, settled) => {
    const status = answered === undefined ? undefined : { attempts: 1, request: answered };
    expect(isSettled({ ...run, synced: condition, request, status })).toBe(settled);
  });
});
