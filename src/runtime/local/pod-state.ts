import type { V1ContainerStatus, V1Pod } from '@kubernetes/client-node';
import type { Wire } from '../../kube/resource.ts';
import type { OutcomeReason, WaitingReason } from '../../crds/vocabulary.ts';

/** From what the kubelet and the scheduler say of a pod to a reason that a person understands. Pure. */

export const USER_CONTAINER = 'run';
export const COLLECTOR_CONTAINER = 'collector';
export const SOURCE_CONTAINER = 'source';

export type ContainerState =
  | { is: 'waiting'; reason: string; message: string }
  | { is: 'running'; startedAt: string }
  | {
      is: 'terminated';
      exitCode: number;
      reason: string;
      message: string;
      startedAt: string | undefined;
      finishedAt: string;
    };

export interface PodView {
  uid: string;
  namespace: string;
  name: string;
  jobUid: string | undefined;
  runUid: string | undefined;
  rank: number;
  createdAt: string;
  deleting: boolean;
  /** When a pod that is being deleted is killed at the latest; milliseconds since the epoch. */
  goneBy: number | undefined;
  node: string | undefined;
  phase: string;
  /** `status.reason`, such as Evicted or DeadlineExceeded. */
  reason: string;
  message: string;
  scheduledAt: string | undefined;
  unschedulable: string | undefined;
  /** `DisruptionTarget`: preemption, eviction, a lost node. */
  disruption: { reason: string; message: string } | undefined;
  user: ContainerState;
  /** Image digest of the user's container as the runtime resolved it, `sha256:<hex>`. */
  imageDigest: string | undefined;
  collector: ContainerState | undefined;
  source: ContainerState | undefined;
}

function stateOf(status: Wire<V1ContainerStatus> | undefined): ContainerState {
  const { running, terminated, waiting } = status?.state ?? {};
  if (terminated) {
    return {
      is: 'terminated',
      exitCode: terminated.exitCode,
      reason: terminated.reason ?? '',
      message: terminated.message ?? '',
      // A container that never started carries the epoch.
      startedAt: terminated.startedAt?.startsWith('1970-') === true ? undefined : terminated.startedAt,
      finishedAt: terminated.finishedAt ?? '',
    };
  }
  if (running) return { is: 'running', startedAt: running.startedAt ?? '' };
  return { is: 'waiting', reason: waiting?.reason ?? '', message: waiting?.message ?? '' };
}

/** `repo@sha256:…` or `docker-pullable://repo@sha256:…` → `sha256:…`; a bare local image id is not a digest of the registry. */
function digestIn(imageId: string | undefined): string | undefined {
  return /@(sha256:[0-9a-f]{64})$/.exec(imageId ?? '')?.[1];
}

export function projectPod(pod: Wire<V1Pod>, labels: { runUid: string }): PodView {
  const meta = pod.metadata ?? {};
  const status = pod.status ?? {};
  const scheduled = status.conditions?.find((c) => c.type === 'PodScheduled');
  const disruption = status.conditions?.find((c) => c.type === 'DisruptionTarget' && c.status === 'True');
  const user = status.containerStatuses?.find((c) => c.name === USER_CONTAINER);
  const init = (name: string) => {
    const found = status.initContainerStatuses?.find((c) => c.name === name);
    return found === undefined ? undefined : stateOf(found);
  };
  return {
    uid: meta.uid ?? '',
    namespace: meta.namespace ?? '',
    name: meta.name ?? '',
    jobUid: meta.ownerReferences?.find((o) => o.kind === 'Job' && o.controller === true)?.uid,
    runUid: meta.labels?.[labels.runUid],
    rank: Number(meta.annotations?.['batch.kubernetes.io/job-completion-index'] ?? 0),
    createdAt: meta.creationTimestamp ?? '',
    deleting: meta.deletionTimestamp !== undefined,
    goneBy: meta.deletionTimestamp === undefined ? undefined : Date.parse(meta.deletionTimestamp),
    node: pod.spec?.nodeName ?? undefined,
    phase: status.phase ?? 'Pending',
    reason: status.reason ?? '',
    message: status.message ?? '',
    scheduledAt: scheduled?.status === 'True' ? (scheduled.lastTransitionTime ?? undefined) : undefined,
    unschedulable:
      scheduled?.status === 'False' && scheduled.reason === 'Unschedulable' ? (scheduled.message ?? '') : undefined,
    disruption:
      disruption === undefined ? undefined : { reason: disruption.reason ?? '', message: disruption.message ?? '' },
    user: stateOf(user),
    imageDigest: digestIn(user?.imageID),
    collector: init(COLLECTOR_CONTAINER),
    source: init(SOURCE_CONTAINER),
  };
}

/** Where one pod stands. */
export type PodState =
  | { at: 'waiting'; reason: WaitingReason; message: string; hopeless?: { reason: OutcomeReason; message: string } }
  | { at: 'running'; startedAt: string }
  /** The user's container is over (or never will be); the collector may still be at work. */
  | {
      at: 'ended';
      ok: boolean;
      reason: OutcomeReason;
      message: string;
      exitCode: number | undefined;
      startedAt: string | undefined;
      finishedAt: string;
    };

const IMAGE_WAITS = new Set([
  'ErrImagePull',
  'ImagePullBackOff',
  'ErrImageNeverPull',
  'RegistryUnavailable',
  'ImageInspectError',
]);

export function podState(pod: PodView): PodState {
  if (pod.user.is === 'terminated') return userEnd(pod, pod.user);
  if (pod.phase === 'Failed' || pod.phase === 'Succeeded') return podEnd(pod);
  if (pod.source?.is === 'terminated' && pod.source.exitCode !== 0) {
    return ended(
      'SourceFailed',
      pod.source.message || `fetching the source ended with code ${pod.source.exitCode}`,
      undefined,
      pod.source.finishedAt,
    );
  }
  if (pod.user.is === 'running') return { at: 'running', startedAt: pod.user.startedAt };
  return waitState(pod);
}

