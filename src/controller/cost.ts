import type { RuntimeProfileSpec } from '../crds/runtime-profile.ts';
import type { AttemptStatus, WorldRunStatus } from '../crds/world-run-status.ts';
import type { WorldRunSpec } from '../crds/world-run.ts';
import { gpusPerNode } from '../runtime/local/job.ts';
import { formatUSD, parseUSD, timesSeconds, type MicroUSD } from './money.ts';

/**
 * What a run can cost, and what it did cost. Jobs hold nodes by the hour; a vendor takes money for each second of its
 * work and for each request: a request that is sent again is bought again.
 */

/** What a run has used so far. */
export interface Used {
  /** In which it held its nodes, or a vendor worked; over all attempts. */
  seconds: number;
  /** Sent to a vendor to create work, also those that a suspension made useless. */
  requests: number;
}

type Attempts = Pick<WorldRunStatus, 'attempts' | 'attemptCount'>;

/** Undefined where the profile names no price for its kind of work. */
function priceOf(run: WorldRunSpec, { local, pricing }: RuntimeProfileSpec): ((used: Used) => MicroUSD) | undefined {
  if (pricing === undefined) return undefined;
  const { usdPerGPUHour, usdPerNodeHour, usdPerSecond, usdPerRequest } = pricing;
  const amount = (text: string | undefined): MicroUSD => (text === undefined ? 0n : parseUSD(text));
  if (local !== undefined) {
    if (usdPerGPUHour === undefined && usdPerNodeHour === undefined) return undefined;
    const hourly =
      BigInt(run.nodes) * (BigInt(gpusPerNode(run, local)) * amount(usdPerGPUHour) + amount(usdPerNodeHour));
    return ({ seconds }) => timesSeconds(hourly, seconds, 3600);
  }
  if (usdPerSecond === undefined && usdPerRequest === undefined) return undefined;
  return ({ seconds, requests }) =>
    timesSeconds(amount(usdPerSecond), seconds) + BigInt(requests) * amount(usdPerRequest);
}

/**
 * Requests that a run has sent: one an attempt with an intent. Attempts that are no longer listed count as sent.
 */
export function requestsSent({ attempts = [], attemptCount = 0 }: Attempts): number {
  return attempts.filter((a) => a.intent !== undefined).length + Math.max(0, attemptCount - attempts.length);
}

/** What attempts under other profiles than the present one have used, at their own prices. */
export interface Elsewhere {
  used: Used;
  usd: MicroUSD;
}
export const NOWHERE: Elsewhere = { used: { seconds: 0, requests: 0 }, usd: 0n };

/** `specOf`: a profile by its name; the present one stands for those that are gone. */
export function elsewhereOf(
  run: { spec: WorldRunSpec; status: Attempts },
  present: { name: string; spec: RuntimeProfileSpec },
  specOf: (name: string) => RuntimeProfileSpec | undefined,
): Elsewhere {
  const total = { used: { ...NOWHERE.used }, usd: 0n };
  for (const attempt of run.status.attempts ?? []) {
    const { profile, intent, startedAt, podSetStartedAt, finishedAt } = attempt;
    if (profile === undefined || profile === present.name) continue;
    const began = Date.parse(intent?.recordedAt ?? podSetStartedAt ?? startedAt ?? '');
    const seconds = Math.max(0, (Date.parse(finishedAt ?? '') - began) / 1000) || 0;
    const used = { seconds, requests: intent === undefined ? 0 : 1 };
    total.used.seconds += used.seconds;
    total.used.requests += used.requests;
    total.usd += priceOf(run.spec, specOf(profile) ?? present.spec)?.(used) ?? 0n;
  }
  return total;
}

/**
 * The most that a run can cost in all: its clocks run to their end, and every try that it has left is bought. The
 * clocks add up over attempts, so that retries cannot multiply them; requests have no such bound, so those that
 * suspended attempts have sent come on top, and so does what was bought under other profiles.
 */
export function ceilingUSD(
  run: WorldRunSpec,
  profile: RuntimeProfileSpec,
  status: Attempts & Pick<WorldRunStatus, 'uncountedAttempts'> = {},
  elsewhere: Elsewhere = NOWHERE,
): MicroUSD | undefined {
  const price = priceOf(run, profile);
  if (price === undefined) return undefined;
  const seconds = run.timeouts.startupSeconds + run.timeouts.runSeconds;
  const requests = requestsSent(status) - elsewhere.used.requests + triesLeft(run, status);
  return price({ seconds, requests: Math.max(0, requests) }) + elsewhere.usd;
}

function triesLeft(
  run: WorldRunSpec,
  { attempts = [], attemptCount = 0, uncountedAttempts = 0 }: Attempts & Pick<WorldRunStatus, 'uncountedAttempts'>,
): number {
  const uncounted = Math.max(uncountedAttempts, attempts.filter((a) => a.counted === false).length);
  return Math.max(0, run.retry.maxAttempts - Math.max(0, attemptCount - uncounted));
}

/** What a run did cost, or has cost so far. */
export function spentUSD(run: WorldRunSpec, profile: RuntimeProfileSpec, used: Used): MicroUSD | undefined {
  return priceOf(run, profile)?.(used);
}

/**
 * As statuses and manifests show it. What the runtime itself reports of the last attempt takes the place of what that
 * attempt's seconds and its request would cost.
 */
export function actualCostUSD(
  run: WorldRunSpec,
  profile: RuntimeProfileSpec,
  used: Used,
  { reported, elsewhere = NOWHERE }: { reported?: { usd: number; seconds: number }; elsewhere?: Elsewhere } = {},
): string | undefined {
  const price = priceOf(run, profile);
  const known = reported !== undefined && Number.isFinite(reported.usd) && reported.usd >= 0 ? reported : undefined;
  if (price === undefined && known === undefined) return undefined;
  const here = {
    seconds: Math.max(0, used.seconds - elsewhere.used.seconds - (known?.seconds ?? 0)),
    requests: Math.max(0, used.requests - elsewhere.used.requests - (known === undefined ? 0 : 1)),
  };
  const last = known === undefined ? 0n : parseUSD(known.usd.toFixed(6));
  return formatUSD(last + (price?.(here) ?? 0n) + elsewhere.usd);
}

/**
 * What a live run has used up to `now` (milliseconds since the epoch), as its status shows it: an open attempt counts
 * from its beginning, and a Job's pods go on for the time to upload.
 */
export function usedUntil(
  run: { spec: WorldRunSpec; status: Attempts & Pick<WorldRunStatus, 'clocks'> },
  now: number,
): Used {
  const { clocks, attempts = [] } = run.status;
  const open: AttemptStatus | undefined = attempts.findLast((a) => a.finishedAt === undefined);
  const began = Date.parse(open?.intent?.recordedAt ?? open?.podSetStartedAt ?? open?.startedAt ?? '');
  const running = Number.isNaN(began) ? 0 : Math.max(0, (now - began) / 1000) + run.spec.timeouts.uploadSeconds;
  return {
    seconds: (clocks?.startupSeconds ?? 0) + (clocks?.runSeconds ?? 0) + running,
    requests: requestsSent(run.status),
  };
}
