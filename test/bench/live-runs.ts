import type { V1Job } from '@kubernetes/client-node';
import { setTimeout as pause } from 'node:timers/promises';
import { WORLD_RUNS } from '../../src/controller/run/view.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { loadClusterConfig } from '../../src/kube/config.ts';
import { JOBS, NODES, PODS, type Wire } from '../../src/kube/resource.ts';
import { Meter, residentBytes } from './accounting.ts';
import type { Writes } from './audit.ts';
import { completeStatus, NAMESPACE, podOf, runningStatus, succeededStatus, worldRun } from './objects.ts';
import { AGENT, startOperator, type Entry } from './operator-process.ts';
import { openStage, type Stage } from './stage.ts';

/** Many runs at work at once, and an operator that is restarted among them. The driver plays Job controller and kubelet. */
export interface LiveResult {
  live: number;
  settled: number;
  fillSeconds: number;
  /** Resident memory of the operator: the most while it filled, then at rest, then of the restarted one. */
  rssBytes: { peak: number; atRest: number; restarted: number };
  /** Over one minute in which nothing happened. */
  quiet: { writes: Writes; cpuMs: number };
  restart: {
    /** From the start of the process to complete caches: these runs, their Jobs and pods. */
    readyMs: number;
    /** In the first half minute of leading. */
    writes: Writes;
  };
}

const NODE = 'bench-node';
const WIDTH = 24;
/** As many of them end before the restart. */
const SETTLED_SHARE = 0.2;

export async function measureLiveRuns(count: number, entry: Entry): Promise<LiveResult> {
  const stage = await openStage({ form: 'nojob', who: 'operator', entry });
  const { client, audit } = stage;
  // The policies let nobody else make pods of runs.
  const jobController = KubeClient.connect(loadClusterConfig({ file: stage.users!.jobController }), {
    userAgent: 'worldflux-bench',
  });
  const stop = new AbortController();
  try {
    await addNode(client);
    const meter = new Meter(stage.pids());
    const startedAt = performance.now();
    const names = Array.from({ length: count }, (_, i) => `live-${String(i).padStart(5, '0')}`);
    const jobs = new Map<string, Wire<V1Job>>();
    const running = playKubelet(client, jobController, jobs, stop.signal);
    await parallel(names, (name) => client.create(WORLD_RUNS, worldRun(name)));
    await until(() => jobs.size === count && running.size === count, 'every run to have a running pod');
    const ending = [...jobs.values()].slice(0, Math.round(count * SETTLED_SHARE));
    await parallel(ending, (job) => end(client, job));
    await untilPhases(client, { Running: count - ending.length, Succeeded: ending.length });
    const fillSeconds = (performance.now() - startedAt) / 1000;
    await pause(15_000);
    const filled = meter.stop();

    const quietMark = audit.mark();
    const quietMeter = new Meter(stage.pids());
    await pause(60_000);
    const quiet = { cpuMs: quietMeter.stop().cpuMs['operator']!, writes: await audit.writesSince(quietMark, AGENT) };
    const atRest = residentBytes(stage.operator!.pid);

    const restart = await measureRestart(stage, entry);
    return {
      live: count - ending.length,
      settled: ending.length,
      fillSeconds,
      rssBytes: { peak: filled.peakRssBytes['operator']!, atRest, restarted: restart.rssBytes },
      quiet,
      restart: { readyMs: restart.readyMs, writes: restart.writes },
    };
  } finally {
    stop.abort();
    await jobController.close();
    await stage.close();
  }
}

async function measureRestart(stage: Stage, entry: Entry) {
  await stage.operator!.stop();
  const mark = stage.audit.mark();
  const operator = await startOperator(stage.cluster, stage.users!.operator, entry);
  stage.operator = operator;
  await pause(30_000);
  return {
    readyMs: operator.readyMs,
    rssBytes: residentBytes(operator.pid),
    writes: await stage.audit.writesSince(mark, AGENT),
  };
}

/** Gives every Job a running pod; answers the names of the Jobs that have one. */
function playKubelet(
  client: KubeClient,
  jobController: KubeClient,
  jobs: Map<string, Wire<V1Job>>,
  signal: AbortSignal,
): Set<string> {
  const running = new Set<string>();
  const queue: Wire<V1Job>[] = [];
  const start = async (job: Wire<V1Job>): Promise<void> => {
    const pod = podOf(job, NODE);
    await jobController.create(PODS, pod);
    const ref = { namespace: NAMESPACE, name: pod.metadata!.name! };
    await client.patch(PODS, ref, { merge: { status: runningStatus() } }, { subresource: 'status' });
    running.add(job.metadata!.name!);
  };
  const work = async () => {
    while (!signal.aborted) {
      const job = queue.shift();
      if (job === undefined) await pause(20);
      else await start(job);
    }
  };
  const follow = async () => {
    const events = client.watch(JOBS, { namespace: NAMESPACE, signal, resourceVersion: '0', timeoutSeconds: 3600 });
    for await (const { type, object } of events) {
      if (type !== 'ADDED') continue;
      jobs.set(object.metadata!.name!, object);
      queue.push(object);
    }
  };
  const failed = (error: unknown) => {
    if (!signal.aborted) throw error;
  };
  void follow().catch(failed);
  for (let i = 0; i < WIDTH; i += 1) void work().catch(failed);
  return running;
}

async function end(client: KubeClient, job: Wire<V1Job>): Promise<void> {
  const name = job.metadata!.name!;
  const status = { subresource: 'status' };
  await client.patch(
    PODS,
    { namespace: NAMESPACE, name: podOf(job, NODE).metadata!.name! },
    { merge: { status: succeededStatus() } },
    status,
  );
  await client.patch(JOBS, { namespace: NAMESPACE, name }, { merge: { status: completeStatus() } }, status);
}

/** Waits for what the API server says, not for what the operator believes. */
async function untilPhases(client: KubeClient, wanted: Record<string, number>): Promise<void> {
  const count = async (): Promise<boolean> => {
    const found: Record<string, number> = {};
    for await (const run of client.list(WORLD_RUNS, { namespace: NAMESPACE })) {
      const phase = run.status?.phase ?? '';
      found[phase] = (found[phase] ?? 0) + 1;
    }
    return Object.entries(wanted).every(([phase, number]) => found[phase] === number);
  };
  await until(count, `the phases ${JSON.stringify(wanted)}`);
}

async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 900_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`waited 15 minutes for ${what}`);
    await pause(1000);
  }
}

async function parallel<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const queue = [...items].toReversed();
  await Promise.all(
    Array.from({ length: WIDTH }, async () => {
      for (let item = queue.pop(); item !== undefined; item = queue.pop()) await work(item);
    }),
  );
}

async function addNode(client: KubeClient): Promise<void> {
  const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
  const ready = {
    type: 'Ready',
    status: 'True',
    reason: 'KubeletReady',
    message: '',
    lastHeartbeatTime: now,
    lastTransitionTime: now,
  };
  await client.create(NODES, { metadata: { name: NODE } });
  await client.patch(NODES, { name: NODE }, { merge: { status: { conditions: [ready] } } }, { subresource: 'status' });
}
