import type { V1Pod } from '@kubernetes/client-node';
import { isKubeError } from '../kube/errors.ts';
import { PODS, type Wire } from '../kube/resource.ts';
import type { WorldRun } from '../results/api/world-run.ts';
import type { Session } from './session.ts';

/** How the operator marks the pods of a run; users select by these too. */
export const RUN_UID_LABEL = 'worldflux.ai/run-uid';
export const ATTEMPT_LABEL = 'worldflux.ai/attempt';
/** Of the user's own container. */
export const CONTAINER = 'run';

export interface RunPod {
  name: string;
  uid: string;
  attempt: number;
  /** The user's container has begun, so there is a log to read. */
  started: boolean;
}

/** Pods of one node of a run, the newest attempt first; none where the caller may not list pods. */
export async function podsOf({ client, signal }: Session, run: WorldRun, rank: number): Promise<RunPod[]> {
  const { uid = '', namespace = '' } = run.metadata ?? {};
  const found: RunPod[] = [];
  try {
    for await (const pod of client.list(PODS, { namespace, labelSelector: `${RUN_UID_LABEL}=${uid}`, signal })) {
      if (rankOf(pod) === rank) found.push(view(pod));
    }
  } catch (error) {
    if (!isKubeError(error, 'forbidden')) throw error;
  }
  return found.toSorted((a, b) => b.attempt - a.attempt);
}

const rankOf = (pod: Wire<V1Pod>): number =>
  Number(pod.metadata?.annotations?.['batch.kubernetes.io/job-completion-index'] ?? 0);

function view({ metadata, status }: Wire<V1Pod>): RunPod {
  const state = status?.containerStatuses?.find((c) => c.name === CONTAINER)?.state;
  const started = state?.running !== undefined || state?.terminated?.startedAt !== undefined;
  return {
    name: metadata?.name ?? '',
    uid: metadata?.uid ?? '',
    attempt: Number(metadata?.labels?.[ATTEMPT_LABEL] ?? 0),
    started,
  };
}
