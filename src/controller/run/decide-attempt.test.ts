import { describe, expect, test } from 'vitest';
import type { OutcomeReason } from '../../crds/vocabulary.ts';
import type { Decision } from './decision.ts';
import { aPod, type PodBuilder } from '../../runtime/local/testing/a-pod.ts';
import { at, ms } from '../../runtime/local/testing/clock.ts';
import { aJob } from '../testing/a-job.ts';
import { aProfile } from '../testing/a-profile.ts';
import { aRun, type RunBuilder } from '../testing/a-run.ts';
import { aNode, aResult, collected, decided as decidedIn, type Scene } from '../testing/a-world.ts';

const DIGEST = aProfile().view().digest;
const RUNNING = { is: 'running', message: 'The container runs.' } as const;

/** A run whose first attempt is seen to run. */
const running = aRun()
  .pinnedTo('cpu', DIGEST)
  .attempt({ number: 1, jobUID: 'job-1', podSetStartedAt: at(0), node: 'node-1', startedAt: at(2) })
  .saying(RUNNING, 2);
const job = aJob().started();
const preparing = aPod().scheduled().view();
const silent = aProfile().withoutCollector();
const rank = (n: number) => aPod().ofRank(n).running(2);
/** The log is not to be had. */
const noLog = {
  logTries: new Map([
    [0, 3],
    [1, 3],
  ]),
};

/** Where nothing else is said, the pods were read live: what the caches show is so. */
const decided = (scene: Scene): Decision =>
  decidedIn({ ...scene, memory: { podsRead: new Set(['job-1', 'job-2']), ...scene.memory } });
/** Nobody has read them. */
const unread = { podsRead: new Set<string>() };

function outcome(scene: Scene): string {
  const decision = decided(scene);
  if (decision.do === 'writeStatus')
    return 'reason' in decision.situation ? `say ${decision.situation.reason}` : `say ${decision.situation.is}`;
  if (decision.do === 'record') return `record ${decision.ending.reason}`;
  if (decision.do === 'closeAttempt') return `close ${decision.attempt.reason}`;
  return decision.do;
}

