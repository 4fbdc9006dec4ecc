import type {
  V1Container,
  V1EnvVar,
  V1Job,
  V1PodFailurePolicy,
  V1PodSpec,
  V1Service,
  V1Toleration,
  V1Volume,
  V1VolumeMount,
} from '@kubernetes/client-node';
import type { Wire } from '../../kube/resource.ts';
import type { LocalProfile, RuntimeProfileSpec } from '../../crds/runtime-profile.ts';
import type { WorldRunSpec } from '../../crds/world-run.ts';
import { parseQuantity } from '../../kube/quantity.ts';
import { CONFIG_VARIABLE, type CollectorConfig } from '../../results/collector/config.ts';
import { SOURCE_CONFIG_VARIABLE, SOURCE_UID, type SourceConfig } from './source-config.ts';
import { KUEUE_QUEUE_LABEL } from './names.ts';
import { COLLECTOR_CONTAINER, SOURCE_CONTAINER, USER_CONTAINER } from './pod-state.ts';

/** A run and its profile → the Job (and Service) of one attempt. Pure: the same input gives the same bytes. */

export const PATHS = {
  root: '/worldflux',
  output: '/worldflux/output',
  source: '/worldflux/source',
  home: '/worldflux/home',
  /** The collector's own state; the user's container does not see it. */
  state: '/worldflux-collector/state',
  token: '/worldflux-collector/token',
  secrets: '/worldflux-collector/secrets',
  gitSecret: '/worldflux-git',
} as const;

export interface JobPlan {
  name: string;
  namespace: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  /** Labels of the pods; a subset of the Job's. */
  podLabels: Record<string, string>;
  owner: { apiVersion: string; kind: string; name: string; uid: string };
  attempt: number;
  runId: string;
  clientRunId: string;
  run: WorldRunSpec;
  profile: RuntimeProfileSpec;
  /** Absent when the profile says `collect: Disabled`. */
  collector: CollectorPlan | undefined;
  /** Image that fetches a git source: the operator's own. */
  toolImage: string;
  /** Name of the headless Service of a run with several nodes. */
  serviceName: string;
}

export interface CollectorPlan {
  image: string;
  gatewayUrl: string;
  caPem: string;
  storeCaPem?: string | undefined;
  audience: string;
}

/** GPUs of one node of this run. */
export function gpusPerNode(run: WorldRunSpec, local: LocalProfile): number {
  return local.gpu === undefined ? 0 : (run.resources?.gpu ?? local.gpu.count);
}

function resources(
  plan: JobPlan,
  local: LocalProfile,
): { requests?: Record<string, string>; limits?: Record<string, string> } {
  const requests = { ...local.resources?.requests, ...plan.run.resources?.requests };
  const limits = { ...local.resources?.limits, ...plan.run.resources?.limits };
  const gpus = gpusPerNode(plan.run, local);
  if (gpus > 0) limits[local.gpu!.resourceName] = String(gpus);
  return {
    ...(Object.keys(requests).length > 0 && { requests }),
    ...(Object.keys(limits).length > 0 && { limits }),
  };
}

/** Provider variables by reference only: the value never passes through the operator. */
function providerEnv(plan: JobPlan): Wire<V1EnvVar>[] {
  const wanted = new Set(plan.run.forwardProviderEnv ?? []);
  return (plan.profile.providerEnv ?? [])
    .filter((entry) => wanted.has(entry.name))
    .map((entry) => ({ name: entry.name, valueFrom: { secretKeyRef: entry.secretKeyRef } }));
}

const RANK = { fieldRef: { fieldPath: "metadata.annotations['batch.kubernetes.io/job-completion-index']" } };
const RENDEZVOUS_PORT = '29500';

/** What torchrun, DeepSpeed and plain `torch.distributed` look for, so that a multi-node run needs no launcher. */
function rendezvousEnv(plan: JobPlan): Wire<V1EnvVar>[] {
  if (plan.run.nodes === 1) return [];
  const head = `${plan.name}-0.${plan.serviceName}.${plan.namespace}.svc`;
  const nodes = String(plan.run.nodes);
  return [
    { name: 'MASTER_ADDR', value: head },
    { name: 'MASTER_PORT', value: RENDEZVOUS_PORT },
    { name: 'WORLD_SIZE', value: nodes },
    { name: 'RANK', valueFrom: RANK },
    { name: 'NODE_RANK', valueFrom: RANK },
    { name: 'PET_NNODES', value: nodes },
    { name: 'PET_NODE_RANK', valueFrom: RANK },
    { name: 'PET_MASTER_ADDR', value: head },
    { name: 'PET_MASTER_PORT', value: RENDEZVOUS_PORT },
  ];
}

