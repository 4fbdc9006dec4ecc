import type { Condition } from '../crds/common.ts';
import type { DoctorLine } from '../crds/runtime-profile.ts';

/** What `/readyz` says, in the shape that WorldForge's service host has. Pure. */

/** Of the operator itself. */
export interface OperatorFacts {
  readonly stopping: boolean;
  readonly cachesComplete: boolean;
  /** Undefined until it was first asked. */
  readonly storeReachable: boolean | undefined;
}

export interface ProfileFacts {
  readonly name: string;
  readonly runtime: string;
  readonly conditions: readonly Condition[];
  readonly doctor: readonly DoctorLine[];
}

export type OperatorStatus = 'ready' | 'stopping' | 'starting' | 'store_unreachable';
export type ProviderStatus = 'ready' | 'provider_unconfigured' | 'provider_unhealthy';

export interface Doctor {
  readonly provider_count: number;
  readonly registered_provider_count: number;
  readonly healthy_provider_count: number;
  readonly issue_count: number;
  /** `profile: check`, the first few. What is wrong stands in the profile's status, for those who may read it. */
  readonly issues: readonly string[];
}

export interface Readiness<Status, Checks> {
  readonly status: Status;
  readonly checks: Checks;
  /** Anything but `accept` is answered with 503: probes read nothing else. */
  readonly traffic: 'accept' | 'drain';
  readonly doctor: Doctor;
}

export type OperatorReadiness = Readiness<
  OperatorStatus,
  { framework_alive: true; caches_complete: boolean; store_reachable: boolean }
>;
export type ProfileReadiness = Readiness<
  ProviderStatus,
  {
    framework_alive: boolean;
    provider: string;
    provider_configured: boolean;
    provider_healthy: boolean;
    provider_health: { name: string; healthy: boolean; latency_ms: null; details: string };
  }
>;

const MOST_ISSUES = 20;

const isTrue = ({ conditions }: ProfileFacts, type: string): boolean =>
  conditions.some((condition) => condition.type === type && condition.status === 'True');

const isHealthy = (profile: ProfileFacts): boolean => isTrue(profile, 'Healthy') && !isTrue(profile, 'Degraded');

export function doctorOf(profiles: Iterable<ProfileFacts>): Doctor {
  let providers = 0;
  let configured = 0;
  let healthy = 0;
  const issues: string[] = [];
  let issueCount = 0;
  for (const profile of profiles) {
    providers += 1;
    if (isTrue(profile, 'Configured')) configured += 1;
    if (isHealthy(profile)) healthy += 1;
    const wrong = profile.doctor.filter(({ level }) => level === 'error').map(({ check }) => check);
    if (isTrue(profile, 'Degraded')) wrong.push('degraded');
    issueCount += wrong.length;
    for (const check of wrong) if (issues.length < MOST_ISSUES) issues.push(`${profile.name}: ${check}`);
  }
  return {
    provider_count: providers,
    registered_provider_count: configured,
    healthy_provider_count: healthy,
    issue_count: issueCount,
    issues,
  };
}

export function operatorReadiness(facts: OperatorFacts, doctor: Doctor): OperatorReadiness {
  const { stopping, cachesComplete, storeReachable } = facts;
  const status = stopping
    ? 'stopping'
    : !cachesComplete || storeReachable === undefined
      ? 'starting'
      : storeReachable
        ? 'ready'
        : 'store_unreachable';
  return {
    status,
    checks: {
      framework_alive: true,
      caches_complete: cachesComplete,
      store_reachable: storeReachable === true,
    },
    traffic: status === 'ready' ? 'accept' : 'drain',
    doctor,
  };
}

/** `profile` is undefined where there is none of that name: a provider that nobody registered. */
export function profileReadiness(
  name: string,
  profile: ProfileFacts | undefined,
  operator: OperatorReadiness,
): ProfileReadiness {
  const alive = operator.traffic === 'accept';
  const configured = profile !== undefined && isTrue(profile, 'Configured');
  const healthy = configured && isHealthy(profile);
  const status = !configured ? 'provider_unconfigured' : healthy && alive ? 'ready' : 'provider_unhealthy';
  return {
    status,
    checks: {
      framework_alive: alive,
      provider: profile?.runtime ?? name,
      provider_configured: configured,
      provider_healthy: healthy,
      provider_health: { name, healthy, latency_ms: null, details: detailsOf(profile, operator) },
    },
    traffic: status === 'ready' ? 'accept' : 'drain',
    doctor: operator.doctor,
  };
}

function detailsOf(profile: ProfileFacts | undefined, operator: OperatorReadiness): string {
  if (profile === undefined) return 'there is no RuntimeProfile of that name';
  if (operator.traffic === 'drain') return `the operator is not ready: ${operator.status.replaceAll('_', ' ')}`;
  // The reasons alone: messages may name Secrets, and this page asks nobody who they are.
  const bad = profile.conditions.filter(({ type, status }) =>
    type === 'Degraded' ? status === 'True' : (type === 'Configured' || type === 'Healthy') && status !== 'True',
  );
  if (bad.length > 0) return bad.map(({ type, reason }) => `${type}: ${reason}`).join(', ');
  return isTrue(profile, 'Configured') ? 'configured' : 'nothing has looked at the profile yet';
}