describe('before it runs', () => {
  const waits: [string, Scene, string][] = [
    ['a moment without pods is nothing', { now: 1, jobs: [job] }, 'nothing'],
    ['then the Job’s events are asked', { now: 5, jobs: [job] }, 'askWhyNoPods'],
    [
      'what they say is said',
      { now: 6, jobs: [job], memory: { jobTrouble: { jobUid: 'job-1', message: 'exceeded quota', at: ms(5) } } },
      'say JobRefused',
    ],
    [
      'nothing is said of it',
      { now: 6, jobs: [job], memory: { jobTrouble: { jobUid: 'job-1', message: '', at: ms(5) } } },
      'say PodPreparing',
    ],
    [
      'and asked again after half a minute',
      { now: 35, jobs: [job], memory: { jobTrouble: { jobUid: 'job-1', message: '', at: ms(5) } } },
      'askWhyNoPods',
    ],
    ['a normal start is not worth a word', { now: 7, jobs: [job], pods: [aPod().scheduled()] }, 'nothing'],
    ['a long one is: the kubelet is asked why', { now: 8, jobs: [job], pods: [aPod().scheduled()] }, 'askWhyPodWaits'],
    ...(
      [
        ['and when it says nothing, that is said', '', 'say PodPreparing'],
        ['a volume that cannot be mounted is said', 'MountVolume.SetUp failed for volume "data"', 'say PodPreparing'],
        ['a Secret that is missing is said', 'Error: secret "hf" not found', 'say SecretMissing'],
        ['a key that is missing is said', "couldn't find key token in Secret team/hf", 'say SecretMissing'],
      ] as const
    ).map(([name, message, expected]): [string, Scene, string] => [
      name,
      {
        now: 8,
        jobs: [job],
        pods: [aPod().scheduled()],
        memory: { podTrouble: { podUid: preparing.uid, message, at: ms(8) } },
      },
      expected,
    ]),
    [
      'Unschedulable is said within seconds',
      { now: 2, jobs: [job], pods: [aPod().unschedulable()] },
      'say Unschedulable',
    ],
    [
      'a missing secret at once',
      { now: 2, jobs: [job], pods: [aPod().waiting('CreateContainerConfigError', 'secret x')] },
      'say SecretMissing',
    ],
    [
      'a failing pull at once',
      { now: 2, jobs: [job], pods: [aPod().waiting('ErrImagePull', 'x')] },
      'say ImagePullBackOff',
    ],
    ['a queue’s wait', { jobs: [aJob().inQueue('q').suspended()] }, 'say Queued'],
    [
      'of several pods the worst wait is said',
      { now: 9, run: aRun().onNodes(2), jobs: [job], pods: [aPod().scheduled(), aPod().ofRank(1).unschedulable()] },
      'say Unschedulable',
    ],
    [
      'it runs when all nodes run',
      { now: 9, run: aRun().onNodes(2), jobs: [job], pods: [aPod().running(), aPod().ofRank(1).running()] },
      'say running',
    ],
  ];
  test.each(waits)('%s', (_, scene, expected) => {
    expect(outcome(scene)).toBe(expected);
  });

  test('a wait in a queue says which one, and where it says why', () => {
    expect(decided({ jobs: [aJob().inQueue('team-a').suspended()] })).toMatchObject({
      situation: { message: expect.stringMatching(/queue team-a .*-n team .*job-uid=job-1$/) as string },
    });
    expect(decided({ jobs: [aJob().suspended()] })).toMatchObject({
      situation: { reason: 'Queued', message: expect.stringContaining('in no queue') as string },
    });
  });

  test('a running attempt is shown with node, start and Job', () => {
    expect(decided({ now: 3, jobs: [job], pods: [aPod().running(2)] })).toMatchObject({
      do: 'writeStatus',
      attempt: {
        number: 1,
        jobUID: 'job-1',
        podSetStartedAt: at(0),
        node: 'node-1',
        startedAt: '2026-11-20T10:00:02.000Z',
      },
    });
  });

  test('what the status says is not written again', () => {
    expect(decided({ now: 3, run: running, jobs: [job], pods: [aPod().running(2)] })).toEqual({
      do: 'nothing',
      againMs: 14_400_000 - 1000,
    });
  });

  test('progress is written at most every half a minute, and the last word of it is not lost', () => {
    const scene: Scene = {
      run: running,
      jobs: [job],
      pods: [aPod().running(2)],
      memory: { wroteAt: ms(3) },
      results: { progress: { percent: 50, updatedAt: at(5) } },
    };
    expect(decided({ ...scene, now: 6 })).toEqual({ do: 'nothing', againMs: 27_000 });
    expect(outcome({ ...scene, now: 33 })).toBe('say running');
  });
});

describe('three clocks', () => {
  const run = aRun().within({ queueSeconds: 100, startupSeconds: 50, runSeconds: 200, uploadSeconds: 10 });
  const started = running.within({ queueSeconds: 100, startupSeconds: 50, runSeconds: 200, uploadSeconds: 10 });
  const ends: [string, Scene, OutcomeReason][] = [
    ['no node took it', { now: 100, run, jobs: [job], pods: [aPod().unschedulable()] }, 'QueueDeadlineExceeded'],
    ['its queue never took it', { now: 100, run, jobs: [aJob().suspended()] }, 'QueueDeadlineExceeded'],
    [
      'the image never came',
      { now: 61, run, jobs: [job], pods: [aPod().scheduled(10).waiting('ImagePullBackOff')] },
      'ImagePullFailed',
    ],
    ['the start took too long', { now: 61, run, jobs: [job], pods: [aPod().scheduled(10)] }, 'StartupDeadlineExceeded'],
    [
      'the run took too long',
      { now: 202, run: started, profile: silent, jobs: [job], pods: [aPod().running(2)] },
      'RunDeadlineExceeded',
    ],
  ];
  test.each(ends)('%s', (_, scene, reason) => {
    expect(outcome(scene)).toBe(`record ${reason}`);
    expect(outcome({ ...scene, now: scene.now! - 2 })).not.toMatch(/^record/);
  });

  test('the deadline names the last thing that was seen', () => {
    const decision = decided({ now: 100, run, jobs: [job], pods: [aPod().unschedulable('0/3 nodes')] });
    expect(decision).toMatchObject({ ending: { message: expect.stringContaining('Last seen: 0/3 nodes') } });
  });

  test('each is looked at when it is due', () => {
    expect(decided({ now: 10, run, jobs: [job], pods: [aPod().unschedulable()] })).toMatchObject({ againMs: 90_000 });
    const asked = { podTrouble: { podUid: preparing.uid, message: '', at: ms(30) } };
    expect(decided({ now: 30, run, jobs: [job], pods: [aPod().scheduled(10)], memory: asked })).toMatchObject({
      againMs: 30_000,
    });
    expect(decided({ now: 52, run: started, jobs: [job], pods: [aPod().running(2)] })).toMatchObject({
      againMs: 150_000,
    });
  });

  test('what earlier attempts used counts', () => {
    const second = started
      .status({ clocks: { queueSeconds: 0, startupSeconds: 0, runSeconds: 150 } })
      .attempt({ number: 1, jobUID: 'job-1', finishedAt: at(10), reason: 'NodeLost' });
    const scene: Scene = {
      run: second,
      profile: silent,
      jobs: [aJob().ofAttempt(2).started(20)],
      pods: [aPod().ofJob('job-2').running(30)],
    };
    expect(outcome({ ...scene, now: 79 })).not.toMatch(/^record/);
    expect(outcome({ ...scene, now: 80 })).toBe('record RunDeadlineExceeded');
  });
});

