import fc from 'fast-check';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { attachCluster } from '../../cluster/index.ts';
import { runtimeProfileSpec } from '../../../src/crds/runtime-profile.ts';
import { worldRunSpec } from '../../../src/crds/world-run.ts';
import { RUNTIME_PROFILES, WORLD_RUNS } from '../../../src/controller/run/view.ts';
import { isKubeError } from '../../../src/kube/errors.ts';
import { Kit } from '../../e2e/kit.ts';
import { installCrds } from '../install-crds.ts';

/** zod and the API server must say the same of any object: the CLI and the docs speak for the one, users meet the other. */

let kit: Kit;
beforeAll(async () => {
  const cluster = await attachCluster(inject('cluster'));
  if (cluster === undefined) throw new Error('the layer has no cluster');
  await installCrds(cluster);
  kit = await Kit.open(cluster, 'same-verdict');
});
afterAll(() => kit.close());

type Json = string | number | boolean | Json[] | { [key: string]: Json };

/** Every field set to something right. Mutations start from here. */
const FULL_RUN: Json = {
  runtimeProfileRef: { name: 'p' },
  fallbackProfileRefs: [{ name: 'q' }],
  adapter: { id: 'a' },
  task: 'rollout',
  image: 'busybox:1',
  command: ['true'],
  args: ['x'],
  workingDir: '/w',
  env: [{ name: 'A', value: '1' }],
  forwardProviderEnv: ['HF_TOKEN'],
  nodes: 2,
  resources: { gpu: 1, requests: { cpu: '500m' }, limits: { memory: '1Gi' } },
  nodeSelector: { 'kubernetes.io/arch': 'amd64' },
  queueName: 'q',
  volumes: [{ name: 'v', mountPath: '/v', configMap: { name: 'c' } }],
  source: { git: { url: 'https://example.com/x.git', ref: 'main', path: '.', secretRef: { name: 's' } } },
  datasets: [{ id: 'd', revision: 'r' }],
  request: { capability: 'generate', prompt: 'p', options: { seed: 7 }, files: [{ input: 'image', path: 'x.png' }] },
  acknowledgeExperimental: true,
  approval: { required: true },
  outputs: {
    metricsFile: 'm.json',
    seriesFile: 's.jsonl',
    ranks: 'All',
    artifacts: [{ name: 'a', path: 'x/**', commit: true }],
  },
  timeouts: { queueSeconds: 1, startupSeconds: 1, runSeconds: 1, uploadSeconds: 1 },
  retry: { maxAttempts: 2, onReasons: ['Preempted'] },
  runKey: 'k',
  suspend: false,
  cancel: false,
  dryRun: false,
  ttlSecondsAfterFinished: 0,
};
const COMMON_PROFILE: { [key: string]: Json } = {
  allowedNamespaces: { matchLabels: { a: 'b' }, matchExpressions: [{ key: 'a', operator: 'In', values: ['b'] }] },
  providerEnv: [{ name: 'HF_TOKEN', secretKeyRef: { name: 's', key: 'k' } }],
  limits: {
    maxRunSeconds: 1,
    maxUploadSeconds: 1,
    maxCostUSDPerRun: '1.5',
    maxCostUSDPerNamespacePerDay: '20',
    maxConcurrentRuns: 1,
    maxConcurrentRunsPerNamespace: 1,
    maxArtifactBytes: '1Gi',
    maxStoredBytesPerNamespace: '1Ti',
  },
  pricing: { usdPerGPUHour: '2.45', usdPerNodeHour: '0', usdPerSecond: '0.001', usdPerRequest: '0.05' },
  approval: { required: true },
  retention: { policy: 'Delete', expireSeconds: 1, afterDeleteSeconds: 0 },
  onNodeLost: 'Wait',
  nodeLostSeconds: 1,
  adapters: [
    {
      id: 'a',
      source: 's',
      revision: 'r',
      vramFloorGiB: 1,
      knownIssues: ['i'],
      tasks: ['t'],
      support: { level: 'ProductionBacked', evidence: 'e' },
    },
  ],
};
const FULL_PROFILE: Json = {
  runtime: 'local',
  local: {
    image: 'busybox:1',
    imagePullSecrets: [{ name: 's' }],
    gpu: { resourceName: 'nvidia.com/gpu', count: 1, memoryGiB: 80, requirePresent: true },
    resources: { requests: { cpu: '1' }, limits: { memory: '1Gi' } },
    shmSize: '1Gi',
    outputSizeLimit: '1Gi',
    cache: { persistentVolumeClaim: 'c', mountPath: '/c' },
    securityContext: { runAsUser: 0, fsGroup: 0 },
    nodeSelector: { a: 'b' },
    tolerations: [{ key: 'k', operator: 'Exists', value: 'v', effect: 'NoSchedule', tolerationSeconds: 1 }],
    priorityClassName: 'p',
    runtimeClassName: 'r',
    queueName: 'q',
    collect: 'Disabled',
    overrides: {
      image: { allowed: ['*'], requireDigest: true },
      gpu: { max: 1 },
      nodes: { max: 1 },
      resources: { max: { cpu: '1' } },
      volumes: ['secret'],
      nodeSelectorKeys: ['a/b'],
      queueName: true,
      gitHosts: ['example.com'],
    },
  },
  ...COMMON_PROFILE,
};
const operation = { timeoutSeconds: 1.5, maxAttempts: 1, backoffSeconds: 0.25, backoffMultiplier: 2 };
const FULL_VENDOR_PROFILE: Json = {
  runtime: 'replicate',
  replicate: { endpoint: 'https://gateway.example/v1', model: 'acme/wm', webhookURL: 'https://hooks.example/x' },
  supportLevel: 'Experimental',
  credentials: { secretRef: { name: 's' } },
  requestPolicy: {
    health: operation,
    request: { ...operation, retryableStatusCodes: [429], maxElapsedSeconds: 60 },
    polling: operation,
    download: operation,
  },
  onUnknownSubmit: 'WaitForPerson',
  orphans: 'Delete',
  network: { allowedHosts: ['gateway.example'], allowPlainHTTP: true, allowPrivateEndpoints: true },
  ...COMMON_PROFILE,
};

