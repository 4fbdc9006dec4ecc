import type { V1Container, V1EnvVar } from '@kubernetes/client-node';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { runtimeProfileSpec } from '../../crds/runtime-profile.ts';
import { worldRunSpec } from '../../crds/world-run.ts';
import type { Wire } from '../../kube/resource.ts';
import { CONFIG_VARIABLE } from '../../results/collector/config.ts';
import { buildJob, buildService, PATHS, type JobPlan } from './job.ts';

const COLLECTOR = { image: 'operator:1', gatewayUrl: 'https://gateway:8443', caPem: 'PEM', audience: 'aud' };

type Input = Record<string, unknown>;

function aPlan(run: Input = {}, local: Input = {}, profile: Input = {}, more: Partial<JobPlan> = {}): JobPlan {
  return {
    name: 'pendulum-1234abcd-1',
    namespace: 'team',
    labels: { 'worldflux.ai/run-uid': 'u' },
    podLabels: { 'worldflux.ai/run-uid': 'u' },
    annotations: { 'worldflux.ai/template-digest': 'sha256:x' },
    owner: { apiVersion: 'worldflux.ai/v1alpha1', kind: 'WorldRun', name: 'pendulum', uid: 'u' },
    attempt: 1,
    runId: '20261120T100000Z-1234abcd',
    clientRunId: '6f1f6d6e-6f3b-5f0e-9d2b-0c7c3f1f2f57',
    run: worldRunSpec.parse({ command: ['python', 'train.py'], ...run }),
    profile: runtimeProfileSpec.parse({ runtime: 'local', local: { image: 'wm:1', ...local }, ...profile }),
    collector: COLLECTOR,
    toolImage: 'operator:1',
    serviceName: 'pendulum-1234abcd',
    ...more,
  };
}

const podOf = (plan: JobPlan) => buildJob(plan).spec!.template.spec!;
const user = (plan: JobPlan) => podOf(plan).containers[0]!;
const collector = (plan: JobPlan) => podOf(plan).initContainers?.find((c) => c.name === 'collector');
const envOf = (container: Wire<V1Container>): Record<string, Wire<V1EnvVar>> =>
  Object.fromEntries((container.env ?? []).map((e) => [e.name, e]));

test('authorities of the installation reach the collector, which uploads to the run store', () => {
  const configOf = (more: object): unknown =>
    JSON.parse(envOf(collector(aPlan({}, {}, {}, { collector: { ...COLLECTOR, ...more } }))!)[CONFIG_VARIABLE]!.value!);
  expect(configOf({ storeCaPem: 'OWN' })).toMatchObject({ caPem: 'PEM', storeCaPem: 'OWN' });
  expect(configOf({})).not.toHaveProperty('storeCaPem');
});

test('a Job of one node: the pod that the shortest run gets', () => {
  expect(buildJob(aPlan())).toMatchSnapshot('job');
});

test('a Job with everything', () => {
  const plan = aPlan(
    {
      nodes: 2,
      image: 'own:2',
      args: ['--fast'],
      env: [{ name: 'SEED', value: '7' }],
      forwardProviderEnv: ['HF_TOKEN'],
      adapter: { id: 'dreamer' },
      task: 'rollout',
      resources: { gpu: 4, requests: { cpu: '8' }, limits: { memory: '64Gi' } },
      nodeSelector: { zone: 'a', pool: 'mine' },
      queueName: 'team-a',
      volumes: [
        { name: 'data', mountPath: '/data', persistentVolumeClaim: { claimName: 'd', readOnly: true } },
        { name: 'conf', mountPath: '/conf', configMap: { name: 'c' } },
        { name: 'keys', mountPath: '/keys', secret: { secretName: 's' } },
      ],
      source: { git: { url: 'https://git.example/x', ref: 'main', secretRef: { name: 'git' } } },
      outputs: { artifacts: [{ name: 'checkpoint', path: 'ckpt/**', commit: true }], ranks: 'All' },
    },
    {
      imagePullSecrets: [{ name: 'regcred' }],
      gpu: { count: 1 },
      resources: { limits: { cpu: '16' } },
      shmSize: '16Gi',
      cache: { persistentVolumeClaim: 'model-cache' },
      nodeSelector: { pool: 'gpu' },
      tolerations: [{ key: 'nvidia.com/gpu', operator: 'Exists' }],
      priorityClassName: 'high',
      runtimeClassName: 'nvidia',
    },
    { providerEnv: [{ name: 'HF_TOKEN', secretKeyRef: { name: 'huggingface', key: 'token' } }] },
  );
  expect(buildJob(plan)).toMatchSnapshot('job');
  expect(buildService(plan, { run: 'u' })).toMatchSnapshot('service');
});