describe('how it ends by itself', () => {
  const pod = aPod().running(2);
  const ended = (more: PodBuilder, scene: Scene = {}): Scene => ({
    now: 20,
    run: running,
    jobs: [job],
    pods: [more],
    ...scene,
  });
  const done: Partial<Scene> = { results: collected() };

  const ends: [string, Scene, string][] = [
    ['well', ended(pod.exited(0), done), 'record Completed'],
    [
      'well, though the node drained at that moment',
      ended(pod.exited(0).disrupted('EvictionByEvictionAPI'), done),
      'record Completed',
    ],
    ['with exit code 3', ended(pod.exited(3), done), 'record NonZeroExit'],
    ['out of memory', ended(pod.exited(137, { reason: 'OOMKilled' }), done), 'record OOMKilled'],
    [
      'without its command',
      ended(aPod().exited(128, { reason: 'StartError', message: 'executable file not found' }), done),
      'record CommandNotFound',
    ],
    ['evicted', ended(pod.exited(143).disrupted('EvictionByEvictionAPI'), done), 'record Evicted'],
    [
      'with too much output',
      ended(
        pod
          .exited(137)
          .phase('Failed', 'Evicted', 'Usage of EmptyDir volume "worldflux-output" exceeds the limit "1Gi".'),
        done,
      ),
      'record OutputTooLarge',
    ],
    ['deleted by hand', ended(pod.exited(143).deleting(), done), 'record ChildDeleted'],
    [
      'preempted, which is retried if there is a try left',
      { ...ended(pod.exited(143).disrupted('PreemptionByScheduler'), done), run: running.retrying(2) },
      'close Preempted',
    ],
    ['preempted at the last try', ended(pod.exited(143).disrupted('PreemptionByScheduler'), done), 'record Preempted'],
    [
      'with 3, which is not retried unless asked',
      { ...ended(pod.exited(3), done), run: running.retrying(2) },
      'record NonZeroExit',
    ],
    ['with 3, asked', { ...ended(pod.exited(3), done), run: running.retrying(2, 'NonZeroExit') }, 'close NonZeroExit'],
    [
      'well, whatever is asked of retries',
      { ...ended(pod.exited(0), done), run: running.retrying(9, 'NonZeroExit') },
      'record Completed',
    ],
    [
      'cancelled too late: it had ended',
      { ...ended(pod.exited(0), done), run: running.cancelled() },
      'record Completed',
    ],
    [
      'failed and cancelled: no retry',
      { ...ended(pod.exited(3), done), run: running.retrying(2, 'NonZeroExit').cancelled() },
      'record NonZeroExit',
    ],
    [
      'an image that cannot be',
      { now: 3, jobs: [job], pods: [aPod().waiting('InvalidImageName', 'x')] },
      'record InvalidImageName',
    ],
    [
      'a source that cannot be had',
      { now: 3, jobs: [job], pods: [aPod().sourceEnded(1, 'no such ref')] },
      'record SourceFailed',
    ],
  ];
  test.each(ends)('%s', (_, scene, expected) => {
    expect(outcome(scene)).toBe(expected);
  });

  test('what is recorded: exit code, times, clocks, image, commit', () => {
    const scene = ended(pod.sourceEnded(0, 'a'.repeat(40)).exited(3, { at: 9 }), done);
    expect(decided(scene)).toMatchObject({
      ending: {
        status: 'failed',
        exitCode: 3,
        resultsOf: 1,
        attempt: {
          number: 1,
          exitCode: 3,
          startedAt: at(2),
          finishedAt: '2026-11-20T10:00:09.000Z',
          reason: 'NonZeroExit',
          node: 'node-1',
        },
        clocks: { queueSeconds: 1, startupSeconds: 1, runSeconds: 7 },
        imageDigest: `sha256:${'a'.repeat(64)}`,
        sourceCommit: 'a'.repeat(40),
      },
    });
  });

  test('sixteen suspensions take no try away', () => {
    let run = running.retrying(2, 'NonZeroExit');
    for (let number = 1; number <= 15; number += 1)
      run = run.attempt({ number, jobUID: `old-${number}`, finishedAt: at(0), reason: 'Suspended', counted: false });
    run = run.attempt({ number: 16, jobUID: 'job-1', startedAt: at(2) });
    expect(outcome({ ...ended(pod.exited(3), done), run })).toBe('close NonZeroExit');
  });
});

