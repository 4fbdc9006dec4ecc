import { inputDigest } from '../../crds/input-digest.ts';
import type { RunRecord } from '../../results/records.ts';
import { describe, expect, test } from 'vitest';
import { at, ms } from '../../runtime/local/testing/clock.ts';
import { aPod } from '../../runtime/local/testing/a-pod.ts';
import { aJob } from '../testing/a-job.ts';
import { aProfile } from '../testing/a-profile.ts';
import { aRun } from '../testing/a-run.ts';
import { aNode, aWorld, decided, type Scene } from '../testing/a-world.ts';
import { decide } from './decide.ts';
import { WAITING_REASONS } from '../../crds/vocabulary.ts';
import { retryPause } from './decide-start.ts';

const DIGEST = aProfile().view().digest;
const OLD = aProfile().limited({ maxConcurrentRuns: 1 });

/** What a scene leads to, in a word or two: the decision, and the reason where it says one. */
function outcome(scene: Scene): string {
  const decision = decided(scene);
  if (decision.do === 'writeStatus')
    return 'reason' in decision.situation ? `say ${decision.situation.reason}` : `say ${decision.situation.is}`;
  if (decision.do === 'record') return `record ${decision.ending.reason}`;
  return decision.do;
}

const closed = { jobUID: 'job-1', startedAt: at(2), finishedAt: at(10) };
const failed = aRun()
  .attempt({ number: 1, ...closed, reason: 'NodeLost', message: 'gone' })
  .pinnedTo('cpu', DIGEST);
const suspended = aRun()
  .attempt({ number: 1, ...closed, reason: 'Suspended', counted: false })
  .pinnedTo('cpu', DIGEST)
  .saying({ is: 'waiting', reason: 'Suspended', message: '', admitted: false }, 10);

describe('towards the first Job, one step at a time', () => {
  const steps: [string, Scene, string][] = [
    ['a place is asked for', { reservation: 'none' }, 'reserve'],
    ['the profile is pinned', {}, 'pinProfile'],
    [
      'several nodes need a Service',
      { run: aRun().onNodes(2), profile: aProfile().allowing({ nodes: { max: 2 } }), isPinned: true },
      'createService',
    ],
    [
      'then the Job',
      {
        run: aRun().onNodes(2),
        profile: aProfile().allowing({ nodes: { max: 2 } }),
        isPinned: true,
        memory: { serviceMade: true },
      },
      'createJob',
    ],
    ['one node needs none', { isPinned: true }, 'createJob'],
    ['a dry run only plans', { run: aRun().dry(), reservation: 'none' }, 'recordPlan'],
    ['a runKey is looked up first', { run: aRun().keyed('k'), reservation: 'none' }, 'lookUpRecord'],
    ['nothing is recorded under it', { run: aRun().keyed('k'), memory: { record: null }, isPinned: true }, 'createJob'],
    ['the namespace is not in the cache yet', { namespace: null }, 'nothing'],
    ['the namespace goes away', { namespace: { terminating: true } }, 'nothing'],
    ['the run goes away', { run: aRun().deleting() }, 'release'],
  ];
  test.each(steps)('%s', (_, scene, expected) => {
    expect(outcome(scene)).toBe(expected);
  });

  test('the Job is that of the pinned profile, however the profile has changed since', () => {
    const decision = decided({ now: 60, run: failed, pinned: OLD, profile: aProfile(), isPinned: true });
    expect(decision).toMatchObject({ do: 'createJob', number: 2, profile: { digest: OLD.view().digest } });
  });

  test('a place is asked for under the limits of today', () => {
    const now = aProfile().limited({ maxConcurrentRuns: 7, maxConcurrentRunsPerNamespace: 3 });
    const decision = decided({ now: 60, run: failed, pinned: OLD, profile: now, reservation: 'none' });
    expect(decision).toEqual({
      do: 'reserve',
      profile: 'cpu',
      limits: { maxConcurrentRuns: 7, maxConcurrentRunsPerNamespace: 3 },
    });
  });
});