describe('nothing runs that the attempt does not know of', () => {
  test('one try, no replaced pods, and every rule names the user’s container', () => {
    const { spec } = buildJob(aPlan());
    expect(spec).toMatchObject({
      backoffLimit: 0,
      podReplacementPolicy: 'Failed',
      template: { spec: { restartPolicy: 'Never' } },
    });
    expect(spec!.podFailurePolicy!.rules.map((r) => r.action)).toEqual(['FailJob', 'FailJob']);
    const named = spec!.podFailurePolicy!.rules.flatMap((r) =>
      r.onExitCodes === undefined ? [] : [r.onExitCodes.containerName],
    );
    expect(named).toEqual(['run']);
  });

  test('the Job belongs to the run, and starts suspended only where a queue decides', () => {
    expect(buildJob(aPlan()).metadata!.ownerReferences).toMatchObject([{ uid: 'u', controller: true }]);
    expect(buildJob(aPlan()).spec!.suspend).toBeUndefined();
    const queued = buildJob(aPlan({}, { queueName: 'q' }));
    expect(queued.spec!.suspend).toBe(true);
    expect(queued.metadata!.labels!['kueue.x-k8s.io/queue-name']).toBe('q');
    expect(
      buildJob(aPlan({ queueName: 'mine' }, { queueName: 'q' })).metadata!.labels!['kueue.x-k8s.io/queue-name'],
    ).toBe('mine');
  });

  test('pods that an eviction stops do not fail the Job that a queue will start again', () => {
    expect(buildJob(aPlan()).spec!.podFailurePolicy!.rules).toHaveLength(2);
    expect(buildJob(aPlan({}, { queueName: 'q' })).spec!.podFailurePolicy).toBeUndefined();
  });

  test('the pod’s own deadline is behind the operator’s clocks, and its grace is the time to upload', () => {
    const plan = aPlan({ timeouts: { startupSeconds: 10, runSeconds: 100, uploadSeconds: 7 } });
    expect(podOf(plan)).toMatchObject({ activeDeadlineSeconds: 117, terminationGracePeriodSeconds: 7 });
    expect(podOf({ ...plan, collector: undefined }).terminationGracePeriodSeconds).toBe(30);
  });
});

describe('the environment', () => {
  test('the user’s own value wins over ours, and an allowed provider’s over both; no name stands twice', () => {
    const plan = aPlan(
      {
        env: [
          { name: 'HOME', value: '/mine' },
          { name: 'HF_TOKEN', value: 'guess' },
        ],
        forwardProviderEnv: ['HF_TOKEN'],
      },
      { cache: { persistentVolumeClaim: 'c' } },
      {
        providerEnv: [
          { name: 'HF_TOKEN', secretKeyRef: { name: 's', key: 'k' } },
          { name: 'OTHER', secretKeyRef: { name: 's', key: 'o' } },
        ],
      },
    );
    const env = envOf(user(plan));
    expect(env['HOME']!.value).toBe('/mine');
    expect(env['HF_TOKEN']).toEqual({ name: 'HF_TOKEN', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } });
    expect(env['OTHER']).toBeUndefined();
    expect(env['HF_HOME']!.value).toBe('/worldflux/cache/huggingface');
    expect(Object.keys(env)).toHaveLength(user(plan).env!.length);
  });

  test('rendezvous: every rank finds rank 0 by a name that the Service serves', () => {
    const plan = aPlan({ nodes: 3 });
    const env = envOf(user(plan));
    expect(env['MASTER_ADDR']!.value).toBe(`${plan.name}-0.${plan.serviceName}.team.svc`);
    expect(env['PET_MASTER_ADDR']).toMatchObject({ value: env['MASTER_ADDR']!.value });
    expect([env['WORLD_SIZE']!.value, env['PET_NNODES']!.value]).toEqual(['3', '3']);
    for (const name of ['RANK', 'NODE_RANK', 'PET_NODE_RANK']) {
      expect(env[name]!.valueFrom!.fieldRef!.fieldPath).toBe(
        "metadata.annotations['batch.kubernetes.io/job-completion-index']",
      );
    }
    expect(podOf(plan).subdomain).toBe(plan.serviceName);
    expect(buildJob(plan).spec).toMatchObject({ completionMode: 'Indexed', completions: 3, parallelism: 3 });
    expect(buildService(plan, {}).spec).toMatchObject({ clusterIP: 'None', publishNotReadyAddresses: true });
    expect(envOf(user(aPlan()))['MASTER_ADDR']).toBeUndefined();
  });

  test('what the collector is told survives the kubelet’s expansion of $(…)', () => {
    const path = '$(HOME)/a$$b/$x';
    const { value } = envOf(collector(aPlan({ outputs: { artifacts: [{ name: 'a', path }] } }))!)[CONFIG_VARIABLE]!;
    expect(JSON.parse(expanded(value!)).outputs.artifacts[0].path).toBe(path);
  });
});

