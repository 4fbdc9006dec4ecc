import type { WorldRunSpec } from '../../crds/world-run.ts';
import type { LiveRun } from '../run/view.ts';

/**
 * The spec for the next attempt, with the time that its clocks have left: the vendor-side deadline is made of it. With
 * the whole time for each try, an operator that is gone could cost more than the run may.
 */
export function withTimeLeft({ spec, status }: Pick<LiveRun, 'spec' | 'status'>): WorldRunSpec {
  const { clocks } = status;
  if (clocks === undefined) return spec;
  const left = (limit: number, used: number) => Math.max(1, Math.floor(limit - used));
  const { startupSeconds, runSeconds } = spec.timeouts;
  return {
    ...spec,
    timeouts: {
      ...spec.timeouts,
      startupSeconds: left(startupSeconds, clocks.startupSeconds),
      runSeconds: left(runSeconds, clocks.runSeconds),
    },
  };
}
