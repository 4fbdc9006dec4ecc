import type { Wire, KubeObject } from '../../kube/resource.ts';
import { resourceType } from '../../kube/resource.ts';
import type { Condition } from '../../crds/common.ts';
import { digestOf } from '../../crds/manifest.ts';
import {
  DEFAULT_PROFILE_ANNOTATION,
  type RuntimeProfileSpec,
  type RuntimeProfileStatus,
} from '../../crds/runtime-profile.ts';
import type { WorldRunSpec } from '../../crds/world-run.ts';
import type { AttemptStatus, WorldRunStatus } from '../../crds/world-run-status.ts';
import type { V1ConfigMap, V1Node, V1Namespace } from '@kubernetes/client-node';
import { ANNOTATIONS, FINALIZER } from '../identity.ts';
import { projectSync, type SyncFacts } from '../sync/project.ts';

export { projectJob, type JobView } from '../../runtime/local/job-view.ts';
import { trackedByGitOps } from './tracked.ts';

/**
 * What the caches keep of each object: the fields that deciding reads, and nothing else. A settled run is a few
 * hundred bytes, whatever its manifest holds.
 */

export interface WorldRun extends KubeObject {
  spec: WorldRunSpec;
  status?: WorldRunStatus;
}
export interface RuntimeProfile extends KubeObject {
  spec: RuntimeProfileSpec;
  status?: RuntimeProfileStatus;
}

export const WORLD_RUNS = resourceType<WorldRun>({
  group: 'worldflux.ai',
  version: 'v1alpha1',
  plural: 'worldruns',
  namespaced: true,
  kind: 'WorldRun',
});
export const RUNTIME_PROFILES = resourceType<RuntimeProfile>({
  group: 'worldflux.ai',
  version: 'v1alpha1',
  plural: 'runtimeprofiles',
  namespaced: false,
  kind: 'RuntimeProfile',
});

interface RunIdentity {
  uid: string;
  namespace: string;
  name: string;
  generation: number;
  /** RFC 3339. */
  createdAt: string;
  deleting: boolean;
  resourceVersion: string;
  /** It is not gone before what it bought at a vendor is stopped. */
  hasFinalizer: boolean;
}

/** Status as deciding needs it: the manifest and artifacts are written once, with the last word, and never read. */
export type LiveStatus = Pick<
  WorldRunStatus,
  | 'conditions'
  | 'phase'
  | 'profile'
  | 'approval'
  | 'queuedSince'
  | 'clocks'
  | 'attempts'
  | 'attemptCount'
  | 'uncountedAttempts'
  | 'progress'
  | 'epoch'
  | 'observedGeneration'
>;

export interface LiveRun extends RunIdentity {
  state: 'live';
  spec: WorldRunSpec;
  rerun: string | undefined;
  /** What a person found out at the vendor: attempt, and the work's id or nothing. */
  /** As its annotations say; whether it counts is for deciding. */
  approval: { by: string; specDigest: string } | undefined;
  submitOutcome: { attempt: number; externalId: string | undefined } | undefined;
  status: LiveStatus;
}

/** A run that has ended. All that is left to do is to stop a child that still runs, and to forget it in time. */
export interface SettledRun extends RunIdentity {
  state: 'settled';
  succeeded: boolean;
  reason: string;
  /** Milliseconds since the epoch. */
  finishedAt: number;
  ttlSeconds: number | undefined;
  trackedByGitOps: boolean;
  runKey: string | undefined;
  profileDigest: string | undefined;
  /** As its status has it; undefined without a price. */
  costUSD: string | undefined;
  /** What it had at a vendor, for telling orphans; undefined where it had nothing there. */
  work?: PastWork | undefined;
  /** Undefined where nothing is to be sent any more. */
  sync?: SyncFacts | undefined;
}

export type RunView = LiveRun | SettledRun;

export interface PastWork {
  externalIds: readonly string[];
  intents: readonly NonNullable<AttemptStatus['intent']>[];
}

function pastWork(attempts: readonly AttemptStatus[] | undefined): PastWork | undefined {
  const bought = attempts?.filter((a) => a.intent !== undefined) ?? [];
  if (bought.length === 0) return undefined;
  return {
    externalIds: bought.flatMap((a) => a.externalId ?? []),
    intents: bought.map((a) => a.intent!),
  };
}

function readApproval(annotations: Record<string, string> | undefined): LiveRun['approval'] {
  const by = annotations?.[ANNOTATIONS.approvedBy];
  const specDigest = annotations?.[ANNOTATIONS.approve];
  if (by === undefined || by === '' || by.length > 256 || specDigest === undefined) return undefined;
  return { by, specDigest };
}

/** `2=abc`, `2=none`. */
function readSubmitOutcome(text: string | undefined): LiveRun['submitOutcome'] {
  const [, attempt, id] = /^(\d{1,6})=([\w.:-]{1,253})$/.exec(text?.trim() ?? '') ?? [];
  if (attempt === undefined || id === undefined) return undefined;
  return { attempt: Number(attempt), externalId: id === 'none' ? undefined : id };
}

