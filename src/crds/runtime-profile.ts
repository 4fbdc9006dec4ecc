import { z } from 'zod';
import {
  absolutePath,
  conditions,
  envName,
  imageReference,
  keyRef,
  labelValue,
  mapList,
  money,
  nodeSelector,
  objectName,
  qualifiedName,
  quantity,
  resourceList,
  seconds,
  toleration,
  withRules,
} from './common.ts';
import { RUNTIME_NAMES, SUPPORT_LEVELS, SYNC_MODES } from './vocabulary.ts';

/** Where work may run, on what hardware and at what price. Cluster-scoped: the platform team's object. */

const overrides = z
  .strictObject({
    image: z
      .strictObject({
        allowed: z
          .array(z.string().min(1).max(512))
          .min(1)
          .max(32)
          .describe('Image references a run may name; `*` stands for any characters.'),
        requireDigest: z.boolean().default(false).describe('Refuse images that are not pinned by `@sha256:`.'),
      })
      .optional()
      .describe('Lets a run name its own image.'),
    gpu: z
      .strictObject({ max: z.int32().min(0).max(64) })
      .optional()
      .describe('The most GPUs a run may ask for on each node.'),
    nodes: z
      .strictObject({ max: z.int32().min(1).max(256) })
      .optional()
      .describe('The most nodes a run may ask for.'),
    resources: z
      .strictObject({ max: resourceList() })
      .optional()
      .describe('The most of each resource a run may request or limit to.'),
    volumes: z
      .array(z.enum(['persistentVolumeClaim', 'configMap', 'secret']))
      .max(3)
      .optional()
      .describe('Kinds of volume a run may mount.'),
    nodeSelectorKeys: z.array(qualifiedName()).max(16).optional().describe('Node labels a run may select by.'),
    queueName: z.boolean().default(false).describe('A run may choose its Kueue queue.'),
    gitHosts: z
      .array(z.string().min(1).max(253))
      .max(32)
      .optional()
      .describe('Hosts that a git source may come from. Absent: any host over https or ssh.'),
  })
  .describe('What a WorldRun may set, and how far. Without an entry: command, args, env and working directory only.');

const local = z
  .strictObject({
    image: imageReference().optional().describe('The image of runs that name none.'),
    imagePullSecrets: z
      .array(z.strictObject({ name: objectName() }))
      .max(8)
      .optional()
      .describe('Secrets in the run’s namespace.'),
    gpu: z
      .strictObject({
        resourceName: qualifiedName()
          .default('nvidia.com/gpu')
          .describe('The extended resource that a device plugin announces.'),
        count: z.int32().min(0).max(64).default(1).describe('GPUs for each node of a run that asks for no number.'),
        memoryGiB: z
          .int32()
          .min(1)
          .max(4096)
          .optional()
          .describe('Memory of one GPU; adapters with a higher floor are refused.'),
        requirePresent: z
          .boolean()
          .default(false)
          .describe(
            'A doctor error, not only a remark, while no node has the resource. Leave it off where nodes scale from zero.',
          ),
      })
      .optional(),
    resources: z
      .strictObject({ requests: resourceList().optional(), limits: resourceList().optional() })
      .optional()
      .describe('Requests and limits of each node’s container where the run names none.'),
    shmSize: quantity().optional().describe('Size of a memory volume at /dev/shm; it counts towards the memory limit.'),
    outputSizeLimit: quantity().default('100Gi').describe('The most that a run may write below /worldflux/output.'),
    cache: z
      .strictObject({
        persistentVolumeClaim: objectName().describe('A claim in the run’s namespace.'),
        mountPath: absolutePath().default('/worldflux/cache'),
      })
      .optional()
      .describe('Downloads that outlive a run: HF_HOME, TORCH_HOME, XDG_CACHE_HOME and MPLCONFIGDIR point below it.'),
    securityContext: z
      .strictObject({
        runAsUser: z
          .int32()
          .min(0)
          .default(10001)
          .describe(
            '0 (root) only if the image cannot do without; namespaces that enforce the restricted standard refuse it.',
          ),
        fsGroup: z.int32().min(0).default(10001),
      })
      .prefault({})
      .describe('One uid for the user’s container and the collector.'),
    nodeSelector: nodeSelector().optional(),
    tolerations: z.array(toleration()).max(32).optional(),
    priorityClassName: objectName().optional(),
    runtimeClassName: objectName().optional(),
    queueName: labelValue()
      .min(1)
      .optional()
      .describe('Kueue LocalQueue; the Job is created suspended and Kueue starts it.'),
    collect: z
      .enum(['Enabled', 'Disabled'])
      .default('Enabled')
      .describe(
        'Disabled: no collector in the pod, no metrics, log or artifacts; the end of the Job alone ends the run.',
      ),
    overrides: overrides.optional(),
  })
  .describe('A Job in this cluster.');