describe('several nodes', () => {
  const two = running.onNodes(2);
  const scene = (...pods: PodBuilder[]): Scene => ({
    now: 20,
    run: two,
    jobs: [job],
    pods,
    results: collected(),
    memory: noLog,
  });

  test('one that fails ends it; the first is the cause', () => {
    const decision = decided(scene(rank(0).exited(143, { at: 11 }).deleting(), rank(1).exited(3, { at: 10 })));
    expect(decision).toMatchObject({ ending: { reason: 'NonZeroExit', exitCode: 3 } });
  });

  test('within one second, the deleted one is the consequence', () => {
    const decision = decided(scene(rank(0).exited(143, { at: 10 }).deleting(), rank(1).exited(3, { at: 10 })));
    expect(decision).toMatchObject({ ending: { reason: 'NonZeroExit', exitCode: 3 } });
  });

  test('it has not ended before all have', () => {
    expect(outcome(scene(rank(0).exited(0), rank(1)))).toBe('nothing');
    expect(outcome(scene(rank(0).exited(0), rank(1).exited(0)))).toBe('record Completed');
  });

  test('one that is done does not stop the clock of one that hangs', () => {
    const hangs = scene(rank(0).exited(0), rank(1));
    expect(outcome({ ...hangs, run: two.within({ runSeconds: 60 }), now: 63 })).toBe('record RunDeadlineExceeded');
  });

  test('with ranks: All every rank’s results are waited for', () => {
    const run = two.asking({ outputs: { ranks: 'All' } });
    const all = { ...scene(rank(0).exited(0), rank(1).exited(0)), run, memory: noLog };
    expect(outcome(all)).toBe('say collecting');
    expect(outcome({ ...all, results: collected(aResult(0), aResult(1)) })).toBe('record Completed');
  });
});

describe('results', () => {
  const over = aPod().running(2).exited(0, { at: 10 });
  const scene: Scene = { now: 16, run: running, jobs: [job], pods: [over] };

  test('are waited for while the collector works, which is said only if it lasts', () => {
    expect(decided({ ...scene, now: 12 })).toEqual({ do: 'nothing', againMs: 3000 });
    expect(outcome(scene)).toBe('say collecting');
    expect(outcome({ ...scene, results: collected() })).toBe('record Completed');
  });

  test('in a termination message are second best: the whole may lie in the store, taken by another process', () => {
    const message = { ...scene, results: collected(aResult(0, { via: 'TerminationMessage' })) };
    expect(decided(message)).toEqual({ do: 'loadResults', attempt: 1 });
    expect(outcome({ ...message, memory: { loaded: new Set([1]) } })).toBe('record Completed');
    const cancelled = { ...message, run: running.cancelled(), pods: [aPod().running(2)] };
    expect(decided(cancelled)).toEqual({ do: 'loadResults', attempt: 1 });
    expect(outcome({ ...cancelled, memory: { loaded: new Set([1]) } })).toBe('record Cancelled');
  });

  test('are not waited for beyond the time to upload', () => {
    const run = running.within({ uploadSeconds: 60 });
    expect(outcome({ ...scene, run, now: 99, memory: { ...noLog, loaded: new Set([1]) } })).toBe('say collecting');
    expect(outcome({ ...scene, run, now: 101, memory: { ...noLog, loaded: new Set([1]) } })).toBe('record Completed');
  });

  test('are read back from the store when the collector is gone, and nothing is known of them', () => {
    const gone = { ...scene, pods: [over.collectorEnded().phase('Succeeded')] };
    expect(decided(gone)).toEqual({ do: 'loadResults', attempt: 1 });
    expect(outcome({ ...gone, memory: { loaded: new Set([1]) } })).toBe('finishLog');
    expect(outcome({ ...gone, memory: { ...noLog, loaded: new Set([1]) } })).toBe('record Completed');
  });

  test('the log is read to its end before the last word, of this attempt’s pod', () => {
    const old = aPod().ofJob('job-0').running(1).exited(1);
    const results = { results: collected().results };
    expect(decided({ ...scene, pods: [old, over], results })).toMatchObject({
      do: 'finishLog',
      attempt: 1,
      pod: { uid: 'uid-pod-of-job-1-0' },
    });
  });

  test('without a collector the end of the Job is the end', () => {
    const quiet: Scene = { ...scene, profile: silent };
    expect(outcome({ ...quiet, now: 11 })).toBe('nothing');
    expect(outcome({ ...quiet, jobs: [job.complete(11)] })).toBe('record Completed');
    expect(outcome({ ...quiet, jobs: [job.complete(11)], pods: [] })).toBe('record Completed');
  });
});

