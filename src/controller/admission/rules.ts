import { isRefusedImage } from './image.ts';
import type { NamespaceView } from '../run/view.ts';
import type { RuntimeProfileSpec } from '../../crds/runtime-profile.ts';
import type { WorldRunSpec } from '../../crds/world-run.ts';
import type { RefusedReason } from '../../crds/vocabulary.ts';
import { gpusPerNode } from '../../runtime/local/job.ts';
import { compareQuantities } from '../../kube/quantity.ts';
import { planCostUSD } from '../cost.ts';

/** What a profile lets a run do: pure rules, one after the other; the first that speaks refuses the run for good. */

export interface AdmissionInput {
  run: WorldRunSpec;
  profile: RuntimeProfileSpec;
  profileName: string;
  namespace: NamespaceView;
}

export interface Refusal {
  reason: RefusedReason;
  /** Names the field and says what would be right. */
  message: string;
}

type Rule = (input: AdmissionInput) => Refusal | undefined;

const RULES: readonly Rule[] = [
  namespaceAllowed, // who may use the profile at all
  imageAllowed, // named, inside the patterns, pinned where the profile wants it
  sizeAllowed, // gpu, nodes, requests and limits
  placementAllowed, // node selector and queue
  volumesAllowed, // kinds of volume
  gitHostAllowed, // where a source may come from
  envAllowed, // provider variables inside the allowlist
  adapterAllowed, // on the curated list, and the GPU has the memory for it
  timeAllowed, // within maxRunSeconds and maxUploadSeconds
  costAllowed, // the dearest course it could take
];

