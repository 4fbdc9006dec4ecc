import { DEFAULT_PROFILE_ANNOTATION } from '../../crds/runtime-profile.ts';
import type { RuntimeName } from '../../crds/vocabulary.ts';
import { isKubeError } from '../../kube/errors.ts';
import { RUNTIME_CAPABILITIES, wordsFor } from '../capabilities.ts';
import { answerOf, type Answer } from '../envelope.ts';
import { CliError, EXIT_CODES } from '../errors.ts';
import { RUNTIME_PROFILES, type RuntimeProfile } from '../resources.ts';
import type { Session } from '../session.ts';
import { table } from '../table.ts';
import { isDegraded } from './doctor-runtimes.ts';

type ConfigLine = Answer<'RuntimeDoctor'>['data']['items'][number]['config'][number];

export async function list(session: Session): Promise<Answer<'RuntimeList'>> {
  const items = (await profiles(session, undefined)).map((profile) => {
    const { spec, metadata } = profile;
    return {
      name: metadata?.name ?? '',
      runtime: spec.runtime,
      isDefault: metadata?.annotations?.[DEFAULT_PROFILE_ANNOTATION] === 'true',
      ready: ready(profile)?.status === 'True',
      reason: ready(profile)?.reason ?? '',
      image: spec.local?.image ?? null,
      degraded: isDegraded(profile),
      supportLevel: spec.supportLevel ?? null,
      capabilities: capabilitiesOf(spec.runtime),
    };
  });
  const rows = items.map((p) => [
    `${p.name}${p.isDefault ? ' (default)' : ''}`,
    p.runtime,
    p.degraded ? 'Degraded' : p.ready ? 'Ready' : p.reason || 'Unknown',
    p.image ?? wordsFor(p.runtime),
  ]);
  const none = 'there are no RuntimeProfiles: the platform team installs the first ones with charts/worldflux-profiles';
  return answerOf(
    'RuntimeList',
    { items },
    rows.length === 0 ? none : table(['NAME', 'RUNTIME', 'STATE', 'IMAGE OR CAPABILITIES'], rows),
  );
}

/** What the operator's own doctor last said of one profile or of all. */
export async function doctor(session: Session, name: string | undefined): Promise<Answer<'RuntimeDoctor'>> {
  const items = (await profiles(session, name)).map((profile) => ({
    name: profile.metadata?.name ?? '',
    runtime: profile.spec.runtime,
    ready: ready(profile)?.status === 'True',
    degraded: isDegraded(profile),
    message: ready(profile)?.message ?? 'the operator has not looked at it yet',
    checks: [...(profile.status?.doctor ?? []), ...degradedLine(profile)],
    config: (profile.status?.config ?? []).map(({ name, present, source, required, valid }) => ({
      name,
      present,
      source: source ?? null,
      required,
      valid,
    })),
  }));
  const healthy = items.every(({ ready, checks }) => ready && checks.every(({ level }) => level !== 'error'));
  const text = items.flatMap((p) => [
    `${p.name}: ${p.ready ? 'ready' : `not ready: ${p.message}`}`,
    ...p.checks.map((c) => `  ${c.level.padEnd(5)} ${c.check}: ${c.message}`),
    ...p.config.map((c) => `  ${(c.valid ? 'ok' : c.required ? 'error' : 'info').padEnd(5)} config: ${configWords(c)}`),
  ]);
  return answerOf('RuntimeDoctor', { healthy, items }, text.join('\n'), healthy ? undefined : EXIT_CODES.notVerified);
}

/** New runs wait for it; it is not the profile's own fault. */
function degradedLine(profile: RuntimeProfile): { check: string; level: 'info'; message: string }[] {
  const condition = profile.status?.conditions?.find((c) => c.type === 'Degraded' && c.status === 'True');
  return condition === undefined ? [] : [{ check: 'degraded', level: 'info', message: condition.message ?? '' }];
}

function configWords({ name, present, source, required }: ConfigLine): string {
  const where = source === null ? '' : ` (${source})`;
  return `${name} is ${present ? 'set' : required ? 'missing' : 'not set'}${where}`;
}

const capabilitiesOf = (runtime: RuntimeName): string[] | null => {
  const known = RUNTIME_CAPABILITIES[runtime];
  return known === 'any' ? null : [...known];
};

async function profiles({ client, signal }: Session, name: string | undefined): Promise<RuntimeProfile[]> {
  try {
    if (name !== undefined) return [await client.get(RUNTIME_PROFILES, { name }, { signal })];
    const all: RuntimeProfile[] = [];
    for await (const profile of client.list(RUNTIME_PROFILES, { signal })) all.push(profile);
    return all;
  } catch (error) {
    if (!isKubeError(error, 'notFound')) throw error;
    const message =
      error.reason === '' ? 'this cluster does not know RuntimeProfiles' : `there is no RuntimeProfile ${name}`;
    throw new CliError(
      'notFound',
      message,
      error.reason === '' ? 'kubectl worldflux doctor' : 'kubectl worldflux runtime list',
      error,
    );
  }
}

const ready = ({ status }: RuntimeProfile) => status?.conditions?.find((c) => c.type === 'Ready');