describe('stopped by the operator', () => {
  const scene: Scene = { now: 20, jobs: [job], pods: [aPod().running(2)] };
  const stops: [string, RunBuilder, string][] = [
    ['cancel', running.cancelled(), 'record Cancelled'],
    ['suspend', running.suspended(), 'close Suspended'],
    ['the run’s deadline', running.within({ runSeconds: 10 }), 'record RunDeadlineExceeded'],
  ];

  test.each(stops)('%s: results are asked for, waited for, and only then it ends', (_, run, end) => {
    const steps = { ...scene, run };
    expect(outcome(steps)).toBe('loadResults');
    expect(outcome({ ...steps, memory: { loaded: new Set([1]) } })).toBe('requestCollect');
    const asked = { ...noLog, collectSince: ms(20) };
    expect(outcome({ ...steps, memory: asked })).toBe('say stopping');
    expect(outcome({ ...steps, memory: asked, results: collected() })).toBe(end);
    // Another replica may have taken them while it knew of no leader.
    expect(outcome({ ...steps, now: 320, memory: asked })).toBe('loadResults');
    expect(outcome({ ...steps, now: 320, memory: { ...asked, loaded: new Set([1]) } })).toBe(end);
  });

  test.each(stops)('%s: nothing to collect, nothing to wait for', (_, run, end) => {
    expect(outcome({ ...scene, run, profile: silent, pinned: silent })).toBe(end);
  });

  test('before it runs there is nothing to collect either', () => {
    expect(outcome({ run: aRun().cancelled(), jobs: [job], pods: [aPod().scheduled()] })).toBe('record Cancelled');
    expect(outcome({ run: aRun().suspended(), jobs: [job], pods: [aPod().unschedulable()] })).toBe('close Suspended');
  });

  test('a suspended attempt does not count, and the time it ran does', () => {
    expect(decided({ ...scene, run: running.suspended(), profile: silent, pinned: silent })).toMatchObject({
      attempt: { reason: 'Suspended', counted: false, finishedAt: expect.any(String) as string },
      clocks: { runSeconds: 18 },
      situation: { reason: 'Suspended' },
    });
  });
});

describe('what a lagging cache of pods cannot hide', () => {
  test('before it is stopped, or closed while pods seem to live, they are read', () => {
    const waits: Scene = { run: aRun().cancelled(), jobs: [job], pods: [aPod().scheduled()], memory: unread };
    expect(outcome(waits)).toBe('readPods');
    expect(outcome({ ...waits, pods: [aPod().running(2)] })).toBe('readPods');
    const failed: Scene = { now: 20, run: running.onNodes(2), jobs: [job], pods: [rank(1).exited(3)], memory: unread };
    expect(outcome(failed)).toBe('readPods');
  });

  test('what ended and was seen to end is not read again', () => {
    const scene: Scene = {
      now: 20,
      run: running,
      jobs: [job],
      pods: [aPod().running(2).exited(3)],
      results: collected(),
    };
    expect(outcome({ ...scene, memory: unread })).toBe('record NonZeroExit');
  });

  test('without a collector nothing can be lost, and nothing is read', () => {
    const scene: Scene = { run: aRun().cancelled(), profile: silent, jobs: [job], pods: [aPod().scheduled()] };
    expect(outcome({ ...scene, memory: unread })).toBe('record Cancelled');
  });
});

