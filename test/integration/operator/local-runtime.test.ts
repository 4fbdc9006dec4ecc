import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test } from 'vitest';
import { runtimeProfileSpec } from '../../../src/crds/runtime-profile.ts';
import { worldRunSpec } from '../../../src/crds/world-run.ts';
import { KubeCluster } from '../../../src/controller/kube-cluster.ts';
import { WORLD_RUNS } from '../../../src/controller/run/view.ts';
import { JOBS, NAMESPACES } from '../../../src/kube/resource.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import type { Handle, Plan, RuntimeContext, RuntimeIo } from '../../../src/runtime/contract.ts';
import { jobPlan } from '../../../src/runtime/local/attempt-job.ts';
import { buildJob } from '../../../src/runtime/local/job.ts';
import { childName, JOB_LABELS } from '../../../src/runtime/local/names.ts';
import { LocalRuntime } from '../../../src/runtime/local/runtime.ts';
import { aContext, aProfileRef } from '../../../src/runtime/testing/a-context.ts';
import { attachCluster } from '../../cluster/index.ts';
import { installCrds } from '../install-crds.ts';
import { clusterConfig } from '../kube/setup.ts';

/** The local runtime's steps on a real API server with the real Job controller; there is no node, so no pod starts. */

const client = KubeClient.connect(clusterConfig(), { userAgent: 'local-runtime', connections: 4 });
const namespace = `local-runtime-${process.pid}`;
const installation = `installation-${process.pid}`;
const profile = aProfileRef({ runtime: 'local', local: { image: 'busybox:1', collect: 'Disabled' } });

function processOf(installationId = installation): LocalRuntime {
  return new LocalRuntime({
    installationId,
    cluster: new KubeCluster(client, () => undefined),
    around: { image: 'operator:1', gatewayUrl: 'https://gateway:8443', caPem: 'PEM' },
    received: async () => ({ results: new Map(), logs: new Map() }),
    doctor: async () => [],
  });
}

const io: RuntimeIo & { once: { notAfter: number; maySend(): void } } = {
  profile,
  credentials: {},
  http: { fetch: () => fetch },
  signal: new AbortController().signal,
  now: () => Date.now(),
  once: { notAfter: Infinity, maySend: () => undefined },
};

beforeAll(async () => {
  await installCrds((await attachCluster(inject('cluster')))!);
  await client.create(NAMESPACES, { metadata: { name: namespace } });
});
afterAll(async () => {
  await client.delete(NAMESPACES, { name: namespace });
  await client.close();
});

/** The first attempt of a run that is really there: the garbage collector takes Jobs whose owner is not. */
async function aRun(name: string): Promise<RuntimeContext> {
  const context = aContext({ command: ['true'] }, profile);
  const run = await client.create(WORLD_RUNS, { metadata: { name, namespace }, spec: context.spec });
  return { ...context, namespace, name, uid: run.metadata!.uid!, installationId: installation };
}

const planOf = (runtime: LocalRuntime, context: RuntimeContext): Plan => runtime.plan(context) as Plan;

async function stateOf(handle: Handle) {
  return (await processOf().observe([handle], io)).get(handle.externalId);
}

