import type { Capability, RuntimeName } from '../../crds/vocabulary.ts';
import { RUNTIME_NAMES } from '../../crds/vocabulary.ts';
import { isKubeError } from '../../kube/errors.ts';
import { canDo, RUNTIME_CAPABILITIES, wordsFor } from '../capabilities.ts';
import type { Answer } from '../envelope.ts';
import { cliErrorOf } from '../errors.ts';
import type { RuntimeProfile } from '../resources.ts';
import type { Session } from '../session.ts';

/** What the doctor says of runtimes, of the Secrets that runs in this namespace need, and of the way to WorldFlux. */

type Data = Answer<'Doctor'>['data'];
export type Line = Data['checks'][number];
export type RuntimeFacts = Data['runtimes'][number];

export interface RuntimeQuestion {
  /** Only runtimes that can do this, and an error where no profile is ready for it. */
  capability: Capability | undefined;
  /** Leaves out runtimes that no profile names. */
  registeredOnly: boolean;
}

const CALL_MS = 10_000;

const line = (check: string, level: Line['level'], message: string): Line => ({ check, level, message });

const conditionOf = ({ status }: RuntimeProfile, type: string) => status?.conditions?.find((c) => c.type === type);
const nameOf = ({ metadata }: RuntimeProfile): string => metadata?.name ?? '';
export const isReady = (profile: RuntimeProfile): boolean => conditionOf(profile, 'Ready')?.status === 'True';
export const isDegraded = (profile: RuntimeProfile): boolean => conditionOf(profile, 'Degraded')?.status === 'True';

/** Pure. */
export function runtimeFacts(profiles: readonly RuntimeProfile[], question: RuntimeQuestion): RuntimeFacts[] {
  const { capability, registeredOnly } = question;
  return RUNTIME_NAMES.filter((name) => capability === undefined || canDo(name, capability)).flatMap((name) => {
    const own = profiles.filter(({ spec }) => spec.runtime === name);
    if (own.length === 0 && registeredOnly) return [];
    const known = RUNTIME_CAPABILITIES[name];
    return [
      {
        name,
        capabilities: known === 'any' ? null : [...known],
        profiles: own.map((profile) => ({
          name: nameOf(profile),
          ready: isReady(profile),
          degraded: isDegraded(profile),
          reason: conditionOf(profile, 'Ready')?.reason ?? '',
        })),
      },
    ];
  });
}

/** Pure. */
export function runtimeLines(facts: readonly RuntimeFacts[], capability: Capability | undefined): Line[] {
  const lines = facts.map(({ name, profiles }) => {
    const can = `can do: ${wordsFor(name as RuntimeName)}`;
    if (profiles.length === 0) return line('runtime', 'info', `${name}: no profile names it; ${can}`);
    const words = profiles.map((p) => `${p.name} ${p.degraded ? 'degraded' : p.ready ? 'ready' : p.reason || 'new'}`);
    const fine = profiles.every(({ ready, degraded }) => ready && !degraded);
    const advice = fine ? '' : '; kubectl worldflux runtime doctor says why';
    return line('runtime', fine ? 'ok' : 'info', `${name}: ${words.join(', ')}; ${can}${advice}`);
  });
  if (capability === undefined) return lines;
  const able = facts.flatMap(({ profiles }) => profiles.filter(({ ready }) => ready).map(({ name }) => name));
  return [
    ...lines,
    able.length > 0
      ? line('capability', 'ok', `${capability}: ${able.join(', ')}`)
      : line('capability', 'error', `no profile that is ready can ${capability}: kubectl worldflux runtime list`),
  ];
}

/** What the operator last found out about each sync target. Pure. */
export function upstreamLines(profiles: readonly RuntimeProfile[]): Line[] {
  return profiles.flatMap((profile) => {
    const { sync } = profile.spec;
    if (sync === undefined || sync.mode === 'Disabled') return [];
    const verdicts = ['ContractVerified', 'SyncKeyValid'].map((type) => conditionOf(profile, type));
    const wrong = verdicts.find((verdict) => verdict?.status === 'False');
    const about = `${nameOf(profile)} syncs to ${sync.baseURL}`;
    if (wrong !== undefined) return [line('upstream', 'error', `${about}: ${wrong.message}`)];
    if (verdicts.some((verdict) => verdict === undefined))
      return [line('upstream', 'info', `${about}: the operator has not reported on it yet`)];
    const open = verdicts.find((verdict) => verdict?.status === 'Unknown');
    return [line('upstream', open === undefined ? 'ok' : 'info', `${about}: ${open?.message ?? 'accepted'}`)];
  });
}

interface WantedSecret {
  name: string;
  /** For people: who needs it. */
  by: string;
}

/** Secrets that runs of a namespace need there, by their profiles. Pure. */
export function wantedSecrets(profiles: readonly RuntimeProfile[]): WantedSecret[] {
  const wanted = new Map<string, Set<string>>();
  const want = (name: string, by: string): void => {
    wanted.set(name, (wanted.get(name) ?? new Set()).add(by));
  };
  for (const profile of profiles) {
    const { providerEnv = [], sync, local } = profile.spec;
    for (const { name, secretKeyRef } of providerEnv) want(secretKeyRef.name, `${name} of profile ${nameOf(profile)}`);
    if (sync !== undefined && sync.mode !== 'Disabled' && sync.apiKeySecretRef.from === 'RunNamespace')
      want(sync.apiKeySecretRef.name, `the sync of profile ${nameOf(profile)}`);
    for (const { name } of local?.imagePullSecrets ?? []) want(name, `image pulls of profile ${nameOf(profile)}`);
  }
  return [...wanted].map(([name, by]) => ({ name, by: [...by].join(', ') }));
}

const METADATA_ONLY = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1';

/** Whether they are there: their metadata is asked for, never what is in them. */
export async function secretLines(session: Session, profiles: readonly RuntimeProfile[]): Promise<Line[]> {
  const { client, namespace, signal } = session;
  return Promise.all(
    wantedSecrets(profiles).map(async ({ name, by }) => {
      const what = `Secret ${namespace}/${name} (${by})`;
      try {
        const { body } = await client.open(`/api/v1/namespaces/${namespace}/secrets/${name}`, {
          headers: { accept: METADATA_ONLY },
          signal: AbortSignal.any([signal, AbortSignal.timeout(CALL_MS)]),
        });
        body.destroy();
        return line('secrets', 'ok', `${what} is there`);
      } catch (error) {
        if (isKubeError(error, 'notFound'))
          return line('secrets', 'info', `${what} is missing; runs that need it wait with SecretMissing`);
        if (isKubeError(error, 'forbidden'))
          return line('secrets', 'info', `you may not look whether ${what} is there`);
        const { message, code } = cliErrorOf(error);
        if (code === 'interrupted') throw error;
        return line('secrets', 'info', `${what}: ${message}`);
      }
    }),
  );
}