function userEnv(plan: JobPlan, local: LocalProfile): Wire<V1EnvVar>[] {
  const own: Wire<V1EnvVar>[] = [
    { name: 'HOME', value: PATHS.home },
    { name: 'WORLDFLUX_RUN_ID', value: plan.runId },
    { name: 'WORLDFLUX_CLIENT_RUN_ID', value: plan.clientRunId },
    { name: 'WORLDFLUX_ATTEMPT', value: String(plan.attempt) },
    { name: 'WORLDFLUX_NODES', value: String(plan.run.nodes) },
    { name: 'WORLDFLUX_OUTPUT_DIR', value: PATHS.output },
    ...(plan.run.source === undefined ? [] : [{ name: 'WORLDFLUX_SOURCE_DIR', value: PATHS.source }]),
    ...(plan.run.adapter === undefined ? [] : [{ name: 'WORLDFLUX_ADAPTER', value: plan.run.adapter.id }]),
    ...(plan.run.task === undefined ? [] : [{ name: 'WORLDFLUX_TASK', value: plan.run.task }]),
  ];
  if (local.cache !== undefined) {
    const at = local.cache.mountPath;
    own.push(
      { name: 'HF_HOME', value: `${at}/huggingface` },
      { name: 'TORCH_HOME', value: `${at}/torch` },
      { name: 'XDG_CACHE_HOME', value: `${at}/xdg` },
      { name: 'MPLCONFIGDIR', value: `${at}/matplotlib` },
    );
  }
  // The user's own values stand last, so that they win over ours: HOME and caches are theirs to move.
  const users = (plan.run.env ?? []).map(({ name, value }) => ({ name, value }));
  const all = [...own, ...rendezvousEnv(plan), ...users, ...providerEnv(plan)];
  return [...new Map(all.map((entry) => [entry.name, entry])).values()];
}

function volumes(plan: JobPlan, local: LocalProfile): { volumes: Wire<V1Volume>[]; mounts: Wire<V1VolumeMount>[] } {
  const list: Wire<V1Volume>[] = [
    { name: 'worldflux-output', emptyDir: { sizeLimit: local.outputSizeLimit } },
    { name: 'worldflux-home', emptyDir: {} },
  ];
  const mounts: Wire<V1VolumeMount>[] = [
    { name: 'worldflux-output', mountPath: PATHS.output },
    { name: 'worldflux-home', mountPath: PATHS.home },
  ];
  const add = (volume: Wire<V1Volume>, mountPath: string, readOnly = false) => {
    list.push(volume);
    mounts.push({ name: volume.name, mountPath, ...(readOnly && { readOnly }) });
  };
  if (local.shmSize !== undefined)
    add({ name: 'worldflux-shm', emptyDir: { medium: 'Memory', sizeLimit: local.shmSize } }, '/dev/shm');
  if (local.cache !== undefined) {
    add(
      { name: 'worldflux-cache', persistentVolumeClaim: { claimName: local.cache.persistentVolumeClaim } },
      local.cache.mountPath,
    );
  }
  const { source } = plan.run;
  if (source?.configMap !== undefined)
    add({ name: 'worldflux-source', configMap: { name: source.configMap.name } }, PATHS.source, true);
  if (source?.git !== undefined) {
    add({ name: 'worldflux-source', emptyDir: { sizeLimit: '10Gi' } }, PATHS.source, true);
    if (source.git.secretRef !== undefined) {
      list.push({ name: 'worldflux-git', secret: { secretName: source.git.secretRef.name, defaultMode: 0o440 } });
    }
  }
  for (const volume of plan.run.volumes ?? []) {
    const { name, mountPath } = volume;
    if (volume.persistentVolumeClaim) {
      const { claimName, readOnly } = volume.persistentVolumeClaim;
      add({ name, persistentVolumeClaim: { claimName, ...(readOnly && { readOnly }) } }, mountPath, readOnly);
    } else if (volume.configMap) {
      add({ name, configMap: { name: volume.configMap.name } }, mountPath, true);
    } else if (volume.secret) {
      add({ name, secret: { secretName: volume.secret.secretName } }, mountPath, true);
    }
  }
  return { volumes: list, mounts };
}

/** JSON for an environment variable: the kubelet takes `$$` for a dollar and expands `$(NAME)`. */
const verbatim = (value: object): string => JSON.stringify(value).replaceAll('$', '$$$$');

/** What the restricted pod security standard asks of a container. */
const RESTRICTED = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } };
const SIDECAR_RESOURCES = { requests: { cpu: '10m', memory: '64Mi' }, limits: { memory: '256Mi' } };

