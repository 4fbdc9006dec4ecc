import type { WorldRunSpec } from '../../crds/world-run.ts';
import type { WorldRunStatus } from '../../crds/world-run-status.ts';
import type { KubeObject } from '../../kube/resource.ts';
import { isSettled } from './plan.ts';
import { PRIVATE_MARK, SYNC_ANNOTATION, type SyncRun } from './ports.ts';

/** What the cache of runs keeps of a finished run for the sync queue; the rest of a {@link SyncRun} it has anyway. */
export type SyncFacts = Omit<SyncRun, 'namespace' | 'name' | 'uid' | 'generation' | 'succeeded' | 'finishedAt'>;

interface FinishedRun extends KubeObject {
  spec: WorldRunSpec;
  status?: WorldRunStatus;
}

/** As the status keeps it. An annotation may be longer; a status that holds all of it would be refused, and the run sent for ever. */
const LONGEST_REQUEST = 253;

/** Undefined for a run that has nothing to send, and for one whose sync is over: most of those that are kept for long. */
export function projectSync({ metadata = {}, spec, status = {} }: FinishedRun): SyncFacts | undefined {
  const { clientRunId, manifestDigest } = status;
  const profile = status.profile?.name ?? spec.runtimeProfileRef?.name;
  if (clientRunId === undefined || manifestDigest === undefined || profile === undefined) return undefined;
  const facts: SyncFacts = {
    clientRunId,
    manifestDigest,
    profile,
    mode: spec.sync?.mode,
    project: spec.sync?.project,
    private: metadata.labels?.[PRIVATE_MARK] === 'true' || metadata.annotations?.[PRIVATE_MARK] === 'true',
    request: metadata.annotations?.[SYNC_ANNOTATION]?.slice(0, LONGEST_REQUEST).toWellFormed(),
    synced: status.conditions?.find(({ type }) => type === 'Synced'),
    status: status.sync,
  };
  return isSettled(facts) ? undefined : facts;
}
