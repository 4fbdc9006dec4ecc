import type { V1Job } from '@kubernetes/client-node';
import type { DoctorLine } from '../../crds/runtime-profile.ts';
import { isKubeError, type KubeError } from '../../kube/errors.ts';
import { ignoreGone } from '../../kube/gone.ts';
import type { Wire } from '../../kube/resource.ts';
import type { AttemptResults, RunAttempt } from '../../results/contract.ts';
import type {
  FoundWork,
  Handle,
  Plan,
  PlanRefusal,
  ProfileRef,
  ResultSink,
  Runtime,
  RuntimeContext,
  RuntimeIo,
  RuntimeResult,
  RuntimeTraits,
  WorkState,
} from '../contract.ts';
import { RuntimeError, type RuntimeFault } from '../errors.ts';
import { jobPlan, type JobSurroundings } from './attempt-job.ts';
import { createOrAdopt, stopJob, type JobCluster } from './cluster.ts';
import { buildJob, buildService } from './job.ts';
import { projectJob, type JobView } from './job-view.ts';
import { JOB_ANNOTATIONS, JOB_LABELS } from './names.ts';
import { projectPod, type PodView } from './pod-state.ts';
import { workState } from './work-state.ts';

export interface LocalRuntimeOptions {
  readonly installationId: string;
  readonly cluster: JobCluster & {
    /** Jobs of all namespaces with these labels. */
    listJobs(labels: Readonly<Record<string, string>>): AsyncIterable<Wire<V1Job>>;
  };
  readonly around: JobSurroundings;
  /** What the collector in the pod has brought to the run store by itself, as far as it has come. */
  received(attempt: RunAttempt): Promise<Pick<AttemptResults, 'results' | 'logs'>>;
  /** The profile against the nodes and classes of the cluster. */
  doctor(profile: ProfileRef): Promise<DoctorLine[]>;
}

/**
 * Jobs of a Kubernetes API under the same contract as vendors. The controller watches this cluster and drives Jobs by
 * what it sees; here each step asks the API server anew, with the same functions underneath.
 */
export class LocalRuntime implements Runtime {
  readonly name = 'local';
  readonly traits: RuntimeTraits = {
    kind: 'Cluster',
    paid: false,
    support: 'Production',
    idempotentCreate: true,
    marksWork: true,
    listLagMs: 0,
    pollMs: 5000,
    capabilities: [],
    credentials: [],
    hosts: [],
  };
  readonly #o: LocalRuntimeOptions;

  constructor(options: LocalRuntimeOptions) {
    this.#o = options;
  }

  doctor(profile: ProfileRef): Promise<DoctorLine[]> {
    return this.#o.doctor(profile);
  }