describe('a queue that takes the place back', () => {
  test('a pod that went may be its doing: the Job is read before anything is concluded', () => {
    const scene: Scene = {
      now: 20,
      run: running,
      jobs: [job.inQueue('q')],
      pods: [aPod().running(2).exited(143).deleting()],
      results: collected(),
    };
    expect(outcome(scene)).toBe('readJob');
    expect(outcome({ ...scene, memory: { jobRead: 'job-1' } })).toBe('record ChildDeleted');
    expect(outcome({ ...scene, jobs: [job] })).toBe('record ChildDeleted');
  });

  test('pods older than the Job’s start are of the start before', () => {
    const old = aPod().createdAt(0).scheduled().deleting().phase('Failed');
    expect(outcome({ now: 60, jobs: [aJob().started(50)], pods: [old] })).toBe('close Requeued');
  });

  const evicted: Scene = {
    now: 20,
    run: running,
    jobs: [aJob().evictedByQueue()],
    pods: [aPod().running(2).exited(143, { at: 19 }).deleting()],
    results: collected(),
    memory: noLog,
  };

  test('closes the attempt; the next one waits on the same Job', () => {
    expect(decided(evicted)).toMatchObject({
      do: 'closeAttempt',
      attempt: { number: 1, reason: 'Requeued', counted: false },
      situation: { reason: 'Queued' },
      clocks: { runSeconds: 17 },
    });
  });

  test('also while the Job still has its old start time', () => {
    expect(outcome({ ...evicted, jobs: [job.suspended()] })).toBe('close Requeued');
  });

  test('leaves the command its grace period first, and says so if that lasts', () => {
    const run = running.within({ uploadSeconds: 10 });
    const dying = [aPod().running(2).deleting()];
    expect(decided({ ...evicted, run, now: 1, pods: dying })).toEqual({ do: 'nothing', againMs: 3000 });
    expect(outcome({ ...evicted, run, pods: dying })).toBe('say stopping');
    expect(outcome({ ...evicted, run, now: 40, pods: dying })).toBe('close Requeued');
    expect(outcome({ ...evicted, profile: silent, pods: dying })).toBe('close Requeued');
  });

  test('leaves nothing of it behind: results and log come first, within the time for an upload', () => {
    const run = running.within({ uploadSeconds: 10 });
    const none = { results: new Map() };
    expect(outcome({ ...evicted, run, results: none })).toBe('nothing');
    expect(outcome({ ...evicted, run, results: none, now: 60 })).toBe('loadResults');
    expect(outcome({ ...evicted, run, results: none, now: 60, memory: { ...noLog, loaded: new Set([1]) } })).toBe(
      'close Requeued',
    );
    expect(outcome({ ...evicted, run, results: { ...collected(), logs: new Map() }, memory: {} })).toBe('finishLog');
  });

  test('also before it was seen to run', () => {
    const before: Scene = {
      now: 20,
      jobs: [aJob().evictedByQueue()],
      pods: [aPod().scheduled().deleting().phase('Failed')],
    };
    expect(outcome(before)).toBe('close Requeued');
  });

  test('also when the eviction itself was missed and the Job has another start', () => {
    const decision = decided({
      now: 60,
      run: running,
      jobs: [aJob().started(50)],
      pods: [aPod().uid('new').createdAt(50).running(55)],
    });
    expect(decision).toMatchObject({
      do: 'closeAttempt',
      attempt: { reason: 'Requeued', finishedAt: '2026-11-20T10:00:50.000Z' },
    });
  });

  test('a Job that a lagging cache still shows suspended is not taken for evicted', () => {
    expect(outcome({ now: 3, jobs: [aJob().suspended()], pods: [aPod().running(2)] })).toBe('say running');
  });

  const requeued = running.attempt({
    number: 1,
    jobUID: 'job-1',
    podSetStartedAt: at(0),
    startedAt: at(2),
    finishedAt: at(20),
    reason: 'Requeued',
    counted: false,
  });

  test('pods of the start before are not looked at', () => {
    const old = [aPod().running(2).exited(143).deleting(), aPod().uid('x').running(2).gone()];
    expect(outcome({ now: 30, run: requeued, jobs: [aJob().suspended()], pods: old })).toBe('say Queued');
  });

  test('what it had left is what the run has, if it ends before its next start', () => {
    const scene: Scene = { now: 30, run: requeued.cancelled(), jobs: [aJob().suspended()] };
    expect(decided(scene)).toEqual({ do: 'loadResults', attempt: 1 });
    expect(decided({ ...scene, memory: { loaded: new Set([1]) } })).toMatchObject({
      do: 'record',
      ending: { reason: 'Cancelled', resultsOf: 1 },
    });
  });

  test('the next start runs under the next number', () => {
    const next = aPod().uid('next').createdAt(40).running(42);
    expect(decided({ now: 50, run: requeued, jobs: [aJob().started(40)], pods: [next] })).toMatchObject({
      do: 'writeStatus',
      attempt: { number: 2, jobUID: 'job-1', podSetStartedAt: at(40) },
    });
  });
});

