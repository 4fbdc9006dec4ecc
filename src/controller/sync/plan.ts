import { SYNC_MODES, type SyncMode, type SyncReason } from '../../crds/vocabulary.ts';
import type { UrlPolicy } from '../../net/url-guard.ts';
import type { KeyRef, SyncProfile, SyncRun } from './ports.ts';

/** Where a run is synced to. Two targets with the same `lane` share a key, and so a workspace and a ledger. */
export interface SyncTarget {
  readonly profile: string;
  readonly baseURL: string;
  readonly key: KeyRef;
  readonly policy: UrlPolicy;
  readonly lane: string;
}

export type SyncPlan =
  | { readonly do: 'Sync'; readonly target: SyncTarget; readonly project: string }
  /** Says so in `Synced`, and waits for a request or another spec. */
  | { readonly do: 'Say'; readonly reason: SyncReason; readonly message: string }
  /** Nothing was asked for, and nothing is said. */
  | { readonly do: 'Nothing' };

const lower = (a: SyncMode, b: SyncMode): SyncMode => (SYNC_MODES.indexOf(a) > SYNC_MODES.indexOf(b) ? a : b);

/** What is to be done with a finished run; pure. The live profile counts, so that a rotated key or a moved target works. */
export function planSync(run: SyncRun, profile: SyncProfile | undefined, operatorNamespace: string): SyncPlan {
  const asked = run.mode !== undefined && run.mode !== 'Disabled';
  const sync = profile?.sync;
  if (profile === undefined || sync === undefined || sync.mode === 'Disabled') {
    if (!asked) return { do: 'Nothing' };
    return {
      do: 'Say',
      reason: 'SyncDisabled',
      message: `The profile ${run.profile} does not sync, and a run may only lower the mode.`,
    };
  }
  const mode = lower(sync.mode, run.mode ?? sync.mode);
  if (mode === 'Disabled') return { do: 'Nothing' };
  if (!run.succeeded && sync.unsuccessfulRuns === 'Exclude') return { do: 'Nothing' };
  const wanted = run.request !== undefined && run.request !== run.status?.request;
  const begun = (run.status?.attempts ?? 0) > 0;
  if (mode === 'Manual' && !wanted && !begun) {
    return {
      do: 'Say',
      reason: 'AwaitingRequest',
      message: 'The mode is Manual: annotate the run with worldflux.ai/sync to send it.',
    };
  }
  const { allowedProjects } = sync;
  const only = allowedProjects.length === 1 ? allowedProjects[0] : undefined;
  const project = run.project ?? only;
  if (project === undefined) {
    return {
      do: 'Say',
      reason: 'ProjectNotAllowed',
      message: `The profile allows several projects; set spec.sync.project to one of ${allowedProjects.slice(0, 8).join(', ')}.`,
    };
  }
  if (!allowedProjects.includes(project)) {
    return {
      do: 'Say',
      reason: 'ProjectNotAllowed',
      message: `The profile does not allow the project ${project}; it allows ${allowedProjects.slice(0, 8).join(', ')}.`,
    };
  }
  return { do: 'Sync', target: targetOf(sync, profile, run.namespace, operatorNamespace), project };
}

type SyncSpec = NonNullable<SyncProfile['sync']>;

export function targetOf(
  sync: SyncSpec,
  profile: Pick<SyncProfile, 'name' | 'network'>,
  runNamespace: string,
  operatorNamespace: string,
): SyncTarget {
  const inOperator = sync.apiKeySecretRef.from === 'OperatorNamespace';
  const key: KeyRef = {
    namespace: inOperator ? operatorNamespace : runNamespace,
    name: sync.apiKeySecretRef.name,
    key: sync.apiKeySecretRef.key,
    mustBeLabelled: inOperator,
  };
  const baseURL = sync.baseURL.replace(/\/+$/, '');
  const policy = { ...profile.network };
  return {
    profile: profile.name,
    baseURL,
    key,
    policy,
    lane: JSON.stringify([profile.name, baseURL, key.namespace, key.name, key.key, policy]),
  };
}

/** Reasons after which only a person, a new request or another spec can help. */
const FINAL: readonly SyncReason[] = ['SyncConflict', 'PayloadTooLarge', 'ArtifactsSkipped'];

/** Whether a run still has to be sent: not once it is there, and not after a final refusal, unless asked again. */
export function isSettled(run: Pick<SyncRun, 'request' | 'status' | 'synced'>): boolean {
  if (run.request !== undefined && run.request !== run.status?.request) return false;
  if (run.synced === undefined) return false;
  return run.synced.status === 'True' || FINAL.includes(run.synced.reason as SyncReason);
}