  plan(context: RuntimeContext): Plan | PlanRefusal {
    const { spec, profile } = context;
    if (spec.request !== undefined)
      return {
        ok: false,
        reason: 'FieldNotSupported',
        message: 'spec.request: runtime local runs a command; leave the field out, or use a profile of a provider',
      };
    if (spec.image === undefined && profile.spec.local?.image === undefined)
      return {
        ok: false,
        reason: 'ImageMissing',
        message: `spec.image: name an image, profile ${profile.name} has none of its own`,
      };
    const plan = jobPlan(context, this.#o.around);
    const job = buildJob(plan);
    return {
      ok: true,
      context,
      creates: [
        ...(spec.nodes > 1 ? [`Service ${plan.namespace}/${plan.serviceName}`] : []),
        `Job ${plan.namespace}/${plan.name} (${spec.nodes} pod(s))`,
      ],
      requestDigest: plan.annotations[JOB_ANNOTATIONS.templateDigest]!,
      request: job,
      deadlineSeconds: job.spec!.template.spec!.activeDeadlineSeconds!,
    };
  }

  async create({ context }: Plan): Promise<Handle> {
    const { cluster, around } = this.#o;
    const plan = jobPlan(context, around);
    return asked('create', async () => {
      if (context.spec.nodes > 1) {
        const service = buildService(plan, { [JOB_LABELS.runUid]: context.uid });
        await cluster.createService(service).catch((error: unknown) => {
          if (!isKubeError(error, 'alreadyExists')) throw error;
        });
      }
      const created = await createOrAdopt(cluster, buildJob(plan));
      // Nothing of ours was created; the name may be free another time.
      if (created.is === 'taken') throw new RuntimeError({ kind: 'retryable' }, created.message);
      return handleOf(projectJob(created.job));
    });
  }

  async observe(handles: readonly Handle[], io: RuntimeIo): Promise<ReadonlyMap<string, WorkState>> {
    const states = new Map<string, WorkState>();
    for (const handle of handles) {
      if (io.signal.aborted) break;
      const { job, pods } = await asked('read', () => this.#read(handle));
      states.set(handle.externalId, workState(job, pods, io.now()));
    }
    return states;
  }

  /** The collector in the pod has stored everything by itself: what it brought is put together here. */
  async collect(handle: Handle, context: RuntimeContext, _sink: ResultSink, io: RuntimeIo): Promise<RuntimeResult> {
    const { clientRunId, uid, attempt } = context;
    const { job, pods } = await asked('read', () => this.#read(handle));
    const state = workState(job, pods, io.now());
    const { results, logs } = await this.#o.received({ clientRunId, runUid: uid, attempt });
    const ended = state.at === 'ended' ? state : undefined;
    return {
      exitCode: ended?.exitCode ?? (ended?.outcome === 'succeeded' ? 0 : 1),
      durationSeconds: ended?.startedAt === undefined ? 0 : (ended.finishedAt - ended.startedAt) / 1000,
      logPath: logs.get(0)?.path,
      artifacts: [...results.values()].flatMap(({ artifacts }) => artifacts),
      costEstimateUSD: undefined,
      metrics: results.get(0)?.metrics ?? {},
      metadata: {},
    };
  }

  /** A Job that has ended stays until its run goes: it holds nothing, and people look at it. */
  async teardown(handle: Handle): Promise<void> {
    const { cluster } = this.#o;
    await asked('read', async () => {
      const { job, pods } = await this.#read(handle);
      if (job === undefined) {
        for (const pod of pods) await cluster.hastenPod(pod).catch(ignoreGone);
      } else if (job.end === undefined) await stopJob(cluster, job, pods);
    });
  }

  async *list(since: number): AsyncIterable<FoundWork> {
    const found = await asked('read', async () => {
      const jobs: FoundWork[] = [];
      const mark = { [JOB_LABELS.installation]: this.#o.installationId };
      for await (const object of this.#o.cluster.listJobs(mark)) jobs.push(foundWork(object));
      return jobs;
    });
    for (const work of found.toSorted((a, b) => b.createdAt - a.createdAt)) if (work.createdAt >= since) yield work;
  }

  async #read({ externalId }: Handle): Promise<{ job: (JobView & { nodes: number }) | undefined; pods: PodView[] }> {
    const [namespace, name, uid] = externalId.split('/') as [string, string, string];
    const { cluster } = this.#o;
    const object = await cluster.readJob({ namespace, name }).catch((error: unknown) => {
      if (!isKubeError(error, 'notFound')) throw error;
      return undefined;
    });
    // Pods after their Job: those of a Job that was there are then there too, or it has deleted them.
    const pods = await cluster.readPods({ namespace, uid });
    const job = object?.metadata?.uid === uid ? object : undefined;
    return {
      job: job && { ...projectJob(job), nodes: job.spec?.completions ?? 1 },
      pods: pods.map((pod) => projectPod(pod, JOB_LABELS)),
    };
  }
}

const idOf = ({ namespace, name, uid }: JobView): string => `${namespace}/${name}/${uid}`;

const handleOf = (job: JobView): Handle => ({
  externalId: idOf(job),
  attempt: job.attempt,
  createdAt: Date.parse(job.createdAt),
});

function foundWork(object: Wire<V1Job>): FoundWork {
  const job = projectJob(object);
  const clientRunId = object.metadata?.labels?.[JOB_LABELS.clientRunId];
  return {
    externalId: idOf(job),
    createdAt: Date.parse(job.createdAt),
    requestDigest: job.templateDigest,
    live: job.end === undefined,
    ...(clientRunId !== undefined && { mark: { clientRunId, attempt: job.attempt } }),
  };
}

/** The API server's refusals in the words of the contract. A write without an answer may have been carried out. */
async function asked<T>(how: 'read' | 'create', step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (!isKubeError(error)) throw error;
    throw new RuntimeError(faultOf(error, how), error.message.slice(0, 900), error);
  }
}

function faultOf(error: KubeError, how: 'read' | 'create'): RuntimeFault {
  switch (error.kind) {
    case 'tooManyRequests':
      return { kind: 'throttled', retryAfterMs: error.retryAfterMs };
    case 'timeout':
    case 'unavailable':
    case 'serverError':
      return { kind: how === 'create' ? 'unknownOutcome' : 'retryable' };
    case 'unauthorized':
      return { kind: 'credentials' };
    case 'forbidden':
      return { kind: /exceeded quota/.test(error.message) ? 'capacity' : 'user' };
    case 'invalid':
      return { kind: 'user' };
    case 'aborted':
      return { kind: 'aborted' };
    // Something has changed between two calls: the next look sees it.
    default:
      return { kind: 'retryable' };
  }
}
