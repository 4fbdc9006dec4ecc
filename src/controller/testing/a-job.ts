import type { V1Job } from '@kubernetes/client-node';
import type { Wire } from '../../kube/resource.ts';
import { KUEUE_QUEUE_LABEL } from '../../runtime/local/names.ts';
import { ANNOTATIONS, LABELS } from '../identity.ts';
import { projectJob, type JobView, type ProfileView } from '../run/view.ts';
import { at } from '../../runtime/local/testing/clock.ts';

type Job = Wire<V1Job>;

/** A Job as the API server would hold it; the first attempt's of run `pendulum` unless said otherwise. */
export class JobBuilder {
  readonly #job: Job;

  constructor(job: Job) {
    this.#job = job;
  }

  #with(patch: { metadata?: object; spec?: object; status?: object }): JobBuilder {
    const { metadata, spec, status } = this.#job;
    return new JobBuilder({
      ...this.#job,
      metadata: { ...metadata, ...patch.metadata },
      spec: { ...spec!, ...patch.spec },
      status: { ...status, ...patch.status },
    });
  }

  ofAttempt(number: number): JobBuilder {
    const labels = { ...this.#job.metadata?.labels, [LABELS.attempt]: String(number) };
    return this.#with({ metadata: { name: `pendulum-${number}`, uid: `job-${number}`, labels } });
  }

  ofRun(uid: string): JobBuilder {
    const ownerReferences = [
      { apiVersion: 'worldflux.ai/v1alpha1', kind: 'WorldRun', name: uid, uid, controller: true },
    ];
    return this.#with({ metadata: { ownerReferences } });
  }

  pinnedTo(profile: ProfileView): JobBuilder {
    const annotations = { [ANNOTATIONS.profileDigest]: profile.digest, [ANNOTATIONS.profileName]: profile.name };
    return this.#with({ metadata: { annotations } });
  }

  createdAt(seconds: number): JobBuilder {
    return this.#with({ metadata: { creationTimestamp: at(seconds) } });
  }

  started(seconds = 0): JobBuilder {
    return this.#with({ spec: { suspend: false }, status: { startTime: at(seconds), active: 1 } });
  }

  suspended(): JobBuilder {
    return this.#with({ spec: { suspend: true } });
  }

  inQueue(name: string): JobBuilder {
    return this.#with({ metadata: { labels: { ...this.#job.metadata?.labels, [KUEUE_QUEUE_LABEL]: name } } });
  }

  /** A queue took the place back: suspended again, its start time cleared. */
  evictedByQueue(): JobBuilder {
    const { startTime: _, ...status } = this.#job.status ?? {};
    return new JobBuilder({ ...this.suspended().#job, status });
  }

  complete(seconds = 12): JobBuilder {
    const conditions = [
      { type: 'Complete', status: 'True', reason: 'CompletionsReached', message: '', lastTransitionTime: at(seconds) },
    ];
    return this.#with({ status: { conditions, active: 0 } });
  }

  failed(seconds = 12, reason = 'PodFailurePolicy', message = 'Container run failed'): JobBuilder {
    const conditions = [{ type: 'Failed', status: 'True', reason, message, lastTransitionTime: at(seconds) }];
    return this.#with({ status: { conditions, active: 0 } });
  }

  deleting(): JobBuilder {
    return this.#with({ metadata: { deletionTimestamp: at(9) } });
  }

  build(): Job {
    return structuredClone(this.#job);
  }

  view(): JobView {
    return projectJob(this.build());
  }
}

export function aJob(): JobBuilder {
  return new JobBuilder({
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { namespace: 'team', resourceVersion: '1', creationTimestamp: at(0) },
    spec: { template: {} },
    status: {},
  })
    .ofAttempt(1)
    .ofRun('uid-pendulum');
}
