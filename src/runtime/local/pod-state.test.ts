import { describe, expect, test } from 'vitest';
import { aPod, type PodBuilder } from './testing/a-pod.ts';
import { at } from './testing/clock.ts';
import type { OutcomeReason, WaitingReason } from '../../crds/vocabulary.ts';
import { projectPod } from './pod-state.ts';

describe('a pod that has not started', () => {
  const waits: [string, PodBuilder, WaitingReason, RegExp][] = [
    ['nobody has looked at it', aPod(), 'PodPreparing', /waits for the scheduler/],
    ['it has a node', aPod().scheduled(), 'PodPreparing', /node node-1/],
    ['no node can take it', aPod().unschedulable(), 'Unschedulable', /Insufficient nvidia.com\/gpu/],
    [
      'its image cannot be pulled',
      aPod().waiting('ErrImagePull', 'manifest unknown'),
      'ImagePullBackOff',
      /manifest unknown/,
    ],
    ['the kubelet pauses between pulls', aPod().waiting('ImagePullBackOff'), 'ImagePullBackOff', /ImagePullBackOff/],
    ['the image may not be pulled', aPod().waiting('ErrImageNeverPull', 'absent'), 'ImagePullBackOff', /absent/],
    [
      'a secret is missing',
      aPod().waiting('CreateContainerConfigError', 'secret "hf" not found'),
      'SecretMissing',
      /secret "hf"/,
    ],
    [
      'the runtime refuses',
      aPod().waiting('CreateContainerError', 'no space'),
      'PodPreparing',
      /CreateContainerError: no space/,
    ],
    [
      'the collector’s image cannot be pulled',
      aPod().collectorWaits('ErrImagePull', 'denied'),
      'ImagePullBackOff',
      /denied/,
    ],
    [
      'the collector crashes again and again',
      aPod().collectorWaits('CrashLoopBackOff', 'back-off 10s'),
      'PodPreparing',
      /CrashLoopBackOff/,
    ],
  ];
  test.each(waits)('%s', (_, pod, reason, message) => {
    expect(pod.state()).toEqual({ at: 'waiting', reason, message: expect.stringMatching(message) });
  });

  test('an image reference that cannot be parsed is hopeless', () => {
    expect(aPod().waiting('InvalidImageName', 'bad ref').state()).toMatchObject({
      at: 'waiting',
      hopeless: { reason: 'InvalidImageName', message: 'bad ref' },
    });
  });

  test('a source that could not be fetched ends it, in the words of the fetcher', () => {
    const fetched = aPod().sourceEnded(1, 'ref main: not found');
    const end = {
      at: 'ended',
      ok: false,
      reason: 'SourceFailed',
      message: 'ref main: not found',
      startedAt: undefined,
    };
    expect(fetched.state()).toMatchObject(end);
    expect(fetched.phase('Failed').state()).toMatchObject(end);
  });
});

test('a running pod tells since when', () => {
  expect(aPod().running(3).state()).toEqual({ at: 'running', startedAt: at(3) });
});

