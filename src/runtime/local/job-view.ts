import type { V1Job } from '@kubernetes/client-node';
import type { Wire } from '../../kube/resource.ts';
import { JOB_ANNOTATIONS, JOB_LABELS, KUEUE_QUEUE_LABEL } from './names.ts';

/** A Job as deciding reads it. */
export interface JobView {
  uid: string;
  namespace: string;
  name: string;
  /** Uid of the WorldRun that owns it; undefined for a Job that somebody else made. */
  runUid: string | undefined;
  templateDigest: string | undefined;
  profileDigest: string | undefined;
  profileName: string | undefined;
  attempt: number;
  createdAt: string;
  deleting: boolean;
  suspended: boolean;
  /** The queue (of Kueue) that decides when its pods may start, and may take them away again. */
  queue: string | undefined;
  /** The Job controller started a pod set; a queue's eviction clears it. */
  startedAt: string | undefined;
  active: number;
  end: { status: 'Complete' | 'Failed'; reason: string; message: string; at: string } | undefined;
}

export function projectJob(object: Wire<V1Job>): JobView {
  const meta = object.metadata ?? {};
  const end = object.status?.conditions?.find(
    (c) => (c.type === 'Complete' || c.type === 'Failed') && c.status === 'True',
  );
  return {
    uid: meta.uid ?? '',
    namespace: meta.namespace ?? '',
    name: meta.name ?? '',
    runUid: meta.ownerReferences?.find((o) => o.kind === 'WorldRun' && o.controller === true)?.uid,
    templateDigest: meta.annotations?.[JOB_ANNOTATIONS.templateDigest],
    profileDigest: meta.annotations?.[JOB_ANNOTATIONS.profileDigest],
    profileName: meta.annotations?.[JOB_ANNOTATIONS.profileName],
    attempt: Number(meta.labels?.[JOB_LABELS.attempt] ?? 0),
    createdAt: meta.creationTimestamp ?? '',
    deleting: meta.deletionTimestamp !== undefined,
    suspended: object.spec?.suspend === true,
    queue: meta.labels?.[KUEUE_QUEUE_LABEL],
    startedAt: object.status?.startTime,
    active: object.status?.active ?? 0,
    end:
      end === undefined
        ? undefined
        : {
            status: end.type as 'Complete' | 'Failed',
            reason: end.reason ?? '',
            message: end.message ?? '',
            at: end.lastTransitionTime ?? '',
          },
  };
}

/** What a suspended Job waits for, and where it says why. */
export function queueWords({ queue, namespace, uid }: Pick<JobView, 'queue' | 'namespace' | 'uid'>): string {
  if (queue === undefined) return 'The Job is suspended and in no queue: whoever suspended it must start it again.';
  const where = `kubectl -n ${namespace} describe workloads -l kueue.x-k8s.io/job-uid=${uid}`;
  return `The Job waits for queue ${queue} to admit it. What keeps it: ${where}`;
}