describe('what keeps a run waiting', () => {
  const waits: [string, Scene, string, RegExp][] = [
    [
      'its profile is missing',
      { run: aRun().withProfile('x'), profile: null },
      'ProfileNotFound',
      /spec\.runtimeProfileRef\.name.*x/,
    ],
    ['there is no default profile', { profile: null }, 'ProfileNotFound', /is-default-profile/],
    [
      'the pinned copy is gone with its profile',
      { now: 60, run: failed, profile: null, pinned: undefined },
      'ProfileNotFound',
      /pinned copy of profile cpu/,
    ],
    [
      'the profile is not ready',
      { profileReady: { ready: false, message: 'no image' } },
      'ProfileNotReady',
      /cpu.*no image/,
    ],
    [
      'nobody else may start',
      { reservation: { granted: false, reason: 'ConcurrencyLimit', message: 'full' } },
      'ConcurrencyLimit',
      /full/,
    ],
    [
      'the store is full',
      { profile: aProfile().limited({ maxStoredBytesPerNamespace: '1Ki' }), storedBytes: 1024 },
      'StoreQuotaExceeded',
      /1024 bytes.*1Ki.*delete/,
    ],
    [
      'an older run has its runKey',
      { run: aRun().keyed('k'), twin: 'older', reservation: 'none' },
      'RunKeyInUse',
      /older/,
    ],
    [
      'somebody else’s Job has the name',
      { memory: { nameTaken: { message: 'Job x', at: ms(0) } } },
      'JobNameTaken',
      /Job x/,
    ],
    [
      'the API server refused the Job',
      { memory: { refusedBy: { message: 'quota', at: ms(0) } } },
      'JobRefused',
      /quota/,
    ],
    ['it is suspended', { run: aRun().suspended(), reservation: 'none' }, 'Suspended', /spec\.suspend/],
    [
      'the last attempt failed a moment ago',
      { now: 12, run: failed, pinned: aProfile() },
      'WaitingForRetry',
      /Attempt 1 ended with NodeLost: gone/,
    ],
    [
      'the Job of the last attempt is still there',
      { now: 60, run: failed, jobs: [aJob().deleting()] },
      'WaitingForRetry',
      /Attempt 1/,
    ],
    [
      'a pod of the last attempt still stops',
      { now: 60, run: failed, pods: [aPod().running().deleting()] },
      'WaitingForRetry',
      /Attempt 1/,
    ],
  ];
  test.each(waits)('%s', (_, scene, reason, message) => {
    const decision = decided(scene);
    expect(decision).toMatchObject({
      do: 'writeStatus',
      situation: { is: 'waiting', reason, message: expect.stringMatching(message) },
    });
    expect(Object.keys(WAITING_REASONS)).toContain(reason);
  });

  test('what is said already is not written again', () => {
    const wait = { is: 'waiting', reason: 'ConcurrencyLimit', message: 'full', admitted: false } as const;
    expect(
      decided({
        run: aRun().saying(wait),
        reservation: { granted: false, reason: 'ConcurrencyLimit', message: 'full' },
      }).do,
    ).toBe('nothing');
  });

  test('other words for the same reason are written once they are half a minute old', () => {
    const wait = { is: 'waiting', reason: 'ConcurrencyLimit', message: 'nearly full', admitted: false } as const;
    const scene: Scene = {
      run: aRun().saying(wait),
      reservation: { granted: false, reason: 'ConcurrencyLimit', message: 'full' },
      memory: { wroteAt: ms(0) },
    };
    expect(decided({ ...scene, now: 10 })).toMatchObject({ do: 'nothing', againMs: 20_000 });
    expect(decided({ ...scene, now: 30 }).do).toBe('writeStatus');
  });

  test('a run that waits for its retry keeps saying the same before and during the pause', () => {
    const run = failed.saying(
      { is: 'waiting', reason: 'WaitingForRetry', message: 'Attempt 1 ended with NodeLost: gone', admitted: true },
      10,
    );
    expect(decided({ now: 60, run, jobs: [aJob().deleting()] }).do).toBe('nothing');
    expect(decided({ now: 12, run, reservation: 'none' })).toMatchObject({ do: 'nothing', againMs: 8000 });
  });

  test.each([
    ['the profile came', { profile: aProfile(), isPinned: true }],
    ['the other Job is gone', { isPinned: true, now: 20, memory: { nameTaken: { message: '', at: ms(0) } } }],
    [
      'a pod of the last attempt has ended',
      { now: 60, run: failed, isPinned: true, pods: [aPod().running().exited(1).phase('Failed')] },
    ],
    ['a pod of the last attempt is gone', { now: 60, run: failed, isPinned: true, pods: [aPod().running().gone()] }],
  ] satisfies [string, Scene][])('and goes on when %s', (_, scene) => {
    expect(outcome(scene)).toBe('createJob');
  });

  test('a suspended, or twin, run gives its place back before it says so', () => {
    expect(outcome({ run: aRun().suspended() })).toBe('release');
    expect(outcome({ run: aRun().keyed('k'), twin: 'older' })).toBe('release');
  });
});

