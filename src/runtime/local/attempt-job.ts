import { inputDigest } from '../../crds/input-digest.ts';
import { digestOf } from '../../crds/manifest.ts';
import type { RuntimeContext } from '../contract.ts';
import type { JobPlan } from './job.ts';
import { childName, JOB_ANNOTATIONS, JOB_LABELS, MANAGER } from './names.ts';

/** What every Job of an installation carries with it. */
export interface JobSurroundings {
  /** Image of the collector and of the source fetcher: the operator's own. */
  readonly image: string;
  readonly gatewayUrl: string;
  readonly caPem: string;
  /** Authorities of this installation, which the run store's certificate may be of. */
  readonly storeCaPem?: string | undefined;
}

/** From an attempt to what its Job is built from. Pure. */
export function jobPlan(context: Omit<RuntimeContext, 'files'>, around: JobSurroundings): JobPlan {
  const { installationId, clientRunId, runId, namespace, name, uid, attempt, spec, profile } = context;
  const podLabels = {
    [JOB_LABELS.managedBy]: MANAGER,
    [JOB_LABELS.runUid]: uid,
    [JOB_LABELS.attempt]: String(attempt),
    ...(name.length <= 63 && { [JOB_LABELS.runName]: name }),
  };
  return {
    name: childName({ name, uid }, attempt),
    namespace,
    labels: { ...podLabels, [JOB_LABELS.installation]: installationId, [JOB_LABELS.clientRunId]: clientRunId },
    podLabels,
    annotations: {
      [JOB_ANNOTATIONS.templateDigest]: digestOf({
        input: inputDigest(spec),
        profile: profile.digest,
        number: attempt,
      }),
      [JOB_ANNOTATIONS.profileDigest]: profile.digest,
      [JOB_ANNOTATIONS.profileName]: profile.name,
    },
    owner: { apiVersion: 'worldflux.ai/v1alpha1', kind: 'WorldRun', name, uid },
    attempt,
    runId,
    clientRunId,
    run: spec,
    profile: profile.spec,
    collector:
      profile.spec.local?.collect === 'Disabled'
        ? undefined
        : { ...around, audience: `worldflux-results/${installationId}/${clientRunId}` },
    toolImage: around.image,
    serviceName: childName({ name, uid }),
  };
}
