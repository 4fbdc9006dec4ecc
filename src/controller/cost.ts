import type { RuntimeProfileSpec } from '../crds/runtime-profile.ts';
import type { WorldRunSpec } from '../crds/world-run.ts';
import { gpusPerNode } from '../runtime/local/job.ts';

/** US dollars an hour for all nodes of a run; undefined where the profile has no price. */
function hourlyUSD(run: WorldRunSpec, profile: RuntimeProfileSpec): number | undefined {
  const { pricing } = profile;
  if (pricing === undefined) return undefined;
  const gpus = gpusPerNode(run, profile.local!);
  return run.nodes * (gpus * Number(pricing.usdPerGPUHour ?? 0) + Number(pricing.usdPerNodeHour ?? 0));
}

/** The most a run can cost: every attempt uses its startup and run time to the end. */
export function planCostUSD(run: WorldRunSpec, profile: RuntimeProfileSpec): number | undefined {
  const hourly = hourlyUSD(run, profile);
  // The clocks add up over attempts, so retries cannot multiply them.
  return hourly === undefined ? undefined : (hourly * (run.timeouts.startupSeconds + run.timeouts.runSeconds)) / 3600;
}

/** What a run did cost, from the seconds in which it held its nodes, over all attempts. */
export function actualCostUSD(run: WorldRunSpec, profile: RuntimeProfileSpec, seconds: number): string | undefined {
  const hourly = hourlyUSD(run, profile);
  return hourly === undefined ? undefined : ((hourly * seconds) / 3600).toFixed(4);
}