export function findCondition(conditions: readonly Condition[] | undefined, type: string): Condition | undefined {
  return conditions?.find((c) => c.type === type);
}

export function projectRun(object: WorldRun): RunView {
  const meta = object.metadata ?? {};
  const identity: RunIdentity = {
    uid: meta.uid ?? '',
    namespace: meta.namespace ?? '',
    name: meta.name ?? '',
    generation: meta.generation ?? 0,
    createdAt: meta.creationTimestamp ?? '',
    deleting: meta.deletionTimestamp !== undefined,
    resourceVersion: meta.resourceVersion ?? '',
    hasFinalizer: meta.finalizers?.includes(FINALIZER) ?? false,
  };
  const status = object.status ?? {};
  const finished = findCondition(status.conditions, 'Finished');
  if (finished?.status === 'True') {
    const succeeded = findCondition(status.conditions, 'Succeeded');
    return {
      ...identity,
      state: 'settled',
      succeeded: succeeded?.status === 'True',
      reason: succeeded?.reason ?? '',
      finishedAt: Date.parse(finished.lastTransitionTime),
      ttlSeconds: object.spec.ttlSecondsAfterFinished,
      trackedByGitOps: trackedByGitOps(meta),
      runKey: object.spec.runKey,
      profileDigest: status.profile?.digest,
      costUSD: status.result?.costEstimateUSD,
      work: pastWork(status.attempts),
      sync: projectSync(object),
    };
  }
  return {
    ...identity,
    state: 'live',
    spec: object.spec,
    rerun: meta.annotations?.[ANNOTATIONS.rerun],
    approval: readApproval(meta.annotations),
    submitOutcome: readSubmitOutcome(meta.annotations?.[ANNOTATIONS.submitOutcome]),
    status: {
      conditions: status.conditions,
      phase: status.phase,
      profile: status.profile,
      approval: status.approval,
      queuedSince: status.queuedSince,
      clocks: status.clocks,
      attempts: status.attempts,
      attemptCount: status.attemptCount,
      uncountedAttempts: status.uncountedAttempts,
      progress: status.progress,
      epoch: status.epoch,
      observedGeneration: status.observedGeneration,
    } as LiveStatus,
  };
}

export interface ProfileView {
  uid: string;
  name: string;
  generation: number;
  isDefault: boolean;
  createdAt: string;
  /** SHA-256 of the spec; a run that starts pins it. */
  digest: string;
  spec: RuntimeProfileSpec;
  status: RuntimeProfileStatus;
}

export function projectProfile(object: RuntimeProfile): ProfileView {
  const meta = object.metadata ?? {};
  return {
    uid: meta.uid ?? '',
    name: meta.name ?? '',
    generation: meta.generation ?? 0,
    isDefault: meta.annotations?.[DEFAULT_PROFILE_ANNOTATION] === 'true',
    createdAt: meta.creationTimestamp ?? '',
    digest: digestOf(object.spec),
    spec: object.spec,
    status: object.status ?? {},
  };
}

/** The profile as a run's first attempt started with it: a content-addressed, immutable ConfigMap. */
export interface PinView {
  name: string;
  digest: string;
  profileName: string;
  spec: RuntimeProfileSpec;
  uid: string;
  /** Milliseconds since the epoch. */
  createdAt: number;
}

export function projectPin(object: Wire<V1ConfigMap>): PinView {
  const meta = object.metadata ?? {};
  return {
    name: meta.name ?? '',
    digest: meta.annotations?.[ANNOTATIONS.profileDigest] ?? '',
    profileName: meta.annotations?.[ANNOTATIONS.profileName] ?? '',
    spec: JSON.parse(object.data?.['spec.json'] ?? '{}') as RuntimeProfileSpec,
    uid: meta.uid ?? '',
    createdAt: Date.parse(meta.creationTimestamp ?? '') || 0,
  };
}

export interface NodeView {
  name: string;
  labels: Record<string, string>;
  /** Allocatable amounts of extended resources, e.g. `nvidia.com/gpu`. */
  extended: Record<string, number>;
  ready: boolean;
  /** When `ready` last changed; milliseconds since the epoch. */
  readyChangedAt: number;
}

export function projectNode(object: Wire<V1Node>): NodeView {
  const ready = object.status?.conditions?.find((c) => c.type === 'Ready');
  const extended: Record<string, number> = {};
  for (const [name, amount] of Object.entries(object.status?.allocatable ?? {})) {
    if (name.includes('/')) extended[name] = Number(amount);
  }
  return {
    name: object.metadata?.name ?? '',
    labels: object.metadata?.labels ?? {},
    extended,
    ready: ready?.status === 'True',
    readyChangedAt: Date.parse(ready?.lastTransitionTime ?? '') || 0,
  };
}

export interface NamespaceView {
  uid: string;
  name: string;
  labels: Record<string, string>;
  terminating: boolean;
}

export function projectNamespace(object: Wire<V1Namespace>): NamespaceView {
  return {
    uid: object.metadata?.uid ?? '',
    name: object.metadata?.name ?? '',
    labels: object.metadata?.labels ?? {},
    terminating: object.metadata?.deletionTimestamp !== undefined,
  };
}
