import type { NamespaceView } from '../run/view.ts';
import type { ProfileAdapter, RuntimeProfileSpec } from '../../crds/runtime-profile.ts';
import type { WorldRunSpec } from '../../crds/world-run.ts';
import type { WorldRunStatus } from '../../crds/world-run-status.ts';
import type { SupportLevel } from '../../crds/vocabulary.ts';
import type { RuntimeTraits } from '../../runtime/contract.ts';
import { ceilingUSD, type Elsewhere } from '../cost.ts';
import { formatUSD, parseUSD } from '../money.ts';
import { LOCAL_RULES } from './local-rules.ts';
import type { Refusal } from './refusal.ts';

/**
 * What a profile lets a run do: pure rules, one after the other; the first that speaks refuses the run for good. What a
 * vendor can do with the run's request is its runtime's own to say (`plan`), after these.
 */

export interface AdmissionInput {
  run: WorldRunSpec;
  profile: RuntimeProfileSpec;
  profileName: string;
  namespace: NamespaceView;
  /** What the profile's runtime promises; undefined for Jobs in this cluster, which promise all and cost nothing elsewhere. */
  traits: RuntimeTraits | undefined;
}

/** `adapter`: the run's, where the profile lists it. */
type Facts = AdmissionInput & { adapter: ProfileAdapter | undefined };
type Rule = (facts: Facts) => Refusal | undefined;

const RULES: readonly Rule[] = [
  namespaceAllowed, // who may use the profile at all
  guardsPresent, // what costs money has a price and limits
  adapterListed, // on the curated list
  supportAcknowledged, // experimental, or not for production
  capabilityServed, // what the runtime can do
  jobAllowed, // fields of Jobs
  envAllowed, // provider variables inside the allowlist
  timeAllowed, // within maxRunSeconds and maxUploadSeconds
  costAllowed, // the dearest course it could take
];