function paths(value: Json, at: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== 'object') return [at];
  const children = Array.isArray(value)
    ? value.map((v, i) => paths(v, [...at, i]))
    : Object.entries(value).map(([k, v]) => paths(v, [...at, k]));
  return [...(at.length > 0 ? [at] : []), ...children.flat()];
}

function set(value: Json, [head, ...rest]: (string | number)[], to: Json | undefined): Json {
  const copy = structuredClone(value) as Record<string | number, Json>;
  if (rest.length > 0) {
    if (typeof copy[head!] === 'object') copy[head!] = set(copy[head!]!, rest, to);
  } else if (to === undefined) {
    if (Array.isArray(copy)) copy.splice(head as number, 1);
    else delete copy[head!];
  } else copy[head!] = to;
  return copy as Json;
}

/** No null: the API server prunes it before anything is checked. */
const odd: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json>(
    '',
    'x',
    'UPPER',
    '-',
    'a b',
    '../x',
    'a/../b',
    '/abs',
    'x'.repeat(300),
    'ä',
    '0',
    '1.5',
    '1Gi',
    '1e3',
  ),
  fc.constantFrom<Json>(0, 1, -1, 1.5, 2_147_483_647, 2_147_483_648, 1e15),
  fc.boolean(),
  fc.constantFrom<Json>([], ['x'], [1], {}, { x: 'y' }, { x: 1 }),
);

/** CEL rules stand in the CRD alone; zod knows what one field may hold, not how fields go together. */
const CEL =
  /exactly one of|exactly the block that|belong to the operator|put credentials|a vendor needs credentials|a profile that costs money/;

test.for([
  { kind: 'WorldRun', what: 'WorldRun', type: WORLD_RUNS, schema: worldRunSpec, full: FULL_RUN },
  {
    kind: 'RuntimeProfile',
    what: 'RuntimeProfile',
    type: RUNTIME_PROFILES,
    schema: runtimeProfileSpec,
    full: FULL_PROFILE,
  },
  {
    kind: 'RuntimeProfile',
    what: 'RuntimeProfile of a vendor',
    type: RUNTIME_PROFILES,
    schema: runtimeProfileSpec,
    full: FULL_VENDOR_PROFILE,
  },
])('zod and the API server agree on any $what', async ({ kind, what, type, schema, full }) => {
  const places = paths(full);
  const mutation = fc.record({
    at: fc.constantFrom(...places),
    to: fc.option(odd, { nil: undefined }),
    extra: fc.constantFrom(undefined, undefined, undefined, 'surprise'),
  });
  let agreed = { taken: 0, refused: 0 };
  const property = fc.asyncProperty(fc.array(mutation, { maxLength: 2 }), async (mutations) => {
    let spec: Json = full;
    for (const { at, to, extra } of mutations)
      spec = set(
        spec,
        extra === undefined ? at : [...at.slice(0, -1), extra],
        to ?? (extra === undefined ? undefined : 'x'),
      );
    const object = {
      apiVersion: 'worldflux.ai/v1alpha1',
      kind,
      metadata: { name: 'generated', ...(type.namespaced && { namespace: kit.namespace }) },
      spec,
    };
    const zod = schema.safeParse(spec);
    let refusal: string | undefined;
    try {
      await kit.client.create(type as never, object as never, { strict: true, dryRun: true });
    } catch (error) {
      if (!isKubeError(error, 'invalid')) throw error;
      refusal = error.message;
    }
    if (zod.success && refusal !== undefined && CEL.test(refusal)) return;
    agreed = { taken: agreed.taken + Number(zod.success), refused: agreed.refused + Number(!zod.success) };
    expect({ taken: refusal === undefined, words: refusal }, JSON.stringify(zod.error?.issues)).toEqual({
      taken: zod.success,
      words: refusal,
    });
  });
  await fc.assert(property, { numRuns: 400, verbose: 1 });
  console.log(`${what}: ${agreed.taken} taken and ${agreed.refused} refused by both`);
});