describe('how a container ended', () => {
  const run = aPod().running();
  const evicted = (message: string) => run.exited(137).phase('Failed', 'Evicted', message);
  const ends: [string, PodBuilder, OutcomeReason, RegExp][] = [
    ['with 0', run.exited(0), 'Completed', /exited with 0/],
    ['with 0, while the node drained', run.exited(0).disrupted('EvictionByEvictionAPI'), 'Completed', /./],
    ['with 3', run.exited(3), 'NonZeroExit', /exited with 3/],
    ['by SIGSEGV', run.exited(139), 'NonZeroExit', /signal 11/],
    ['with 255, which is no signal', run.exited(255), 'NonZeroExit', /exited with 255/],
    ['out of memory', run.exited(137, { reason: 'OOMKilled' }), 'OOMKilled', /spec\.resources\.limits\.memory/],
    ['out of memory in a child, with code 1', run.exited(1, { reason: 'OOMKilled' }), 'OOMKilled', /memory/],
    [
      'without its command',
      aPod().exited(128, { reason: 'StartError', message: 'exec: "trian.py": executable file not found in $PATH' }),
      'CommandNotFound',
      /trian\.py/,
    ],
    [
      'with a command that may not be executed',
      aPod().exited(126, { reason: 'ContainerCannotRun', message: 'permission denied: unknown' }),
      'CommandNotFound',
      /permission denied/,
    ],
    [
      'because the runtime could not start it',
      aPod().exited(128, { reason: 'StartError', message: 'cgroup gone' }),
      'StartFailed',
      /cgroup/,
    ],
    ['preempted', run.exited(143).disrupted('PreemptionByScheduler', 'by pod x').deleting(), 'Preempted', /by pod x/],
    ['drained', run.exited(143).disrupted('EvictionByEvictionAPI', 'drain').deleting(), 'Evicted', /drain/],
    ['by a node that shuts down', run.exited(143).disrupted('TerminationByKubelet', 'shutdown'), 'Evicted', /shutdown/],
    ['by a taint', run.exited(143).disrupted('DeletionByTaintManager', 'taint').deleting(), 'NodeLost', /taint/],
    ['unknown to its node', run.exited(137, { reason: 'ContainerStatusUnknown' }), 'NodeLost', /lost track/],
    ['by hand', run.exited(143).deleting(), 'ChildDeleted', /deleted/],
    ['at the pod’s deadline', run.exited(137).phase('Failed', 'DeadlineExceeded'), 'RunDeadlineExceeded', /deadline/],
    [
      'with too much output',
      evicted('Usage of EmptyDir volume "worldflux-output" exceeds the limit "1Gi".'),
      'OutputTooLarge',
      /worldflux-output/,
    ],
    [
      'with too much in its own layer',
      evicted('Container run exceeded its local ephemeral storage limit "1Gi". '),
      'OutputTooLarge',
      /1Gi/,
    ],
    [
      'with too much in all',
      evicted('Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. '),
      'OutputTooLarge',
      /1Gi/,
    ],
    [
      'because others filled the disk of the node',
      evicted('The node was low on resource: ephemeral-storage. Container run was using 28Ki, request is 0.'),
      'Evicted',
      /low on resource/,
    ],
    ['because the node ran out of memory', evicted('The node was low on resource: memory.'), 'Evicted', /memory/],
  ];
  test.each(ends)('%s', (_, pod, reason, message) => {
    const state = pod.state();
    expect(state).toMatchObject({
      at: 'ended',
      ok: reason === 'Completed',
      reason,
      message: expect.stringMatching(message),
    });
  });

  test('exit code and times are those of the container', () => {
    expect(aPod().running(4).exited(3, { at: 9 }).state()).toMatchObject({
      exitCode: 3,
      startedAt: at(4),
      finishedAt: at(9),
    });
  });
});

describe('a pod that ended without a word from its container', () => {
  const ends: [string, PodBuilder, OutcomeReason][] = [
    [
      'the kubelet evicted it before it started',
      aPod().scheduled().phase('Failed', 'Evicted', 'The node was low on resource: memory.'),
      'Evicted',
    ],
    [
      'its deadline came while it pulled',
      aPod().scheduled().phase('Failed', 'DeadlineExceeded'),
      'StartupDeadlineExceeded',
    ],
    ['somebody deleted it before it started', aPod().scheduled().phase('Failed').deleting(), 'ChildDeleted'],
    ['nobody says why', aPod().scheduled().phase('Failed'), 'PodFailed'],
    ['the node refused it', aPod().scheduled().phase('Failed', 'UnexpectedAdmissionError', 'no device'), 'PodFailed'],
    ['it succeeded', aPod().scheduled().phase('Succeeded'), 'Completed'],
  ];
  test.each(ends)('%s', (_, pod, reason) => {
    expect(pod.state()).toMatchObject({ at: 'ended', reason, startedAt: undefined });
  });

  test('the pod garbage collector ended it after its node was gone: the time it ran still counts', () => {
    const lost = aPod().running(5).phase('Failed').disrupted('DeletionByPodGC', 'node gone');
    expect(lost.state()).toMatchObject({ at: 'ended', reason: 'NodeLost', message: 'node gone', startedAt: at(5) });
  });
});

test.each([
  ['ghcr.io/acme/wm@sha256:' + 'b'.repeat(64), 'sha256:' + 'b'.repeat(64)],
  ['docker-pullable://acme/wm@sha256:' + 'c'.repeat(64), 'sha256:' + 'c'.repeat(64)],
  // The id of a local image is no digest that a registry knows.
  ['sha256:' + 'd'.repeat(64), undefined],
  ['', undefined],
])('image id %s is digest %s', (imageID, digest) => {
  const pod = aPod().running().build();
  pod.status!.containerStatuses![0]!.imageID = imageID;
  expect(projectPod(pod, { runUid: 'run' }).imageDigest).toBe(digest);
});