function collectorContainer(plan: JobPlan, collector: CollectorPlan): Wire<V1Container> {
  const { outputs, timeouts } = plan.run;
  const secrets = providerEnv(plan);
  const config: CollectorConfig = {
    gatewayUrl: collector.gatewayUrl,
    caPem: collector.caPem,
    ...(collector.storeCaPem !== undefined && { storeCaPem: collector.storeCaPem }),
    clientRunId: plan.clientRunId,
    attempt: plan.attempt,
    outputs: {
      metricsFile: outputs.metricsFile,
      seriesFile: outputs.seriesFile,
      artifacts: outputs.artifacts ?? [],
      ranks: outputs.ranks,
    },
    limits: { maxArtifactBytes: parseQuantity(plan.profile.limits.maxArtifactBytes) },
    uploadSeconds: timeouts.uploadSeconds,
    outputDir: PATHS.output,
    stateDir: PATHS.state,
    tokenFile: `${PATHS.token}/token`,
    ...(secrets.length > 0 && { secretEnvDir: PATHS.secrets }),
  };
  return {
    name: COLLECTOR_CONTAINER,
    image: collector.image,
    // A program of its own beside the operator's: it starts in half the time and three quarters of the memory.
    command: ['node', '/app/collector.mjs'],
    restartPolicy: 'Always',
    env: [{ name: CONFIG_VARIABLE, value: verbatim(config) }],
    resources: SIDECAR_RESOURCES,
    securityContext: { ...RESTRICTED, readOnlyRootFilesystem: true },
    terminationMessagePolicy: 'File',
    volumeMounts: [
      { name: 'worldflux-output', mountPath: PATHS.output },
      { name: 'worldflux-state', mountPath: PATHS.state },
      { name: 'worldflux-token', mountPath: PATHS.token, readOnly: true },
      // The values serve to find them in the log: only salted fingerprints leave the pod.
      ...(secrets.length > 0 ? [{ name: 'worldflux-secrets', mountPath: PATHS.secrets, readOnly: true }] : []),
    ],
  };
}

function sourceContainer(
  plan: JobPlan,
  git: NonNullable<NonNullable<WorldRunSpec['source']>['git']>,
): Wire<V1Container> {
  const allowedHosts = plan.profile.local?.overrides?.gitHosts;
  const config: SourceConfig = {
    url: git.url,
    ref: git.ref,
    path: git.path,
    target: PATHS.source,
    ...(allowedHosts !== undefined && { allowedHosts }),
    ...(git.secretRef !== undefined && { credentialsDir: PATHS.gitSecret }),
  };
  return {
    name: SOURCE_CONTAINER,
    image: plan.toolImage,
    args: ['fetch-source'],
    env: [
      { name: SOURCE_CONFIG_VARIABLE, value: verbatim(config) },
      { name: 'HOME', value: '/tmp' },
    ],
    resources: { ...SIDECAR_RESOURCES, limits: { memory: '512Mi' } },
    securityContext: { ...RESTRICTED, readOnlyRootFilesystem: true, runAsUser: SOURCE_UID, runAsNonRoot: true },
    volumeMounts: [
      { name: 'worldflux-source', mountPath: PATHS.source },
      { name: 'worldflux-tmp', mountPath: '/tmp' },
      ...(git.secretRef === undefined ? [] : [{ name: 'worldflux-git', mountPath: PATHS.gitSecret, readOnly: true }]),
    ],
  };
}