describe('refused for good', () => {
  const bad: Scene = { run: aRun().asking({ image: 'other' }) };

  test('the run says the field, once', () => {
    expect(decided({ ...bad, reservation: 'none' })).toMatchObject({
      do: 'writeStatus',
      situation: { is: 'refused', reason: 'OverrideNotAllowed' },
    });
    const refused = {
      is: 'refused',
      reason: 'OverrideNotAllowed',
      message: 'spec.image: profile cpu does not let a run choose its image; leave the field out',
    } as const;
    expect(decided({ run: bad.run!.saying(refused), reservation: 'none' })).toEqual({ do: 'nothing' });
  });

  test('a place that it held, or waited for, is given back', () => {
    expect(outcome(bad)).toBe('release');
    expect(outcome({ ...bad, reservation: { granted: false, reason: 'ConcurrencyLimit', message: '' } })).toBe(
      'release',
    );
  });

  test('a later attempt is not judged again: the pinned profile took it', () => {
    const run = failed.asking({ image: 'other' });
    expect(outcome({ now: 60, run, isPinned: true })).toBe('createJob');
  });

  test('a refused run can be cancelled', () => {
    expect(outcome({ run: bad.run!.cancelled(), reservation: 'none' })).toBe('record Cancelled');
  });
});

describe('the end before a Job', () => {
  const ends: [string, Scene, string][] = [
    ['cancelled at once', { run: aRun().cancelled() }, 'record Cancelled'],
    ['cancelled while suspended', { run: suspended.cancelled(), memory: { loaded: new Set([1]) } }, 'record Cancelled'],
    ['cancelled, but first its Job goes', { run: suspended.cancelled(), jobs: [aJob()] }, 'deleteJob'],
    ['cancelled without a profile', { run: aRun().cancelled(), profile: null }, 'record Cancelled'],
    [
      'waited too long for a profile',
      { now: 100, run: aRun().within({ queueSeconds: 100 }), profile: null },
      'record QueueDeadlineExceeded',
    ],
    [
      'waited too long for a place',
      {
        now: 100,
        run: aRun().within({ queueSeconds: 100 }),
        reservation: { granted: false, reason: 'ConcurrencyLimit', message: '' },
      },
      'record QueueDeadlineExceeded',
    ],
  ];
  test.each(ends)('%s', (_, scene, expected) => {
    expect(outcome(scene)).toBe(expected);
  });

  test('what the last attempt left stands for the run, and is read back for it', () => {
    expect(decided({ run: suspended.cancelled() })).toEqual({ do: 'loadResults', attempt: 1 });
    expect(decided({ run: suspended.cancelled(), memory: { loaded: new Set([1]) } })).toMatchObject({
      ending: { resultsOf: 1, status: 'cancelled' },
    });
  });

  test('a queue deadline is looked at in time', () => {
    const scene: Scene = { now: 40, run: aRun().within({ queueSeconds: 100 }), profile: null };
    expect(decided(scene)).toMatchObject({ do: 'writeStatus', againMs: 60_000 });
  });
});

describe('suspend and resume', () => {
  test('the Job that a suspension left goes before anything else', () => {
    expect(outcome({ run: suspended.suspended(), jobs: [aJob().started()] })).toBe('deleteJob');
    expect(outcome({ run: suspended.resumed(), jobs: [aJob().started()] })).toBe('deleteJob');
  });

  test('resumed, the next attempt starts without a pause', () => {
    expect(decided({ now: 11, run: suspended.resumed(), isPinned: true })).toMatchObject({
      do: 'createJob',
      number: 2,
    });
  });

  test('a long suspension costs no queue time', () => {
    const run = suspended.resumed().within({ queueSeconds: 100 });
    expect(decided({ now: 100_000, run, isPinned: true }).do).toBe('createJob');
  });

  test('the wait before it does', () => {
    const run = suspended
      .resumed()
      .within({ queueSeconds: 100 })
      .status({ clocks: { queueSeconds: 100, startupSeconds: 0, runSeconds: 0 } });
    expect(outcome({ now: 11, run, memory: { loaded: new Set([1]) } })).toBe('record QueueDeadlineExceeded');
  });
});

describe('pauses between attempts', () => {
  test.each([
    [1, 10],
    [2, 20],
    [5, 160],
    [6, 300],
    [40, 300],
  ])('after %i failures: %i s', (failures, seconds) => {
    let run = aRun();
    for (let number = Math.max(1, failures - 15); number <= failures; number += 1)
      run = run.attempt({ number, finishedAt: at(0), reason: 'NodeLost' });
    expect(retryPause({ run: run.live(), now: ms(0) })).toBe(seconds * 1000);
  });

  test('suspensions do not make it longer', () => {
    const run = aRun()
      .attempt({ number: 1, finishedAt: at(0), reason: 'Suspended', counted: false })
      .attempt({ number: 2, finishedAt: at(0), reason: 'Suspended', counted: false })
      .attempt({ number: 3, finishedAt: at(0), reason: 'NodeLost' });
    expect(retryPause({ run: run.live(), now: ms(0) })).toBe(10_000);
  });
});