/** As the kubelet does it: `$$` is a dollar, `$(NAME)` of an unknown name stays. */
const expanded = (text: string): string =>
  text.replaceAll(/\$(\$|\([^)]*\))/g, (_, next: string) => (next === '$' ? '$' : `$${next}`));

describe('secrets', () => {
  const plan = aPlan(
    { forwardProviderEnv: ['HF_TOKEN'] },
    {},
    { providerEnv: [{ name: 'HF_TOKEN', secretKeyRef: { name: 'huggingface', key: 'token' } }] },
  );

  test('the user’s container has no token of any ServiceAccount; the collector has its own', () => {
    const pod = podOf(plan);
    expect(pod).toMatchObject({ automountServiceAccountToken: false, enableServiceLinks: false });
    expect(pod.serviceAccountName).toBeUndefined();
    const projected = pod
      .volumes!.filter((v) => v.projected?.sources?.some((s) => s.serviceAccountToken))
      .map((v) => v.name);
    expect(projected).toEqual(['worldflux-token']);
    const hidden = [...projected, 'worldflux-state', 'worldflux-secrets'];
    expect(user(plan).volumeMounts!.filter((m) => hidden.includes(m.name))).toEqual([]);
    expect(collector(plan)!.volumeMounts!.map((m) => m.name)).toEqual(expect.arrayContaining(hidden));
  });

  test.each([
    [10, 600],
    [300, 1800],
  ])('the token outlives six upload windows of %i s', (uploadSeconds, expirationSeconds) => {
    const volume = podOf(aPlan({ timeouts: { uploadSeconds } })).volumes!.find((v) => v.name === 'worldflux-token')!;
    expect(volume.projected!.sources).toMatchObject([{ serviceAccountToken: { expirationSeconds, audience: 'aud' } }]);
  });

  test('a missing Secret is said by the user’s container, never by a mount that hangs', () => {
    const volume = podOf(plan).volumes!.find((v) => v.name === 'worldflux-secrets')!;
    expect(volume.projected!.sources).toEqual([
      { secret: { name: 'huggingface', items: [{ key: 'token', path: 'HF_TOKEN' }], optional: true } },
    ]);
  });
});

/** https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted */
function violations(plan: JobPlan): string[] {
  const pod = podOf(plan);
  const found: string[] = [];
  if (pod.hostNetwork || pod.hostPID || pod.hostIPC) found.push('host namespaces');
  if (pod.securityContext?.seccompProfile?.type !== 'RuntimeDefault') found.push('seccomp');
  if (pod.securityContext?.runAsNonRoot !== true || pod.securityContext.runAsUser === 0) found.push('root');
  for (const volume of pod.volumes ?? []) {
    const kinds = Object.keys(volume).filter((key) => key !== 'name');
    if (
      !kinds.every((kind) => ['configMap', 'emptyDir', 'persistentVolumeClaim', 'projected', 'secret'].includes(kind))
    )
      found.push(`volume ${volume.name}`);
  }
  for (const { name, securityContext: own } of [...pod.containers, ...(pod.initContainers ?? [])]) {
    if (own?.privileged || own?.allowPrivilegeEscalation !== false) found.push(`${name}: privilege`);
    if (own?.capabilities?.drop?.join() !== 'ALL' || own.capabilities.add !== undefined)
      found.push(`${name}: capabilities`);
    if (own?.runAsUser === 0) found.push(`${name}: root`);
  }
  return found;
}

