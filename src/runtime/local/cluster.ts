import type { V1Job, V1Pod, V1Service } from '@kubernetes/client-node';
import { isKubeError } from '../../kube/errors.ts';
import { ignoreGone } from '../../kube/gone.ts';
import type { Wire } from '../../kube/resource.ts';
import { projectJob } from './job-view.ts';
import { JOB_ANNOTATIONS } from './names.ts';

/** The API server as far as Jobs of runs go, one call a method. All throw KubeErrors. */

export interface ObjectId {
  namespace: string;
  name: string;
}

export interface JobCluster {
  createJob(job: Wire<V1Job>): Promise<Wire<V1Job>>;
  readJob(ref: ObjectId): Promise<Wire<V1Job>>;
  /** Pods of a Job as they are now. */
  readPods(job: { namespace: string; uid: string }): Promise<Wire<V1Pod>[]>;
  /** Pods that are not being stopped yet go in the background, with their whole grace period. */
  deleteJob(job: ObjectId & { uid: string }): Promise<void>;
  createService(service: Wire<V1Service>): Promise<void>;
  /**
   * Stops a pod and leaves it half a minute: its grace period is the time to upload, and that is over. A command that
   * ignores SIGTERM would hold its GPUs for all of it.
   */
  hastenPod(pod: ObjectId & { uid: string }): Promise<void>;
}

/** `mine`: made now, or by us before a crash. `taken`: somebody else's Job has the name; the message says what to do. */
export type CreatedJob =
  { readonly is: 'mine'; readonly job: Wire<V1Job> } | { readonly is: 'taken'; readonly message: string };

/** A Job is made once: one that has its name is adopted only with the run's uid as owner and the same template. */
export async function createOrAdopt(
  cluster: Pick<JobCluster, 'createJob' | 'readJob'>,
  wanted: Wire<V1Job>,
): Promise<CreatedJob> {
  let taken: unknown;
  try {
    return { is: 'mine', job: await cluster.createJob(wanted) };
  } catch (error) {
    if (!isKubeError(error, 'alreadyExists')) throw error;
    taken = error;
  }
  const { namespace, name, annotations, ownerReferences } = wanted.metadata!;
  const job = await cluster.readJob({ namespace: namespace!, name: name! }).catch((error: unknown) => {
    // It went between the two calls: the next look creates one.
    throw isKubeError(error, 'notFound') ? taken : error;
  });
  const found = projectJob(job);
  const isSame = found.templateDigest === annotations![JOB_ANNOTATIONS.templateDigest];
  if (found.runUid === ownerReferences![0]!.uid && isSame) return { is: 'mine', job };
  const whose = found.runUid === undefined ? 'was not made by this operator' : 'belongs to another run or another spec';
  return { is: 'taken', message: `Job ${namespace}/${name} ${whose}: delete or rename it, and the run goes on.` };
}

/**
 * Lets the pods of a Job whose attempt is over go soon, and deletes it. In this order: the garbage collector would stop
 * them with their whole grace period, and a kubelet that waits to stop a sidecar does not take a shorter one any more.
 */
export async function stopJob(
  cluster: Pick<JobCluster, 'deleteJob' | 'hastenPod'>,
  job: ObjectId & { uid: string },
  pods: readonly (ObjectId & { uid: string; jobUid: string | undefined })[],
): Promise<void> {
  for (const pod of pods) if (pod.jobUid === job.uid) await cluster.hastenPod(pod).catch(ignoreGone);
  await cluster.deleteJob(job).catch(ignoreGone);
}