describe('a Job that ends before its pods say why', () => {
  const failed = job.failed(12);

  test('is given a moment, then its pods are read', () => {
    expect(decided({ now: 12.4, run: running, jobs: [failed], pods: [], memory: unread })).toEqual({
      do: 'nothing',
      againMs: 600,
    });
    expect(outcome({ now: 14, run: running, jobs: [failed], pods: [], memory: unread })).toBe('readPods');
    expect(outcome({ now: 14, run: running, jobs: [failed], pods: [aPod().running(2)], memory: unread })).toBe(
      'readPods',
    );
    expect(outcome({ now: 14, run: running, jobs: [job.complete(12)], pods: [], memory: unread })).toBe('readPods');
  });

  const read = { ...noLog, podsRead: new Set(['job-1']), loaded: new Set([1]) };

  test('a pod that is really gone was deleted', () => {
    expect(decided({ now: 14, run: running, jobs: [failed], pods: [], memory: read })).toMatchObject({
      ending: { reason: 'ChildDeleted', message: expect.stringContaining('PodFailurePolicy') },
    });
    expect(outcome({ now: 14, run: running, jobs: [failed], pods: [aPod().running(2).gone()], memory: read })).toBe(
      'record ChildDeleted',
    );
  });

  test('a pod that still runs is about to say it', () => {
    expect(outcome({ now: 14, run: running, jobs: [failed], pods: [aPod().running(2)], memory: read })).toBe('nothing');
  });

  test.each([
    ['Pod team/x has condition DisruptionTarget matching FailJob rule at index 0', 'Preempted'],
    ['Container run for pod team/x failed with exit code 3 matching FailJob rule at index 1', 'NonZeroExit'],
    ['Container run for pod team/x failed with exit code 143 matching FailJob rule at index 1', 'ChildDeleted'],
  ])('of pods that went unseen, the Job’s words are what is left: %s', (message, reason) => {
    const words = job.failed(12, 'PodFailurePolicy', message);
    expect(outcome({ now: 14, run: running, jobs: [words], pods: [], memory: read })).toBe(`record ${reason}`);
  });

  test('a Job that is complete without pods is complete', () => {
    expect(outcome({ now: 14, run: running, jobs: [job.complete(12)], pods: [], memory: read })).toBe(
      'record Completed',
    );
  });

  test('after a restart the status still knows since when it ran', () => {
    const decision = decided({ now: 14, run: running, jobs: [failed], pods: [], memory: read });
    expect(decision).toMatchObject({ ending: { clocks: { runSeconds: 12 }, attempt: { startedAt: at(2) } } });
  });
});