/** The first reason to refuse the run, or undefined. */
export function refusalOf(input: AdmissionInput): Refusal | undefined {
  for (const rule of RULES) {
    const refusal = rule(input);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

const override = (message: string): Refusal => ({ reason: 'OverrideNotAllowed', message });

function namespaceAllowed({ profile, profileName, namespace }: AdmissionInput): Refusal | undefined {
  const selector = profile.allowedNamespaces;
  if (selector === undefined) return undefined;
  const { labels } = namespace;
  const matches =
    Object.entries(selector.matchLabels ?? {}).every(([key, value]) => labels[key] === value) &&
    (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
      switch (operator) {
        case 'In':
          return labels[key] !== undefined && values.includes(labels[key]);
        case 'NotIn':
          return labels[key] === undefined || !values.includes(labels[key]);
        case 'Exists':
          return key in labels;
        case 'DoesNotExist':
          return !(key in labels);
      }
    });
  if (matches) return undefined;
  return {
    reason: 'NamespaceNotAllowed',
    message: `profile ${profileName} does not serve namespace ${namespace.name}: its labels do not match spec.allowedNamespaces; ask the platform team or use another profile`,
  };
}

function imageAllowed({ run, profile, profileName }: AdmissionInput): Refusal | undefined {
  const local = profile.local!;
  if (run.image === undefined) {
    if (local.image !== undefined) return undefined;
    return { reason: 'ImageMissing', message: `spec.image: name an image, profile ${profileName} has none of its own` };
  }
  if (run.image === local.image) return undefined;
  return isRefusedImage(run.image, local.overrides?.image, profileName);
}

function sizeAllowed({ run, profile, profileName }: AdmissionInput): Refusal | undefined {
  const local = profile.local!;
  const { overrides } = local;
  const gpu = run.resources?.gpu;
  if (gpu !== undefined && gpu !== (local.gpu?.count ?? 0)) {
    if (local.gpu === undefined)
      return override(`spec.resources.gpu: profile ${profileName} has no GPUs; leave the field out`);
    if (overrides?.gpu === undefined)
      return override(`spec.resources.gpu: profile ${profileName} gives ${local.gpu.count} and allows no other number`);
    if (gpu > overrides.gpu.max)
      return override(
        `spec.resources.gpu: ${gpu} is more than the ${overrides.gpu.max} that profile ${profileName} allows`,
      );
  }
  const maxNodes = overrides?.nodes?.max ?? 1;
  if (run.nodes > maxNodes)
    return override(`spec.nodes: ${run.nodes} is more than the ${maxNodes} that profile ${profileName} allows`);
  for (const kind of ['requests', 'limits'] as const) {
    for (const [name, amount] of Object.entries(run.resources?.[kind] ?? {})) {
      const max = overrides?.resources?.max[name];
      if (max === undefined)
        return override(`spec.resources.${kind}.${name}: profile ${profileName} does not let a run set it`);
      if (compareQuantities(amount, max) > 0)
        return override(
          `spec.resources.${kind}.${name}: ${amount} is more than the ${max} that profile ${profileName} allows`,
        );
    }
  }
  return undefined;
}

function placementAllowed({ run, profile, profileName }: AdmissionInput): Refusal | undefined {
  const { overrides } = profile.local!;
  for (const key of Object.keys(run.nodeSelector ?? {})) {
    if (!(overrides?.nodeSelectorKeys ?? []).includes(key)) {
      return override(`spec.nodeSelector: profile ${profileName} does not let a run select nodes by ${key}`);
    }
  }
  if (run.queueName !== undefined && run.queueName !== profile.local!.queueName && overrides?.queueName !== true) {
    return override(`spec.queueName: profile ${profileName} does not let a run choose its queue`);
  }
  return undefined;
}

function volumesAllowed({ run, profile, profileName }: AdmissionInput): Refusal | undefined {
  const allowed: readonly string[] = profile.local!.overrides?.volumes ?? [];
  for (const volume of run.volumes ?? []) {
    const kind = (['persistentVolumeClaim', 'configMap', 'secret'] as const).find((k) => volume[k] !== undefined)!;
    if (!allowed.includes(kind))
      return override(`spec.volumes[${volume.name}]: profile ${profileName} does not let a run mount a ${kind}`);
  }
  return undefined;
}

function gitHostAllowed({ run, profile, profileName }: AdmissionInput): Refusal | undefined {
  const hosts = profile.local!.overrides?.gitHosts;
  const url = run.source?.git?.url;
  if (url === undefined || hosts === undefined) return undefined;
  const host = URL.parse(url)?.hostname ?? '';
  return hosts.includes(host)
    ? undefined
    : override(`spec.source.git.url: profile ${profileName} does not take sources from host ${host}`);
}

function envAllowed({ run, profile, profileName }: AdmissionInput): Refusal | undefined {
  const allowed = new Set((profile.providerEnv ?? []).map((entry) => entry.name));
  const outside = (run.forwardProviderEnv ?? []).filter((name) => !allowed.has(name));
  if (outside.length === 0) return undefined;
  const have = allowed.size === 0 ? 'none' : [...allowed].join(', ');
  return {
    reason: 'EnvNotAllowed',
    message: `spec.forwardProviderEnv: ${outside.join(', ')} not in the allowlist of profile ${profileName} (allowed: ${have})`,
  };
}

function adapterAllowed({ run, profile, profileName }: AdmissionInput): Refusal | undefined {
  if (run.adapter === undefined || profile.adapters === undefined) return undefined;
  const adapter = profile.adapters.find((a) => a.id === run.adapter!.id);
  if (adapter === undefined) {
    return {
      reason: 'AdapterUnknown',
      message: `spec.adapter.id: ${run.adapter.id} is not on the list of profile ${profileName}`,
    };
  }
  const floor = adapter.vramFloorGiB;
  if (floor === undefined) return undefined;
  const memory = profile.local!.gpu?.memoryGiB ?? 0;
  if (memory >= floor && gpusPerNode(run, profile.local!) > 0) return undefined;
  return {
    reason: 'VRAMFloorNotMet',
    message: `spec.adapter.id: ${adapter.id} needs a GPU with ${floor} GiB, profile ${profileName} has ${memory} GiB: use a profile with a larger GPU`,
  };
}

function timeAllowed({ run, profile, profileName }: AdmissionInput): Refusal | undefined {
  const { maxRunSeconds, maxUploadSeconds } = profile.limits;
  const over = (field: string, asked: number, max: number): Refusal => ({
    reason: 'RunSecondsExceeded',
    message: `spec.timeouts.${field}: ${asked} is more than the ${max} that profile ${profileName} allows`,
  });
  if (maxRunSeconds !== undefined && run.timeouts.runSeconds > maxRunSeconds)
    return over('runSeconds', run.timeouts.runSeconds, maxRunSeconds);
  if (run.timeouts.uploadSeconds > maxUploadSeconds)
    return over('uploadSeconds', run.timeouts.uploadSeconds, maxUploadSeconds);
  return undefined;
}

function costAllowed({ run, profile, profileName }: AdmissionInput): Refusal | undefined {
  const limit = profile.limits.maxCostUSDPerRun;
  if (limit === undefined) return undefined;
  const cost = planCostUSD(run, profile);
  if (cost === undefined) {
    return {
      reason: 'PriceMissing',
      message: `profile ${profileName} sets limits.maxCostUSDPerRun but no pricing: the platform team must add spec.pricing`,
    };
  }
  if (cost <= Number(limit)) return undefined;
  return {
    reason: 'CostLimitExceeded',
    message: `the run could cost $${cost.toFixed(2)} (${run.nodes} node(s) for ${run.timeouts.startupSeconds + run.timeouts.runSeconds} s), profile ${profileName} allows $${limit}: lower spec.timeouts, nodes or GPUs`,
  };
}