/** The first reason to refuse the run, or undefined. */
export function refusalOf(input: AdmissionInput): Refusal | undefined {
  const facts = { ...input, adapter: input.profile.adapters?.find((a) => a.id === input.run.adapter?.id) };
  for (const rule of RULES) {
    const refusal = rule(facts);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

function namespaceAllowed({ profile, profileName, namespace }: Facts): Refusal | undefined {
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

/** A platform team that forgot a limit has not allowed any amount. */
function guardsPresent({ profile, profileName, traits }: Facts): Refusal | undefined {
  if (traits?.paid !== true) return undefined;
  const missing = missingGuards(profile)[0];
  return missing === undefined
    ? undefined
    : {
        reason: missing === 'pricing' ? 'PriceMissing' : 'CostLimitMissing',
        message: `profile ${profileName} costs money and has no ${missing}: the platform team must set spec.${missing}`,
      };
}

/** Fields of the spec that a profile which costs money must have and has not. */
export function missingGuards({ pricing, limits }: RuntimeProfileSpec): string[] {
  return [
    ...(pricing?.usdPerSecond === undefined && pricing?.usdPerRequest === undefined ? ['pricing'] : []),
    ...(['maxCostUSDPerRun', 'maxRunSeconds', 'maxConcurrentRuns'] as const)
      .filter((limit) => limits[limit] === undefined)
      .map((limit) => `limits.${limit}`),
  ];
}

function adapterListed({ run, profile, profileName, adapter }: Facts): Refusal | undefined {
  if (run.adapter === undefined || profile.adapters === undefined || adapter !== undefined) return undefined;
  return {
    reason: 'AdapterUnknown',
    message: `spec.adapter.id: ${run.adapter.id} is not on the list of profile ${profileName}`,
  };
}

/**
 * What is promised of a run: the profile's word stands over the runtime's; what the platform team vouches for with an
 * adapter stands over both, but "experimental" alone lifts no ban.
 */
export function supportLevelOf(
  profile: RuntimeProfileSpec,
  traits: Pick<RuntimeTraits, 'support'> | undefined,
  adapter: Pick<ProfileAdapter, 'support'> | undefined,
): SupportLevel {
  const level = profile.supportLevel ?? traits?.support ?? 'Production';
  switch (adapter?.support?.level) {
    case 'ProductionBacked':
      return 'Production';
    case 'Experimental':
      return level === 'Production' ? 'Experimental' : level;
    case undefined:
      return level;
  }
}

function supportAcknowledged({ run, profile, profileName, traits, adapter }: Facts): Refusal | undefined {
  const level = supportLevelOf(profile, traits, adapter);
  if (level === 'ProductionDisabled') {
    return {
      reason: 'ProductionDisabled',
      message: `runtime ${profile.runtime} is registered, not production-backed: the platform team must vouch for the adapter (adapters[].support.level: ProductionBacked in profile ${profileName}) or set the profile's supportLevel`,
    };
  }
  if (level === 'Experimental' && !run.acknowledgeExperimental) {
    return {
      reason: 'ExperimentalNotAcknowledged',
      message: `spec.acknowledgeExperimental: profile ${profileName} is experimental; set the field to true to accept that`,
    };
  }
  return undefined;
}

function capabilityServed({ run, profile, profileName, traits }: Facts): Refusal | undefined {
  if (traits === undefined || run.request === undefined) return undefined;
  // A runtime that can do nothing at all says better why.
  if (traits.capabilities.length === 0) return undefined;
  const { capability } = run.request;
  if (traits.capabilities.includes(capability)) return undefined;
  const can = traits.capabilities.join(', ');
  return {
    reason: 'CapabilityNotSupported',
    message: `spec.request.capability: runtime ${profile.runtime} of profile ${profileName} cannot ${capability}; it can ${can}`,
  };
}

function jobAllowed({ run, profile, profileName, adapter }: Facts): Refusal | undefined {
  const { local } = profile;
  if (local === undefined) return undefined;
  for (const rule of LOCAL_RULES) {
    const refusal = rule({ run, local, profileName, adapter });
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

function envAllowed({ run, profile, profileName }: Facts): Refusal | undefined {
  const allowed = new Set((profile.providerEnv ?? []).map((entry) => entry.name));
  const outside = (run.forwardProviderEnv ?? []).filter((name) => !allowed.has(name));
  if (outside.length === 0) return undefined;
  const have = allowed.size === 0 ? 'none' : [...allowed].join(', ');
  return {
    reason: 'EnvNotAllowed',
    message: `spec.forwardProviderEnv: ${outside.join(', ')} not in the allowlist of profile ${profileName} (allowed: ${have})`,
  };
}

function timeAllowed({ run, profile, profileName }: Facts): Refusal | undefined {
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

function costAllowed({ run, profile, profileName }: Facts): Refusal | undefined {
  const caps = (['maxCostUSDPerRun', 'maxCostUSDPerNamespacePerDay'] as const).flatMap((name) => {
    const text = profile.limits[name];
    return text === undefined ? [] : [{ name, text, amount: parseUSD(text) }];
  });
  if (caps.length === 0) return undefined;
  const cost = ceilingUSD(run, profile);
  if (cost === undefined) {
    return {
      reason: 'PriceMissing',
      message: `profile ${profileName} sets limits.${caps[0]!.name} but no pricing: the platform team must add spec.pricing`,
    };
  }
  const over = caps.find(({ amount }) => cost > amount);
  if (over === undefined) return undefined;
  const { startupSeconds, runSeconds } = run.timeouts;
  const course =
    profile.local === undefined
      ? `${run.retry.maxAttempts} request(s) and ${startupSeconds + runSeconds} s`
      : `${run.nodes} node(s) for ${startupSeconds + runSeconds} s`;
  const lower = profile.local === undefined ? 'spec.timeouts or retry.maxAttempts' : 'spec.timeouts, nodes or GPUs';
  return {
    reason: 'CostLimitExceeded',
    message: `the run could cost $${formatUSD(cost)} (${course}), profile ${profileName} allows $${over.text} (limits.${over.name}): lower ${lower}`,
  };
}

/**
 * Before a further attempt: why it may not be, or undefined. A suspension takes no try from a run, but what it had bought
 * was paid: without this, suspending and resuming would buy without end.
 */
export function costReached({
  run,
  status,
  elsewhere,
  spec,
  name,
}: {
  run: WorldRunSpec;
  status: Pick<WorldRunStatus, 'attempts' | 'attemptCount' | 'uncountedAttempts'>;
  elsewhere?: Elsewhere;
  spec: RuntimeProfileSpec;
  name: string;
}): string | undefined {
  const limit = spec.limits.maxCostUSDPerRun;
  const cost = ceilingUSD(run, spec, status, elsewhere);
  if (limit === undefined || cost === undefined || cost <= parseUSD(limit)) return undefined;
  return `With what its attempts have bought so far the run could cost $${formatUSD(cost)}; profile ${name} allows $${limit} (limits.maxCostUSDPerRun).`;
}
