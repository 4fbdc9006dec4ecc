import { z } from 'zod';
import {
  absolutePath,
  containedPath,
  dnsLabel,
  envName,
  imageReference,
  labelValue,
  mapList,
  nodeSelector,
  objectName,
  resourceList,
  seconds,
  withRules,
  type CelRule,
} from './common.ts';
import { CAPABILITIES, RETRYABLE_REASONS, SYNC_MODES } from './vocabulary.ts';

/** One run of a world model. Namespaced: the user's object. */

const env = z.strictObject({
  name: envName(),
  value: z.string().max(32_768).default('').describe('A literal. Secrets go through forwardProviderEnv.'),
});

const volume = withRules(
  z.strictObject({
    name: dnsLabel(),
    mountPath: absolutePath(),
    persistentVolumeClaim: z.strictObject({ claimName: objectName(), readOnly: z.boolean().default(false) }).optional(),
    configMap: z.strictObject({ name: objectName() }).optional(),
    secret: z.strictObject({ secretName: objectName() }).optional(),
  }),
  [
    {
      rule: '[has(self.persistentVolumeClaim), has(self.configMap), has(self.secret)].filter(x, x).size() == 1',
      message: 'a volume needs exactly one of persistentVolumeClaim, configMap, secret',
    },
    {
      rule: "!self.mountPath.startsWith('/worldflux')",
      message: 'paths below /worldflux belong to the operator: mount the volume elsewhere',
      fieldPath: '.mountPath',
    },
  ],
);

const source = withRules(
  z.strictObject({
    git: withRules(
      z.strictObject({
        url: z
          .string()
          .min(1)
          .max(1024)
          .regex(/^(https:\/\/|ssh:\/\/)[^\s@]*@?[^\s]+$/)
          .describe('https:// or ssh://, without a password in it.'),
        ref: z
          .string()
          .min(1)
          .max(255)
          .regex(/^[A-Za-z0-9][A-Za-z0-9._/+-]*$/)
          .default('HEAD')
          .describe('Branch, tag or commit; the commit it stood for is recorded.'),
        path: containedPath('path')
          .default('.')
          .describe('The folder of the repository that becomes /worldflux/source.'),
        secretRef: z
          .strictObject({ name: objectName() })
          .optional()
          .describe(
            'A Secret in the run’s namespace: username and password, or ssh-privatekey and known_hosts; ca.crt for a server with a private CA.',
          ),
      }),
      [
        {
          rule: "!self.url.matches('^https://[^/]*@')",
          message: 'put credentials into the Secret that secretRef names, not into the URL',
          fieldPath: '.url',
        },
      ],
    ).optional(),
    configMap: z.strictObject({ name: objectName() }).optional(),
  }),
  [{ rule: 'has(self.git) != has(self.configMap)', message: 'a source is exactly one of git, configMap' }],
);

const artifact = z.strictObject({
  name: z
    .string()
    .min(1)
    .max(63)
    .regex(/^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/),
  path: containedPath('path').describe(
    'A file, folder or glob below /worldflux/output. A folder or glob becomes one tar.',
  ),
  commit: z.boolean().default(false).describe('The bytes may leave the cluster when the run is synced.'),
});

const outputs = z.strictObject({
  metricsFile: containedPath('metricsFile')
    .default('metrics.json')
    .describe('A flat JSON object of finite numbers, below /worldflux/output.'),
  seriesFile: containedPath('seriesFile')
    .default('metrics.jsonl')
    .describe('One {"step":n,"name":"loss","value":x} a line; goes to the run store.'),
  artifacts: mapList(z.array(artifact).max(64), ['name'])
    .optional()
    .describe('What to keep. With none named, everything below the output folder is kept as one artifact.'),
  ranks: z
    .enum(['Zero', 'All'])
    .default('Zero')
    .describe('Which nodes’ artifacts are kept; metrics are always those of rank 0.'),
});

const request = z
  .strictObject({
    capability: z.enum(CAPABILITIES).default('generate'),
    prompt: z.string().max(32_768).optional(),
    options: z
      .looseObject({})
      .meta({ 'x-kubernetes-map-type': 'atomic', maxProperties: 64 })
      .optional()
      .describe('Inputs as the model names them; they win over prompt.'),
    files: mapList(
      z
        .array(
          z.strictObject({
            input: z.string().min(1).max(128).describe('The model’s input that takes the file.'),
            path: containedPath('path').describe('A key of the ConfigMap that spec.source names.'),
          }),
        )
        .max(16),
      ['input'],
    )
      .optional()
      .describe('Files from the source, sent to the vendor as uploads.'),
  })
  .describe('What is asked of a provider; for runtimes that are no Job.');