/** Every field of a run and of a profile that ends in a Job. */
const everything = {
  run: worldRunSpec.parse({
    nodes: 2,
    image: 'own:2',
    command: ['python', 'train.py'],
    args: ['--fast'],
    workingDir: '/worldflux/source/src',
    env: [{ name: 'SEED', value: '7' }],
    forwardProviderEnv: ['HF_TOKEN'],
    resources: { gpu: 4, requests: { cpu: '8' }, limits: { memory: '64Gi' } },
    nodeSelector: { zone: 'a' },
    volumes: [
      { name: 'data', mountPath: '/data', persistentVolumeClaim: { claimName: 'd', readOnly: true } },
      { name: 'conf', mountPath: '/conf', configMap: { name: 'c' } },
      { name: 'keys', mountPath: '/keys', secret: { secretName: 's' } },
    ],
    source: { git: { url: 'https://git.example/x', ref: 'main', secretRef: { name: 'git' } } },
  }),
  profile: runtimeProfileSpec.parse({
    runtime: 'local',
    local: {
      imagePullSecrets: [{ name: 'regcred' }],
      gpu: { resourceName: 'nvidia.com/gpu', count: 1 },
      resources: { limits: { cpu: '16' } },
      shmSize: '16Gi',
      cache: { persistentVolumeClaim: 'model-cache' },
      nodeSelector: { pool: 'gpu' },
      tolerations: [{ key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' }],
      priorityClassName: 'high',
      runtimeClassName: 'nvidia',
      queueName: 'team-a',
    },
    providerEnv: [{ name: 'HF_TOKEN', secretKeyRef: { name: 'huggingface', key: 'token' } }],
  }),
};

describe('a Job with everything that can be set', () => {
  const job = buildJob(
    jobPlan(
      {
        ...aContext({ command: ['true'] }, profile),
        namespace,
        name: 'everything',
        uid: 'u',
        spec: everything.run,
        profile: { name: 'all', digest: 'sha256:x', spec: everything.profile },
      },
      { image: 'operator:1', gatewayUrl: 'https://gateway:8443', caPem: 'PEM' },
    ),
  );
  /** A field that the API server does not know would be dropped without a word otherwise. */
  const taken = async (object: object): Promise<string> => {
    const cluster = (await attachCluster(inject('cluster')))!;
    return cluster.kubectl(['create', '--dry-run=server', '--validate=strict', '-o', 'name', '-f', '-'], {
      input: JSON.stringify(object),
    });
  };

  test('has no field that the API server does not know', async () => {
    expect((await taken(job)).trim()).toBe(`job.batch/${job.metadata!.name}`);
  });

  test('makes pods that the restricted standard lets in', async () => {
    const restricted = `${namespace}-restricted`;
    await client.create(NAMESPACES, {
      metadata: { name: restricted, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
    });
    onTestFinished(async () => void (await client.delete(NAMESPACES, { name: restricted })));
    const cluster = (await attachCluster(inject('cluster')))!;
    await cluster.kubectl(['-n', restricted, 'wait', '--for=create', 'serviceaccount/default', '--timeout=60s']);
    // Both classes would have to exist.
    const { priorityClassName: _priority, runtimeClassName: _class, ...spec } = job.spec!.template.spec!;
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'everything', namespace: restricted }, spec };
    expect((await taken(pod)).trim()).toBe('pod/everything');
    const root = { ...spec, securityContext: { ...spec.securityContext, runAsNonRoot: false } };
    await expect(taken({ ...pod, spec: root })).rejects.toThrow(/violates PodSecurity "restricted/);
  });
});

describe('a Job', () => {
  test('that two processes create is one', async () => {
    const context = await aRun('twice');
    const first = await processOf().create(planOf(processOf(), context));
    const second = await processOf().create(planOf(processOf(), context));
    expect(second).toEqual(first);
    expect(await stateOf(first)).toMatchObject({ at: 'queued' });
  });

  test('that a stranger made under its name is not adopted, and not touched', async () => {
    const context = await aRun('taken');
    const name = childName(context, 1);
    const stranger = await client.create(JOBS, {
      metadata: { name, namespace },
      spec: {
        suspend: true,
        template: { spec: { restartPolicy: 'Never', containers: [{ name: 'x', image: 'busybox:1' }] } },
      },
    });
    const created = processOf().create(planOf(processOf(), context));
    await expect(created).rejects.toMatchObject({ kind: 'retryable', message: expect.stringContaining(name) });
    expect((await client.get(JOBS, { namespace, name })).metadata!.uid).toBe(stranger.metadata!.uid);
  });

  test('of the same run with another command is not adopted', async () => {
    const context = await aRun('changed');
    await processOf().create(planOf(processOf(), context));
    const other = { ...context, spec: { ...context.spec, command: ['false'] } };
    await expect(processOf().create(planOf(processOf(), other))).rejects.toMatchObject({ kind: 'retryable' });
  });

  test('that is torn down goes with its pods, and once more is no failure', async () => {
    const handle = await processOf().create(planOf(processOf(), await aRun('stopped')));
    await processOf().teardown(handle);
    await expect.poll(() => stateOf(handle), { timeout: 60_000 }).toEqual({ at: 'gone' });
    await processOf().teardown(handle);
  });

  test('is listed for its own installation alone, with its mark', async () => {
    const context = await aRun('listed');
    const handle = await processOf().create(planOf(processOf(), context));
    const found = [];
    for await (const work of processOf().list(0)) found.push(work);
    expect(found.find(({ externalId }) => externalId === handle.externalId)).toMatchObject({
      live: true,
      createdAt: handle.createdAt,
      mark: { clientRunId: context.clientRunId, attempt: 1 },
    });
    for await (const work of processOf('another').list(0)) expect(work).toBeUndefined();
    const job = await client.get(JOBS, { namespace, name: childName(context, 1) });
    expect(job.metadata?.labels?.[JOB_LABELS.installation]).toBe(installation);
  });

  test('that the server refuses is the run’s fault, in the server’s words', async () => {
    const context = await aRun('refused');
    const wrong = { ...context, spec: { ...context.spec, resources: { requests: { cpu: 'many' } } } };
    await expect(processOf().create(planOf(processOf(), wrong))).rejects.toMatchObject({ kind: 'user' });
  });

  test('of a namespace that is not there is not in doubt', async () => {
    const context = { ...(await aRun('nowhere')), namespace: 'no-such-namespace' };
    await expect(processOf().create(planOf(processOf(), context))).rejects.toMatchObject({ kind: 'retryable' });
  });
});
