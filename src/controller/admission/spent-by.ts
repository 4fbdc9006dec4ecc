import type { RuntimeProfileSpec } from '../../crds/runtime-profile.ts';
import { elsewhereOf, spentUSD, usedUntil } from '../cost.ts';
import { readUSD, type MicroUSD } from '../money.ts';
import type { RunView } from '../run/view.ts';

/**
 * What a run that buys nothing more for now has cost: it has ended, is suspended, or is gone. Undefined where nobody can
 * tell; what it was charged then stands. `profile`: the one that it works with; `specOf`: others by their name.
 */
export function spentBy(
  run: RunView,
  profile: { name: string; spec: RuntimeProfileSpec } | undefined,
  specOf: (name: string) => RuntimeProfileSpec | undefined,
  now: number,
): MicroUSD | undefined {
  // The vendor may have its work, and it may have run to its deadline.
  if (run.state === 'settled') return run.reason === 'SubmitUnresolved' ? undefined : readUSD(run.costUSD);
  if ((run.status.attemptCount ?? 0) === 0) return 0n;
  if (profile === undefined) return undefined;
  const { used: there, usd } = elsewhereOf(run, profile, specOf);
  const { seconds, requests } = usedUntil(run, now);
  const here = { seconds: Math.max(0, seconds - there.seconds), requests: Math.max(0, requests - there.requests) };
  const spent = spentUSD(run.spec, profile.spec, here);
  return spent === undefined ? undefined : spent + usd;
}
