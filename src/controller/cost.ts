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

/**
 * The most that a run can cost in all: its clocks run to their end, and every try that it has left is bought. The
 * clocks add up over attempts, so that retries cannot multiply them; requests have no such bound, so those that
 * suspended attempts have sent come on top.
 */
export function ceilingUSD(
  run: WorldRunSpec,
  profile: RuntimeProfileSpec,
  status: Attempts & Pick<WorldRunStatus, 'uncountedAttempts'> = {},
): MicroUSD | undefined {
  const seconds = run.timeouts.startupSeconds + run.timeouts.runSeconds;
  return priceOf(run, profile)?.({ seconds, requests: requestsSent(status) + triesLeft(run, status) });
}

function triesLeft(
  run: WorldRunSpec,
  { attempts = [], attemptCount = 0, uncountedAttempts = 0 }: Attempts & Pick<WorldRunStatus, 'uncountedAttempts'>,
): number {
  const uncounted = Math.max(uncountedAttempts, attempts.filter((a) => a.counted === false).length);
  return Math.max(0, run.retry.maxAttempts - Math.max(0, attemptCount - uncounted));
}

/** The most that a run which may use any of these profiles can cost: the dearest of them, or undefined without any price. */
export function dearestUSD(run: WorldRunSpec, profiles: readonly RuntimeProfileSpec[]): MicroUSD | undefined {
  const ceilings = profiles.map((profile) => ceilingUSD(run, profile)).filter((ceiling) => ceiling !== undefined);
  return ceilings.length === 0 ? undefined : ceilings.reduce((a, b) => (a > b ? a : b));
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
  reported?: { usd: number; seconds: number },
): string | undefined {
  const price = priceOf(run, profile);
  if (reported === undefined || !Number.isFinite(reported.usd) || reported.usd < 0)
    return price === undefined ? undefined : formatUSD(price(used));
  const before = { seconds: Math.max(0, used.seconds - reported.seconds), requests: Math.max(0, used.requests - 1) };
  return formatUSD(parseUSD(reported.usd.toFixed(6)) + (price?.(before) ?? 0n));
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