export const worldRunSpecShape = {
  runtimeProfileRef: z
    .strictObject({ name: objectName() })
    .optional()
    .describe('Absent: the profile that carries the annotation worldflux.ai/is-default-profile.'),
  fallbackProfileRefs: z
    .array(z.strictObject({ name: objectName() }))
    .max(4)
    .meta({ 'x-kubernetes-list-type': 'atomic' })
    .optional()
    .describe(
      'Profiles to use instead, in this order, while the ones before cannot take the run. Never after a request whose outcome is unknown, and not for policy or score.',
    ),
  adapter: z
    .strictObject({ id: z.string().min(1).max(128) })
    .optional()
    .describe('The world model, by the id in the profile’s list.'),
  task: z
    .string()
    .min(1)
    .max(63)
    .regex(/^[a-z0-9]([-a-z0-9_.]*[a-z0-9])?$/)
    .optional()
    .describe('generate, rollout and eval are the known ones; others are allowed.'),
  image: imageReference().optional(),
  command: z.array(z.string().max(32_768)).max(256).optional(),
  args: z.array(z.string().max(32_768)).max(256).optional(),
  workingDir: absolutePath().optional().describe('Default: /worldflux/source with a source, else the image’s own.'),
  env: mapList(z.array(env).max(256), ['name']).optional(),
  forwardProviderEnv: z
    .array(envName())
    .max(64)
    .meta({ 'x-kubernetes-list-type': 'set' })
    .optional()
    .describe('Names of variables in the profile’s allowlist.'),
  nodes: z
    .int32()
    .min(1)
    .max(256)
    .default(1)
    .describe('More than one: an Indexed Job with a headless Service and rendezvous variables.'),
  resources: z
    .strictObject({
      gpu: z.int32().min(0).max(64).optional(),
      requests: resourceList().optional(),
      limits: resourceList().optional(),
    })
    .optional()
    .describe('For each node.'),
  nodeSelector: nodeSelector().optional(),
  queueName: labelValue().min(1).optional(),
  volumes: mapList(z.array(volume).max(32), ['name']).optional(),
  source: source.optional().describe('Code, read-only at /worldflux/source.'),
  datasets: mapList(
    z.array(z.strictObject({ id: z.string().min(1).max(256), revision: z.string().max(128).optional() })).max(32),
    ['id'],
  )
    .optional()
    .describe('Recorded in the manifest.'),
  request: request.optional(),
  approval: z
    .strictObject({ required: z.boolean() })
    .optional()
    .describe('Waits for an approval, also where the profile does not ask for one.'),
  acknowledgeExperimental: z
    .boolean()
    .default(false)
    .describe('The run accepts a profile whose support level is Experimental.'),
  outputs: outputs.prefault({}),
  timeouts: z
    .strictObject({
      queueSeconds: seconds().default(86_400).describe('Waiting for admission, a queue and a node.'),
      startupSeconds: seconds()
        .default(1800)
        .describe('From having a node to a running container: images, volumes, source.'),
      runSeconds: seconds().default(14_400),
      uploadSeconds: seconds(86_400)
        .default(300)
        .describe('For results after the container ended; the pod’s grace period.'),
    })
    .prefault({})
    .describe('Three clocks that stop while the run is suspended and add up over attempts, and the time to upload.'),
  retry: z
    .strictObject({
      maxAttempts: z.int32().min(1).max(100).default(1).describe('Counts the first.'),
      onReasons: z
        .array(z.enum(RETRYABLE_REASONS))
        .max(RETRYABLE_REASONS.length)
        .default(['Preempted', 'NodeLost', 'CapacityUnavailable'])
        .meta({ 'x-kubernetes-list-type': 'set' }),
    })
    .prefault({}),
  runKey: z
    .string()
    .min(1)
    .max(128)
    .regex(/^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/)
    .optional()
    .describe(
      'Identity across delete and re-create: a finished run of the same key in this namespace is adopted instead of executed again.',
    ),
  suspend: z.boolean().default(false).describe('Ends the attempt that runs; false again starts the next one.'),
  cancel: z.boolean().default(false).describe('Stops the run for good and keeps its results.'),
  dryRun: z.boolean().default(false).describe('Writes status.plan and ends; creates nothing.'),
  sync: z
    .strictObject({
      mode: z
        .enum(SYNC_MODES)
        .optional()
        .describe('May only lower what the profile says (OnCompletion, Manual, Disabled); may change at any time.'),
      project: z
        .string()
        .min(1)
        .max(128)
        .optional()
        .describe('One of the profile’s allowedProjects. Absent: the only one it allows.'),
    })
    .optional()
    .describe('Sending the finished run to WorldFlux.'),
  ttlSecondsAfterFinished: z
    .int32()
    .min(0)
    .max(31_536_000)
    .optional()
    .describe('Deletes the finished WorldRun, or only its Job where a GitOps tool tracks the object.'),
};

/** The fields that may change after creation; every other one is compared by the API server. */
export const MUTABLE_FIELDS = ['suspend', 'cancel', 'sync', 'ttlSecondsAfterFinished'] as const;

const fixedFields = Object.entries(worldRunSpecShape).filter(
  ([field]) => !(MUTABLE_FIELDS as readonly string[]).includes(field),
);
const fixedMessage = (field: string) =>
  `spec.${field} cannot change once the run exists: create a run with a new name, or delete this one first`;

/**
 * Rules that stand at the fields themselves. The API server evaluates every rule of the spec at every write of the
 * status too, and looking a field up from the spec costs it more than comparing it: these were a tenth of its work.
 */
export const worldRunSpecFieldRules: Record<string, CelRule[]> = Object.fromEntries(
  fixedFields.map(([field]) => [field, [{ rule: 'self == oldSelf', message: fixedMessage(field) }]]),
);

/** A rule at a field is not asked when the field comes or goes. A field with a default does neither. */
const presence: CelRule[] = fixedFields
  .filter(([, schema]) => schema.safeParse(undefined).data === undefined)
  .map(([field]) => ({
    rule: `has(self.${field}) == has(oldSelf.${field})`,
    message: fixedMessage(field),
    fieldPath: `.${field}`,
  }));

export const worldRunSpec = withRules(z.strictObject(worldRunSpecShape), [
  ...presence,
  {
    rule: '!oldSelf.cancel || self.cancel',
    message: 'spec.cancel cannot be taken back: create a run with a new name',
    fieldPath: '.cancel',
  },
  {
    rule: '(has(self.sync) && has(self.sync.project)) == (has(oldSelf.sync) && has(oldSelf.sync.project)) && (!has(self.sync) || !has(self.sync.project) || self.sync.project == oldSelf.sync.project)',
    message: 'spec.sync.project cannot change once the run exists; spec.sync.mode can',
    fieldPath: '.sync',
  },
]);
export type WorldRunSpec = z.output<typeof worldRunSpec>;