const adapter = z.strictObject({
  id: z.string().min(1).max(128),
  source: z.string().max(512).optional().describe('Where the weights come from, such as `lerobot:lerobot/pi0`.'),
  revision: z.string().max(128).optional(),
  vramFloorGiB: z.int32().min(1).max(4096).optional().describe('GPU memory that the adapter needs at least.'),
  knownIssues: z.array(z.string().max(512)).max(16).optional(),
  tasks: z.array(z.string().max(63)).max(16).optional().describe('Tasks it is known to serve; informational.'),
  support: z
    .strictObject({
      level: z.enum(['ProductionBacked', 'Experimental']),
      evidence: z
        .string()
        .max(256)
        .optional()
        .describe('Where it was seen to work, such as an id in your own records.'),
    })
    .optional()
    .describe('What the platform team vouches for, for this adapter on this profile’s runtime.'),
});

/** `https` unless the profile's network rules say otherwise; no user, query or fragment. */
const endpoint = () =>
  z
    .string()
    .min(1)
    .max(512)
    .regex(/^https?:\/\/[^\s/?#@]+(\/[^\s?#]*)?$/);

const replicateModel = () =>
  z
    .string()
    .min(3)
    .max(256)
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*\/[A-Za-z0-9][A-Za-z0-9._-]*$/);

const replicate = withRules(
  z.strictObject({
    endpoint: endpoint()
      .optional()
      .describe('A gateway or proxy in front of the API. Absent: the vendor’s own. The Secret must list its host.'),
    model: replicateModel().optional().describe('owner/name of an official model.'),
    version: z
      .string()
      .regex(/^([A-Za-z0-9][A-Za-z0-9._-]*\/[A-Za-z0-9][A-Za-z0-9._-]*:)?[0-9a-f]{64}$/)
      .max(330)
      .optional()
      .describe('A version’s 64 hexadecimal digits, with or without owner/name: before them.'),
    deployment: replicateModel().optional().describe('owner/name of a deployment.'),
    webhookURL: endpoint()
      .optional()
      .describe('Where the vendor reaches this operator, https. Deliveries are hints: work is polled either way.'),
  }),
  [
    {
      rule: '[has(self.model), has(self.version), has(self.deployment)].filter(x, x).size() == 1',
      message: 'exactly one of model, version, deployment says what is run',
    },
  ],
).describe('Predictions at Replicate. Registered, not production-backed.');

const mock = z
  .strictObject({
    runSeconds: z.number().min(0).max(3600).default(0).describe('How long each run takes.'),
    failure: z
      .enum(['None', 'Fail', 'Reject'])
      .default('None')
      .describe('Fail: every run fails. Reject: every request is refused.'),
  })
  .describe('Deterministic results without any model, for tests of pipelines.');

const genie = z.strictObject({}).describe('Accepted and always refused with ScaffoldOnly: nothing stands behind it.');

/** Above 0, not from 0.001 on: of a whole number the API server compares with a bound that it has cut to one. */
const operation = (timeoutSeconds: number, maxAttempts: number) =>
  z
    .strictObject({
      timeoutSeconds: z.number().gt(0).max(3600).default(timeoutSeconds).describe('For one attempt.'),
      maxAttempts: z.int32().min(1).max(20).default(maxAttempts),
      backoffSeconds: z
        .number()
        .min(0)
        .max(300)
        .default(maxAttempts === 1 ? 0 : 0.25),
      backoffMultiplier: z
        .number()
        .min(1)
        .max(10)
        .default(maxAttempts === 1 ? 1 : 2),
      retryableStatusCodes: z
        .array(z.int32().min(100).max(599))
        .max(32)
        .default([408, 429, 500, 502, 503, 504])
        .meta({ 'x-kubernetes-list-type': 'set' }),
      maxElapsedSeconds: z
        .number()
        .gt(0)
        .max(604_800)
        .optional()
        .describe('For the whole operation with its attempts, pauses and polls; survives a restart.'),
    })
    .prefault({});

const requestPolicy = z
  .strictObject({
    health: operation(10, 3),
    request: operation(60, 1).describe('Creating work. It is never repeated while its outcome is in doubt.'),
    polling: operation(30, 3),
    download: operation(300, 3),
  })
  .describe('How calls to the vendor are made: WorldForge’s four operation classes and defaults.');

const sync = z
  .strictObject({
    mode: z
      .enum(SYNC_MODES)
      .default('Disabled')
      .describe('OnCompletion: every finished run. Manual: on request. A run may only lower it.'),
    baseURL: z
      .string()
      .min(1)
      .max(512)
      .regex(/^https?:\/\/[^\s/?#@]+(\/[^\s?#]*)?$/)
      .describe('Where the WorldFlux API is; there is no default.'),
    allowedProjects: z
      .array(z.string().min(1).max(128))
      .min(1)
      .max(64)
      .meta({ 'x-kubernetes-list-type': 'set' })
      .describe('Projects a run may name; with exactly one, a run need not.'),
    apiKeySecretRef: z
      .strictObject({
        name: objectName(),
        key: z.string().min(1).max(253).default('apiKey'),
        from: z
          .enum(['RunNamespace', 'OperatorNamespace'])
          .default('RunNamespace')
          .describe(
            'RunNamespace needs a Role there that grants get on this one Secret. OperatorNamespace needs allowedNamespaces, and the label worldflux.ai/credential-for: worldflux on the Secret.',
          ),
      })
      .describe('The bearer key. One key is one workspace.'),
    unsuccessfulRuns: z
      .enum(['Include', 'Exclude'])
      .default('Include')
      .describe('Failed and cancelled runs; their manifest says so.'),
  })
  .describe('Sending finished runs to WorldFlux.');

const network = z
  .strictObject({
    allowedHosts: z
      .array(z.string().min(1).max(253))
      .min(1)
      .max(32)
      .optional()
      .describe(
        'Hosts that may be talked to, exact or as `*.example.com`, upload hosts included. Absent: every public host.',
      ),
    allowPlainHTTP: z.boolean().default(false),
    allowPrivateEndpoints: z
      .boolean()
      .default(false)
      .describe('Private, loopback and cluster addresses. Link-local and metadata addresses are never allowed.'),
  })
  .describe('Where outgoing requests for this profile may go.');

export const runtimeProfileSpec = withRules(
  z.strictObject({
    runtime: z.enum(RUNTIME_NAMES).describe('The plugin that runs the work.'),
    local: local.optional(),
    replicate: replicate.optional(),
    mock: mock.optional(),
    genie: genie.optional(),
    supportLevel: z
      .enum(SUPPORT_LEVELS)
      .optional()
      .describe(
        'The platform team’s word on this profile. Absent: what the runtime promises. Experimental: each run must acknowledge it.',
      ),
    credentials: z
      .strictObject({ secretRef: z.strictObject({ name: objectName() }) })
      .optional()
      .describe(
        'A Secret in the operator’s namespace, labelled worldflux.ai/credential-for: <runtime>, with the vendor’s own environment names as keys and the hosts that it may be sent to in the annotation worldflux.ai/allowed-hosts.',
      ),
    approval: z
      .strictObject({ required: z.boolean() })
      .optional()
      .describe('Whether each run waits for a person who may update worldruns/approval. A run may ask for it too.'),
    requestPolicy: requestPolicy.optional(),
    onUnknownSubmit: z
      .enum(['WaitForPerson', 'WaitForDeadline'])
      .default('WaitForDeadline')
      .describe(
        'When looking does not tell whether the vendor has the work: wait for the annotation worldflux.ai/submit-outcome, or until the vendor-side deadline has passed. Nothing is bought twice either way.',
      ),
    orphans: z
      .enum(['Report', 'Delete'])
      .default('Report')
      .describe('Work of this installation at the vendor that no run names. Report: a metric and an event.'),
    allowedNamespaces: z
      .strictObject({
        matchLabels: z.record(z.string().max(317), labelValue()).meta({ maxProperties: 16 }).optional(),
        matchExpressions: z
          .array(
            z.strictObject({
              key: qualifiedName(),
              operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']),
              values: z.array(labelValue()).max(64).optional(),
            }),
          )
          .max(16)
          .optional(),
      })
      .optional()
      .describe('Namespaces whose runs may use the profile, by label. Absent: every namespace.'),
    providerEnv: mapList(z.array(z.strictObject({ name: envName(), secretKeyRef: keyRef() })).max(64), ['name'])
      .optional()
      .describe('Variables that a run may forward, each read from a Secret in the run’s own namespace.'),
    limits: z
      .strictObject({
        maxRunSeconds: seconds().optional(),
        maxUploadSeconds: seconds(86_400).default(1800),
        maxCostUSDPerRun: money().optional(),
        maxCostUSDPerNamespacePerDay: money()
          .optional()
          .describe(
            'Spent and reserved in one UTC day; a run that would pass it waits. Deleting runs gives nothing back.',
          ),
        maxConcurrentRuns: z.int32().min(1).max(100_000).optional(),
        maxConcurrentRunsPerNamespace: z.int32().min(1).max(100_000).optional(),
        maxArtifactBytes: quantity().default('100Gi').describe('The most that one artifact may hold.'),
        maxStoredBytesPerNamespace: quantity()
          .optional()
          .describe('Runs wait while their namespace’s stored results are above it.'),
      })
      .prefault({}),
    pricing: z
      .strictObject({
        usdPerGPUHour: money().optional(),
        usdPerNodeHour: money().optional().describe('For nodes without GPUs, or on top of them.'),
        usdPerSecond: money().optional().describe('For each second of a vendor’s work.'),
        usdPerRequest: money().optional().describe('For each request sent to a vendor, retries included.'),
      })
      .optional()
      .describe(
        'What runs are priced with before they start, and the estimate in the manifest. Per GPU and node hour for Jobs, per second and request for vendors.',
      ),
    retention: z
      .strictObject({
        policy: z.enum(['Retain', 'Delete']).default('Retain').describe('Delete: stored results go with the WorldRun.'),
        expireSeconds: seconds().optional().describe('Stored results are removed this long after the run finished.'),
        afterDeleteSeconds: z
          .int32()
          .min(0)
          .max(31_536_000)
          .default(86_400)
          .describe('How long Delete still keeps the results of a deleted run.'),
      })
      .prefault({}),
    sync: sync.optional(),
    network: network.optional(),
    onNodeLost: z
      .enum(['Fail', 'Wait'])
      .default('Fail')
      .describe('Fail: after nodeLostSeconds the pod is force-deleted and the attempt ends with NodeLost.'),
    nodeLostSeconds: seconds(86_400).default(300),
    adapters: mapList(z.array(adapter).max(128), ['id'])
      .optional()
      .describe('The curated list. With it, a run may only name an adapter that stands here.'),
  }),
  [
    {
      rule: RUNTIME_NAMES.map((name) => `(self.runtime == '${name}') == has(self.${name})`).join(' && '),
      message: 'exactly the block that spec.runtime names: spec.local for "local", spec.replicate for "replicate", …',
      fieldPath: '.runtime',
    },
    {
      rule: "self.runtime != 'replicate' || has(self.credentials)",
      message: 'a vendor needs credentials: name a Secret of the operator’s namespace in spec.credentials.secretRef',
      fieldPath: '.credentials',
      reason: 'FieldValueRequired',
    },
    {
      rule: "self.runtime != 'replicate' || has(self.allowedNamespaces)",
      message: 'a profile that costs money says which namespaces may use it: set spec.allowedNamespaces',
      fieldPath: '.allowedNamespaces',
      reason: 'FieldValueRequired',
    },
    {
      rule: "!has(self.sync) || self.sync.apiKeySecretRef.from != 'OperatorNamespace' || has(self.allowedNamespaces)",
      message:
        'a key in the operator’s namespace serves every namespace that may use the profile: name them with allowedNamespaces',
      fieldPath: '.sync',
    },
    {
      rule: "!has(self.sync) || !self.sync.baseURL.startsWith('http:') || (has(self.network) && self.network.allowPlainHTTP)",
      message: 'baseURL without TLS needs network.allowPlainHTTP',
      fieldPath: '.sync',
    },
  ],
);
export type RuntimeProfileSpec = z.output<typeof runtimeProfileSpec>;
/** An adapter as a profile lists it. */
export type ProfileAdapter = NonNullable<RuntimeProfileSpec['adapters']>[number];
export type LocalProfile = z.output<typeof local>;
export type ReplicateProfile = z.output<typeof replicate>;
export type MockProfile = z.output<typeof mock>;
export type RequestPolicy = z.output<typeof requestPolicy>;
export type OperationPolicy = RequestPolicy['request'];

export const doctorLine = z.strictObject({
  check: z.string().max(64),
  level: z.enum(['ok', 'info', 'error']),
  message: z.string().max(512),
});
export type DoctorLine = z.infer<typeof doctorLine>;

export const runtimeProfileStatus = z.strictObject({
  conditions: conditions().optional(),
  doctor: z
    .array(doctorLine)
    .max(32)
    .meta({ 'x-kubernetes-list-type': 'atomic' })
    .optional()
    .describe('One line a check; an error blocks runs.'),
  config: z
    .array(
      z.strictObject({
        name: z.string().max(128),
        present: z.boolean(),
        source: z.string().max(253).optional().describe('Where it is read, such as secret:replicate.'),
        required: z.boolean(),
        secret: z.boolean(),
        valid: z.boolean(),
      }),
    )
    .max(32)
    .meta({ 'x-kubernetes-list-type': 'atomic' })
    .optional()
    .describe('What the runtime is configured with, by name; never a value.'),
  observedGeneration: z.int32().min(0).optional(),
  digest: z.string().max(71).optional().describe('SHA-256 of the spec; runs record the one they started with.'),
});
export type RuntimeProfileStatus = z.infer<typeof runtimeProfileStatus>;

export const DEFAULT_PROFILE_ANNOTATION = 'worldflux.ai/is-default-profile';