describe('a lost node does not hold up the next attempt', () => {
  const lost: Scene = {
    now: 400,
    run: failed,
    isPinned: true,
    pods: [aPod().running().deleting()],
    nodes: [aNode('node-1', { ready: false, since: 50 })],
  };

  test('its pod is removed by force when the profile’s patience is over', () => {
    expect(decided(lost)).toMatchObject({ do: 'forceDeletePod', pod: { uid: 'uid-pod-of-job-1-0' } });
    expect(decided({ ...lost, now: 300 })).toMatchObject({
      do: 'writeStatus',
      situation: { reason: 'WaitingForRetry' },
      againMs: 50_000,
    });
  });

  test('unless the profile says Wait', () => {
    const patient = aProfile().asking({ onNodeLost: 'Wait' });
    expect(outcome({ ...lost, profile: patient, pinned: patient })).toBe('say WaitingForRetry');
  });
});

describe('a finished run of the same runKey', () => {
  const record: RunRecord = {
    version: 1,
    clientRunId: 'c',
    namespace: 'team',
    namespaceUid: 'namespace-1',
    name: 'earlier',
    uid: 'another',
    state: 'Finished',
    status: { runId: 'run-7' },
  };
  const found = (more: Partial<RunRecord>) =>
    outcome({ run: aRun().keyed('k'), memory: { record: { ...record, ...more } }, isPinned: true });

  test('is adopted', () => {
    expect(found({})).toBe('adoptRecord');
  });

  test('that had not ended is no record', () => {
    expect(found({ state: 'Open' })).toBe('createJob');
  });

  test('in a namespace that was deleted and made again belongs to another tenant', () => {
    expect(found({ namespaceUid: 'namespace-0' })).toBe('createJob');
  });
});

describe('a pod of a suspended attempt', () => {
  const resumed = aRun()
    .pinnedTo('cpu', aProfile().view().digest)
    .attempt({ number: 1, jobUID: 'job-1', finishedAt: at(10), reason: 'Suspended', counted: false });
  const world = (goneBy: number) => {
    const made = aWorld({ now: 20, run: resumed, isPinned: true, pods: [aPod().running().deleting()] });
    return { ...made, pods: made.pods.map((pod) => ({ ...pod, goneBy: ms(goneBy) })) };
  };

  test('that still has minutes to upload is cut short: the process that stopped it may have died in between', () => {
    expect(decide(world(320))).toMatchObject({ do: 'hastenPod', pod: { uid: 'uid-pod-of-job-1-0' } });
  });

  test('that is about to go is waited for', () => {
    expect(decide(world(50)).do).not.toBe('hastenPod');
    expect(decide(world(50)).do).not.toBe('createJob');
  });
});

describe('a run that needs an approval', () => {
  const asks = { approval: { required: true } };
  const careful = aProfile().asking(asks);
  const waiting = decided({ profile: careful, reservation: 'none' });
  const digest = inputDigest(aRun().live().spec);
  const approved = (specDigest: string) =>
    aRun().annotated({ 'worldflux.ai/approve': specDigest, 'worldflux.ai/approved-by': 'ada' });

  test('waits, and says how it is given and for what', () => {
    expect(waiting).toMatchObject({ do: 'writeStatus', situation: { is: 'waiting', reason: 'AwaitingApproval' } });
    expect(JSON.stringify(waiting)).toContain(`worldflux.ai/approve=${digest}`);
  });

  test('asks for one itself where its profile does not', () => {
    expect(decided({ run: aRun().asking(asks), reservation: 'none' })).toMatchObject({
      situation: { reason: 'AwaitingApproval' },
    });
  });

  test('goes on once somebody approved this spec', () => {
    expect(decided({ profile: careful, run: approved(digest), reservation: 'none' })).toMatchObject({ do: 'reserve' });
  });

  test('does not go on with the approval of another spec', () => {
    expect(decided({ profile: careful, run: approved('sha256:other'), reservation: 'none' })).toMatchObject({
      situation: { reason: 'AwaitingApproval', message: expect.stringContaining('names another spec') },
    });
  });

  test('holds no place while it waits', () => {
    expect(decided({ profile: careful, reservation: { granted: true } })).toMatchObject({ do: 'release' });
  });
});