function waitState(pod: PodView): PodState {
  if (pod.unschedulable !== undefined) return { at: 'waiting', reason: 'Unschedulable', message: pod.unschedulable };
  for (const container of [pod.user, pod.collector, pod.source]) {
    if (container?.is !== 'waiting') continue;
    const { reason, message } = container;
    if (reason === 'InvalidImageName') {
      return { at: 'waiting', reason: 'ImagePullBackOff', message, hopeless: { reason: 'InvalidImageName', message } };
    }
    if (IMAGE_WAITS.has(reason)) return { at: 'waiting', reason: 'ImagePullBackOff', message: message || reason };
    if (reason === 'CreateContainerConfigError') return { at: 'waiting', reason: 'SecretMissing', message };
    if (reason === 'CreateContainerError' || reason === 'RunContainerError' || reason === 'CrashLoopBackOff') {
      return { at: 'waiting', reason: 'PodPreparing', message: `${reason}: ${message}` };
    }
  }
  return {
    at: 'waiting',
    reason: 'PodPreparing',
    message:
      pod.node === undefined
        ? 'The pod waits for the scheduler.'
        : `The pod prepares on node ${pod.node}: images, volumes, source.`,
  };
}

function userEnd(pod: PodView, user: ContainerState & { is: 'terminated' }): PodState {
  const disrupted = disruptionOutcome(pod);
  const end = (reason: OutcomeReason, message: string): PodState => ({
    at: 'ended',
    ok: reason === 'Completed',
    reason,
    message,
    exitCode: user.exitCode,
    startedAt: user.startedAt,
    finishedAt: user.finishedAt,
  });
  if (user.reason === 'OOMKilled')
    return end('OOMKilled', 'The container used more memory than its limit: raise spec.resources.limits.memory.');
  // A code of 0 counts even when a disruption came at the same moment: the work is done.
  if (user.exitCode === 0) return end('Completed', 'The command exited with 0.');
  if (disrupted !== undefined) return end(disrupted.reason, disrupted.message);
  if (pod.reason === 'DeadlineExceeded') return end('RunDeadlineExceeded', 'The pod reached its deadline.');
  if (pod.deleting) return end('ChildDeleted', `Pod ${pod.name} was deleted while it ran.`);
  if (user.reason === 'StartError' || user.reason === 'ContainerCannotRun') {
    const missing = /no such file or directory|executable file not found|permission denied/i.test(user.message);
    return end(missing ? 'CommandNotFound' : 'StartFailed', user.message.slice(0, 900));
  }
  if (user.reason === 'ContainerStatusUnknown') return end('NodeLost', 'The node lost track of the container.');
  return end(
    'NonZeroExit',
    user.exitCode > 128 && user.exitCode < 160
      ? `The command ended by signal ${user.exitCode - 128}.`
      : `The command exited with ${user.exitCode}.`,
  );
}

function podEnd(pod: PodView): PodState {
  const disrupted = disruptionOutcome(pod);
  // A lost node's kubelet never said that the container ended: the API still shows it running.
  if (disrupted !== undefined)
    return {
      ...ended(disrupted.reason, disrupted.message, undefined, ''),
      startedAt: pod.user.is === 'running' ? pod.user.startedAt : undefined,
    };
  if (pod.reason === 'DeadlineExceeded')
    return ended('StartupDeadlineExceeded', 'The pod reached its deadline.', undefined, '');
  if (pod.phase === 'Succeeded') return ended('Completed', 'The pod succeeded.', 0, '');
  if (pod.source?.is === 'terminated' && pod.source.exitCode !== 0) {
    return ended(
      'SourceFailed',
      pod.source.message || 'the source could not be fetched',
      undefined,
      pod.source.finishedAt,
    );
  }
  if (pod.deleting)
    return ended('ChildDeleted', `Pod ${pod.name} was deleted before its container started.`, undefined, '');
  return ended(
    'PodFailed',
    [pod.reason, pod.message].filter(Boolean).join(': ') || 'The pod failed before its container started.',
    undefined,
    '',
  );
}

function ended(
  reason: OutcomeReason,
  message: string,
  exitCode: number | undefined,
  finishedAt: string,
): PodState & { at: 'ended' } {
  return { at: 'ended', ok: reason === 'Completed', reason, message, exitCode, startedAt: undefined, finishedAt };
}

function disruptionOutcome(pod: PodView): { reason: OutcomeReason; message: string } | undefined {
  // "The node was low on resource: ephemeral-storage" is the same eviction for what others wrote.
  if (
    pod.reason === 'Evicted' &&
    /ephemeral|emptyDir|usage exceeds/i.test(pod.message) &&
    !/low on resource/i.test(pod.message)
  ) {
    return { reason: 'OutputTooLarge', message: pod.message };
  }
  if (pod.reason === 'NodeLost') return { reason: 'NodeLost', message: pod.message };
  switch (pod.disruption?.reason) {
    case undefined:
      return pod.reason === 'Evicted' ? { reason: 'Evicted', message: pod.message } : undefined;
    case 'PreemptionByScheduler':
    case 'PreemptionByKubeScheduler':
      return { reason: 'Preempted', message: pod.disruption!.message };
    case 'DeletionByTaintManager':
    case 'DeletionByPodGC':
      return { reason: 'NodeLost', message: pod.disruption!.message };
    default:
      return { reason: 'Evicted', message: pod.disruption!.message || pod.message };
  }
}