const name = fc.stringMatching(/^[a-z]([-a-z0-9]{0,20}[a-z0-9])?$/);
const runInput = fc.record(
  {
    nodes: fc.integer({ min: 1, max: 4 }),
    image: name,
    env: fc.uniqueArray(
      fc.record({ name: fc.constantFrom('HOME', 'A', 'WORLD_SIZE', 'HF_TOKEN'), value: fc.string({ maxLength: 9 }) }),
      { selector: (e) => e.name },
    ),
    forwardProviderEnv: fc.uniqueArray(fc.constantFrom('HF_TOKEN', 'WANDB', 'NOT_LISTED')),
    resources: fc.record({ gpu: fc.nat(4) }),
    source: fc.oneof(
      fc.record({ configMap: fc.record({ name }) }),
      fc.record({
        git: fc.record(
          { url: fc.constant('https://git.example/x'), secretRef: fc.record({ name }) },
          { requiredKeys: ['url'] },
        ),
      }),
    ),
    volumes: fc.uniqueArray(
      fc.oneof(
        fc.record({
          name,
          mountPath: name.map((n) => `/mnt/${n}`),
          persistentVolumeClaim: fc.record({ claimName: name, readOnly: fc.boolean() }),
        }),
        fc.record({ name, mountPath: name.map((n) => `/mnt/${n}`), secret: fc.record({ secretName: name }) }),
      ),
      { selector: (v) => v.name, maxLength: 3 },
    ),
    queueName: name,
  },
  { requiredKeys: [] },
);
const localInput = fc.record(
  {
    gpu: fc.record({ count: fc.nat(8) }),
    shmSize: fc.constant('1Gi'),
    cache: fc.record({ persistentVolumeClaim: name }),
    queueName: name,
  },
  { requiredKeys: [] },
);
const providerEnv = ['HF_TOKEN', 'WANDB'].map((n) => ({
  name: n,
  secretKeyRef: { name: n.toLowerCase().replace('_', '-'), key: 'k' },
}));
const plans = fc
  .tuple(runInput, localInput, fc.boolean())
  .map(([run, local, collects]) => aPlan(run, local, { providerEnv }, collects ? {} : { collector: undefined }));

test('every pod meets the restricted standard, and every mount has its volume', () => {
  fc.assert(
    fc.property(plans, (plan) => {
      expect(violations(plan)).toEqual([]);
      const pod = podOf(plan);
      const volumes = pod.volumes!.map((v) => v.name);
      expect(new Set(volumes).size).toBe(volumes.length);
      for (const container of [...pod.containers, ...(pod.initContainers ?? [])]) {
        expect(volumes).toEqual(expect.arrayContaining(container.volumeMounts!.map((m) => m.name)));
        const names = (container.env ?? []).map((e) => e.name);
        expect(new Set(names).size).toBe(names.length);
      }
    }),
  );
});

test('a secret reaches a pod by reference alone, and only one that was asked for', () => {
  fc.assert(
    fc.property(plans, (plan) => {
      const refs = user(plan).env!.flatMap((e) => (e.valueFrom?.secretKeyRef === undefined ? [] : [e.name]));
      const asked = plan.run.forwardProviderEnv ?? [];
      expect(refs.toSorted()).toEqual(['HF_TOKEN', 'WANDB'].filter((n) => asked.includes(n)));
    }),
  );
});

test('the same plan gives the same bytes', () => {
  fc.assert(
    fc.property(plans, (plan) => {
      expect(JSON.stringify(buildJob(structuredClone(plan)))).toBe(JSON.stringify(buildJob(plan)));
    }),
  );
});

test('root only where the profile says so', () => {
  const root = podOf(aPlan({}, { securityContext: { runAsUser: 0 } }));
  expect(root.securityContext).toMatchObject({ runAsUser: 0, runAsNonRoot: false });
  expect(podOf(aPlan()).securityContext).toMatchObject({ runAsUser: 10001, fsGroup: 10001, runAsNonRoot: true });
});

test('the profile’s node selector cannot be widened by the run', () => {
  expect(
    podOf(aPlan({ nodeSelector: { pool: 'mine', zone: 'a' } }, { nodeSelector: { pool: 'gpu' } })).nodeSelector,
  ).toEqual({ pool: 'gpu', zone: 'a' });
});

test('a GPU is a limit of the profile’s resource; none asks for none', () => {
  expect(user(aPlan({}, { gpu: { resourceName: 'amd.com/gpu', count: 2 } })).resources!.limits).toEqual({
    'amd.com/gpu': '2',
  });
  expect(user(aPlan({ resources: { gpu: 0 } }, { gpu: {} })).resources!.limits).toBeUndefined();
});

test('the working directory is the source, unless the run names another', () => {
  const source = { configMap: { name: 'code' } };
  expect(user(aPlan({ source })).workingDir).toBe(PATHS.source);
  expect(user(aPlan({ source, workingDir: '/app' })).workingDir).toBe('/app');
  expect(user(aPlan()).workingDir).toBeUndefined();
});