describe('a node that does not answer', () => {
  const lost: Scene = {
    now: 400,
    run: running,
    jobs: [job],
    pods: [aPod().running(2)],
    nodes: [aNode('node-1', { ready: false, since: 50 })],
  };
  const marked = running.attempt({
    number: 1,
    jobUID: 'job-1',
    node: 'node-1',
    startedAt: at(2),
    reason: 'NodeLost',
    message: 'Node node-1',
  });

  test('is waited for as long as the profile says', () => {
    expect(decided({ ...lost, now: 100 })).toEqual({ do: 'nothing', againMs: 250_000 });
  });

  test('then the status says it, then the pod goes, then the attempt ends', () => {
    expect(decided(lost)).toMatchObject({
      do: 'writeStatus',
      attempt: { reason: 'NodeLost', message: 'Node node-1 has not answered for 300 s.' },
    });
    expect(outcome({ ...lost, run: marked })).toBe('forceDeletePod');
    const gone = { ...lost, run: marked, pods: [aPod().running(2).gone()], memory: { ...noLog, loaded: new Set([1]) } };
    expect(outcome(gone)).toBe('record NodeLost');
    expect(outcome({ ...gone, run: marked.retrying(2) })).toBe('close NodeLost');
  });

  test('a process that died in between, and comes back without the pod, still says NodeLost', () => {
    expect(
      outcome({ ...lost, run: marked, jobs: [job.failed(400)], pods: [], memory: { ...noLog, loaded: new Set([1]) } }),
    ).toBe('record NodeLost');
  });

  test('is not the run’s matter when its pod has ended, when the node is gone, or when the profile waits', () => {
    expect(outcome({ ...lost, pods: [aPod().running(2).exited(0)], results: collected() })).toBe('record Completed');
    expect(outcome({ ...lost, nodes: [] })).toBe('nothing');
    const patient = aProfile().asking({ onNodeLost: 'Wait' });
    expect(outcome({ ...lost, profile: patient, pinned: patient })).toBe('nothing');
  });

  test('an old attempt’s pod on a lost node makes nobody look ten times a second', () => {
    const second = running
      .attempt({ number: 1, jobUID: 'job-0', finishedAt: at(1), reason: 'NodeLost' })
      .attempt({ number: 2, jobUID: 'job-2', startedAt: at(2) });
    const scene: Scene = {
      ...lost,
      run: second,
      jobs: [aJob().ofAttempt(2).started()],
      pods: [aPod().running(1).exited(1), aPod().ofJob('job-2').scheduled(1, 'node-2').running(2)],
    };
    expect(decided(scene)).toMatchObject({ againMs: expect.toSatisfy((again: number) => again > 60_000) as number });
  });
});

describe('a list of attempts that was emptied by hand', () => {
  test('the newest Job is the present attempt, nothing starts beside it', () => {
    const wiped = aRun().pinnedTo('cpu', DIGEST).status({ attemptCount: 2, attempts: [] });
    const jobs = [job.failed(5), aJob().ofAttempt(2).started(20)];
    const pods = [aPod().running(1).exited(3), aPod().ofJob('job-2').running(22)];
    expect(decided({ now: 30, run: wiped, jobs, pods })).toMatchObject({
      do: 'writeStatus',
      attempt: { number: 2, jobUID: 'job-2' },
    });
  });
});

describe('a Job that is gone', () => {
  const scene: Scene = { now: 20, run: running, jobs: [], pods: [aPod().running(2).gone()] };
  const sure = { ...noLog, gone: new Set(['job-1']), loaded: new Set([1]) };

  test('is believed only after a live read', () => {
    expect(decided(scene)).toMatchObject({
      do: 'confirmJobGone',
      uid: 'job-1',
      name: expect.stringMatching(/^pendulum-[0-9a-f]{8}-1$/) as string,
    });
    expect(outcome({ ...scene, run: aRun(), memory: { seenJob: { uid: 'job-1', number: 1 } } })).toBe('confirmJobGone');
  });

  test('is looked for under the name of the attempt that made it', () => {
    const requeued = running
      .attempt({ number: 1, jobUID: 'job-1', finishedAt: at(5), reason: 'Requeued', counted: false })
      .attempt({ number: 2, jobUID: 'job-1', startedAt: at(9) });
    expect(decided({ ...scene, run: requeued })).toMatchObject({ name: expect.stringMatching(/-1$/) as string });
  });

  test('ends the run, and is never made again', () => {
    expect(outcome({ ...scene, memory: sure })).toBe('record ChildDeleted');
    expect(outcome({ ...scene, run: running.retrying(5), memory: sure })).toBe('record ChildDeleted');
    expect(outcome({ ...scene, run: running.cancelled(), memory: sure })).toBe('record Cancelled');
    expect(outcome({ ...scene, run: running.suspended(), memory: sure })).toBe('record ChildDeleted');
  });

  test('what its pods still upload is waited for, within the bound', () => {
    const dying = {
      ...scene,
      pods: [aPod().running(2).deleting()],
      memory: { ...sure, logTries: new Map<number, number>() },
    };
    expect(outcome(dying)).toBe('requestCollect');
    expect(outcome({ ...dying, now: 26, memory: { ...dying.memory, collectSince: ms(20) } })).toBe('say collecting');
    expect(
      outcome({ ...dying, now: 26, memory: { ...dying.memory, collectSince: ms(20) }, results: collected() }),
    ).toBe('record ChildDeleted');
    expect(outcome({ ...dying, now: 400, memory: { ...sure, collectSince: ms(20) } })).toBe('record ChildDeleted');
  });

  test('a Job that this attempt is not about is no substitute', () => {
    expect(outcome({ ...scene, jobs: [aJob().ofAttempt(7)] })).toBe('confirmJobGone');
  });
});
