import type { LocalProfile, ProfileAdapter } from '../../crds/runtime-profile.ts';
import type { WorldRunSpec } from '../../crds/world-run.ts';
import { compareQuantities } from '../../kube/quantity.ts';
import { gpusPerNode } from '../../runtime/local/job.ts';
import { isRefusedImage } from './image.ts';
import type { Refusal } from './refusal.ts';

/** What a profile of Jobs in this cluster lets a run do. What a vendor's runs may set, the runtime's own plan says. */

export interface LocalInput {
  run: WorldRunSpec;
  local: LocalProfile;
  profileName: string;
  adapter: ProfileAdapter | undefined;
}

export const LOCAL_RULES: readonly ((input: LocalInput) => Refusal | undefined)[] = [
  requestAbsent, // there is no provider to ask
  imageAllowed, // named, inside the patterns, pinned where the profile wants it
  sizeAllowed, // gpu, nodes, requests and limits
  requestsFitLimits, // of run and profile together
  placementAllowed, // node selector and queue
  volumesAllowed, // kinds of volume
  gitHostAllowed, // where a source may come from
  memoryAllowed, // the GPU holds the adapter
];

const override = (message: string): Refusal => ({ reason: 'OverrideNotAllowed', message });

function requestAbsent({ run, profileName }: LocalInput): Refusal | undefined {
  if (run.request === undefined) return undefined;
  return {
    reason: 'FieldNotSupported',
    message: `spec.request: profile ${profileName} runs Jobs, which take no request; use spec.command, or a profile of a provider`,
  };
}

function imageAllowed({ run, local, profileName }: LocalInput): Refusal | undefined {
  if (run.image === undefined) {
    if (local.image !== undefined) return undefined;
    return { reason: 'ImageMissing', message: `spec.image: name an image, profile ${profileName} has none of its own` };
  }
  if (run.image === local.image) return undefined;
  return isRefusedImage(run.image, local.overrides?.image, profileName);
}

function sizeAllowed({ run, local, profileName }: LocalInput): Refusal | undefined {
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

/** The API server would refuse the Job, now and for ever. */
function requestsFitLimits({ run, local, profileName }: LocalInput): Refusal | undefined {
  const { requests = {}, limits = {} } = run.resources ?? {};
  for (const name of new Set([...Object.keys(requests), ...Object.keys(limits)])) {
    const request = requests[name] ?? local.resources?.requests?.[name];
    const limit = limits[name] ?? local.resources?.limits?.[name];
    if (request === undefined || limit === undefined || compareQuantities(request, limit) <= 0) continue;
    if (requests[name] === undefined)
      return override(
        `spec.resources.limits.${name}: ${limit} is less than the ${request} that profile ${profileName} requests; set spec.resources.requests.${name} too`,
      );
    return override(
      limits[name] === undefined
        ? `spec.resources.requests.${name}: ${request} is more than the limit of ${limit} in profile ${profileName}; set spec.resources.limits.${name} too`
        : `spec.resources.requests.${name}: ${request} is more than spec.resources.limits.${name}, ${limit}`,
    );
  }
  return undefined;
}

function placementAllowed({ run, local, profileName }: LocalInput): Refusal | undefined {
  const { overrides } = local;
  for (const key of Object.keys(run.nodeSelector ?? {})) {
    if (!(overrides?.nodeSelectorKeys ?? []).includes(key)) {
      return override(`spec.nodeSelector: profile ${profileName} does not let a run select nodes by ${key}`);
    }
  }
  if (run.queueName !== undefined && run.queueName !== local.queueName && overrides?.queueName !== true) {
    return override(`spec.queueName: profile ${profileName} does not let a run choose its queue`);
  }
  return undefined;
}

function volumesAllowed({ run, local, profileName }: LocalInput): Refusal | undefined {
  const allowed: readonly string[] = local.overrides?.volumes ?? [];
  for (const volume of run.volumes ?? []) {
    const kind = (['persistentVolumeClaim', 'configMap', 'secret'] as const).find((k) => volume[k] !== undefined)!;
    if (!allowed.includes(kind))
      return override(`spec.volumes[${volume.name}]: profile ${profileName} does not let a run mount a ${kind}`);
  }
  return undefined;
}

function gitHostAllowed({ run, local, profileName }: LocalInput): Refusal | undefined {
  const hosts = local.overrides?.gitHosts;
  const url = run.source?.git?.url;
  if (url === undefined || hosts === undefined) return undefined;
  const host = URL.parse(url)?.hostname ?? '';
  return hosts.includes(host)
    ? undefined
    : override(`spec.source.git.url: profile ${profileName} does not take sources from host ${host}`);
}

function memoryAllowed({ run, local, profileName, adapter }: LocalInput): Refusal | undefined {
  const floor = adapter?.vramFloorGiB;
  if (floor === undefined) return undefined;
  const memory = local.gpu?.memoryGiB ?? 0;
  if (memory >= floor && gpusPerNode(run, local) > 0) return undefined;
  return {
    reason: 'VRAMFloorNotMet',
    message: `spec.adapter.id: ${adapter!.id} needs a GPU with ${floor} GiB, profile ${profileName} has ${memory} GiB: use a profile with a larger GPU`,
  };
}