function podSpec(plan: JobPlan, local: LocalProfile): Wire<V1PodSpec> {
  const { run, collector } = plan;
  const { timeouts } = run;
  const own = volumes(plan, local);
  const init: Wire<V1Container>[] = [];
  if (run.source?.git !== undefined) {
    own.volumes.push({ name: 'worldflux-tmp', emptyDir: { sizeLimit: '1Gi' } });
    init.push(sourceContainer(plan, run.source.git));
  }
  if (collector !== undefined) {
    own.volumes.push(
      { name: 'worldflux-state', emptyDir: { sizeLimit: '64Mi' } },
      {
        name: 'worldflux-token',
        projected: {
          // World-readable inside the volume: only the collector mounts it, and its uid may differ from fsGroup's.
          defaultMode: 0o444,
          sources: [
            {
              serviceAccountToken: {
                audience: collector.audience,
                // The kubelet renews it at 80 %; six upload windows so that a long upload never outlives it.
                expirationSeconds: Math.max(600, 6 * timeouts.uploadSeconds),
                path: 'token',
              },
            },
          ],
        },
      },
    );
    const secrets = providerEnv(plan).map(({ name, valueFrom }) => {
      const { name: secret, key } = valueFrom!.secretKeyRef!;
      // Optional here: where it is missing, the user's container says so in words, a failed mount would not.
      return { secret: { name: secret!, items: [{ key, path: name }], optional: true } };
    });
    if (secrets.length > 0)
      own.volumes.push({ name: 'worldflux-secrets', projected: { defaultMode: 0o444, sources: secrets } });
    init.push(collectorContainer(plan, collector));
  }
  const uid = local.securityContext.runAsUser;
  const workingDir = run.workingDir ?? (run.source === undefined ? undefined : PATHS.source);
  const user: Wire<V1Container> = {
    name: USER_CONTAINER,
    image: run.image ?? local.image ?? '',
    ...(run.command !== undefined && { command: run.command }),
    ...(run.args !== undefined && { args: run.args }),
    ...(workingDir !== undefined && { workingDir }),
    env: userEnv(plan, local),
    resources: resources(plan, local),
    securityContext: uid === 0 ? { allowPrivilegeEscalation: false } : RESTRICTED,
    volumeMounts: own.mounts,
  };
  return {
    restartPolicy: 'Never',
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    // Only a backstop for a dead operator: the operator's own clocks end a run long before.
    activeDeadlineSeconds: timeouts.startupSeconds + timeouts.runSeconds + timeouts.uploadSeconds,
    terminationGracePeriodSeconds: collector === undefined ? 30 : timeouts.uploadSeconds,
    ...(run.nodes > 1 && { subdomain: plan.serviceName }),
    ...(local.imagePullSecrets !== undefined && { imagePullSecrets: local.imagePullSecrets }),
    ...((local.nodeSelector ?? run.nodeSelector) !== undefined && {
      nodeSelector: { ...run.nodeSelector, ...local.nodeSelector },
    }),
    ...(local.tolerations !== undefined && { tolerations: local.tolerations as Wire<V1Toleration>[] }),
    ...(local.priorityClassName !== undefined && { priorityClassName: local.priorityClassName }),
    ...(local.runtimeClassName !== undefined && { runtimeClassName: local.runtimeClassName }),
    securityContext: {
      runAsUser: uid,
      runAsGroup: local.securityContext.fsGroup,
      fsGroup: local.securityContext.fsGroup,
      fsGroupChangePolicy: 'OnRootMismatch',
      runAsNonRoot: uid !== 0,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    ...(init.length > 0 && { initContainers: init }),
    containers: [user],
    volumes: own.volumes,
  };
}

/** What tells, when a pod is gone, how it ended. FailJob, not Ignore: Ignore lets the Job controller start pods that no attempt knows of. */
const FAILURE_POLICY: Wire<V1PodFailurePolicy> = {
  rules: [
    { action: 'FailJob', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
    { action: 'FailJob', onExitCodes: { containerName: USER_CONTAINER, operator: 'NotIn', values: [0] } },
  ],
};

/** The Job of one attempt. Created once and never applied again. */
export function buildJob(plan: JobPlan): Wire<V1Job> {
  const local = plan.profile.local!;
  const queueName = plan.run.queueName ?? local.queueName;
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: {
      name: plan.name,
      namespace: plan.namespace,
      labels: { ...plan.labels, ...(queueName !== undefined && { [KUEUE_QUEUE_LABEL]: queueName }) },
      annotations: plan.annotations,
      ownerReferences: [{ ...plan.owner, controller: true, blockOwnerDeletion: false }],
    },
    spec: {
      ...(queueName !== undefined && { suspend: true }),
      completions: plan.run.nodes,
      parallelism: plan.run.nodes,
      completionMode: plan.run.nodes > 1 ? 'Indexed' : 'NonIndexed',
      backoffLimit: 0,
      podReplacementPolicy: 'Failed',
      // The policy would judge the pods that an eviction by Kueue stops as well, and fail the Job that is to start again.
      ...(queueName === undefined && { podFailurePolicy: FAILURE_POLICY }),
      template: {
        metadata: { labels: plan.podLabels },
        spec: podSpec(plan, local),
      },
    },
  };
}

/** Stable host names for the nodes of one run: `<job>-<rank>.<service>.<namespace>.svc`. */
export function buildService(
  plan: Pick<JobPlan, 'serviceName' | 'namespace' | 'labels' | 'owner' | 'podLabels'>,
  selector: Record<string, string>,
): Wire<V1Service> {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name: plan.serviceName,
      namespace: plan.namespace,
      labels: plan.labels,
      ownerReferences: [{ ...plan.owner, controller: true, blockOwnerDeletion: false }],
    },
    spec: {
      clusterIP: 'None',
      // Ranks look for each other before they are ready.
      publishNotReadyAddresses: true,
      selector,
    },
  };
}
