import type { DoctorLine, RuntimeProfileStatus } from '../../crds/runtime-profile.ts';
import type { ProfileRef, Runtime } from '../../runtime/contract.ts';
import { isRuntimeError, type RuntimeErrorKind } from '../../runtime/errors.ts';
import type { RuntimeRegistry } from '../../runtime/registry.ts';
import { missingGuards, supportLevelOf } from '../admission/rules.ts';
import type { CredentialState } from '../credentials.ts';
import type { VendorAccess } from '../remote/ports.ts';
import { publicMessage } from '../run/public-text.ts';

/** The doctor of profiles whose work a vendor does: what stands in the profile, its Secret, and what the vendor says. */

export type ConfigLines = NonNullable<RuntimeProfileStatus['config']>;

export interface VendorFindings {
  lines: DoctorLine[];
  config: ConfigLines;
}

/** The vendors' Secrets, as they were last read. */
export interface SecretFacts extends VendorAccess {
  stateOf(profile: ProfileRef, runtime: Runtime): CredentialState;
  configOf(profile: ProfileRef, runtime: Runtime): ConfigLines;
  /** Reads one now. Never rejects. */
  refresh(secretName: string): Promise<void>;
}

export interface VendorDoctorOptions {
  registry: RuntimeRegistry;
  secrets: SecretFacts;
  /** Milliseconds since the epoch. */
  now(): number;
}

/** Check whose error says that the vendor is away, not that the profile is wrong. */
export const VENDOR_CHECK = 'vendor';

/** Of one examination. */
const EXAMINE_MS = 45_000;
/**
 * For so long a vendor may be silent before new runs wait for it: one health check that fails says little, and a run that is
 * sent meanwhile finds out by itself. Calls that fail in numbers make the profile Degraded sooner.
 */
const PATIENCE_MS = 180_000;

const UNANSWERED: readonly RuntimeErrorKind[] = ['retryable', 'throttled', 'budget', 'unknownOutcome', 'aborted'];

/** The words may be the vendor's. */
const line = (check: string, level: DoctorLine['level'], message: string): DoctorLine => ({
  check,
  level,
  message: publicMessage(message, 500),
});

export class VendorDoctor {
  readonly #o: VendorDoctorOptions;
  /** By profile: since when its vendor has not answered. Milliseconds since the epoch. */
  readonly #silent = new Map<string, number>();

  constructor(options: VendorDoctorOptions) {
    this.#o = options;
  }

  isVendor({ runtime }: ProfileRef['spec']): boolean {
    return this.#o.registry.isVendor(runtime);
  }

  /** Asks the vendor. Never rejects. */
  async examine(profile: ProfileRef): Promise<VendorFindings> {
    const { registry, secrets } = this.#o;
    const runtime = registry.getRuntime(profile.spec.runtime);
    const secret = profile.spec.credentials?.secretRef.name;
    // Nobody has asked for it before.
    if (secret !== undefined && secrets.stateOf(profile, runtime).state === 'unreadable') await secrets.refresh(secret);
    const own = [guards(profile, runtime), support(profile, runtime)].flat();
    const state = secrets.stateOf(profile, runtime);
    const config = secrets.configOf(profile, runtime).slice(0, 32);
    if (state.state !== 'ready') {
      this.forget(profile.name);
      return { lines: [line('credentials', 'error', state.message), ...own], config };
    }
    const needed = runtime.traits.credentials.some(({ required }) => required);
    const credentials = needed ? [line('credentials', 'ok', `Secret ${secret} has what ${runtime.name} needs.`)] : [];
    return { lines: [...credentials, ...own, ...(await this.#ask(profile, runtime))].slice(0, 32), config };
  }

  /** The profile is gone, or is another one: what was known of its vendor says nothing. */
  forget(name: string): void {
    this.#silent.delete(name);
  }

  async #ask(profile: ProfileRef, runtime: Runtime): Promise<DoctorLine[]> {
    const access = this.#o.secrets.of(profile, runtime);
    if (!access.ready) return [line('credentials', 'error', access.message)];
    try {
      const signal = AbortSignal.any([access.io.signal, AbortSignal.timeout(EXAMINE_MS)]);
      const lines = await runtime.doctor(profile, { ...access.io, signal });
      this.#silent.delete(profile.name);
      return lines.map(({ check, level, message }) => line(check, level, message));
    } catch (error) {
      if (!isRuntimeError(error, ...UNANSWERED)) {
        this.#silent.delete(profile.name);
        return [line(VENDOR_CHECK, 'error', isRuntimeError(error) ? error.message : 'The doctor itself failed.')];
      }
      return [this.#silence(profile, error.message)];
    }
  }

  #silence({ name, spec }: ProfileRef, why: string): DoctorLine {
    const now = this.#o.now();
    const since = this.#silent.get(name) ?? now;
    this.#silent.set(name, since);
    const lasts = now - since >= PATIENCE_MS;
    // The same words while it lasts: each other word would be a write.
    const words = `${spec.runtime} has not answered since ${new Date(since).toISOString().slice(0, 19)}Z: ${why}`;
    return line(VENDOR_CHECK, lasts ? 'error' : 'info', lasts ? words : `${words} (runs go on for now)`);
  }
}

function guards({ spec }: ProfileRef, { traits }: Runtime): DoctorLine[] {
  if (!traits.paid) return [];
  const missing = missingGuards(spec).map((field) => `spec.${field}`);
  if (missing.length > 0)
    return [line('cost-guards', 'error', `A profile that costs money must set ${missing.join(', ')}.`)];
  const day = spec.limits.maxCostUSDPerNamespacePerDay;
  return [
    line(
      'cost-guards',
      day === undefined ? 'info' : 'ok',
      day === undefined
        ? 'Runs are priced before they start; limits.maxCostUSDPerNamespacePerDay would bound what a namespace spends in all.'
        : 'Runs are priced before they start, and what a namespace spends in a day is bounded.',
    ),
  ];
}

function support({ spec }: ProfileRef, { name, traits }: Runtime): DoctorLine[] {
  switch (supportLevelOf(spec, traits, undefined)) {
    case 'Production':
      return [];
    case 'Experimental':
      return [line('support', 'info', 'Experimental: each run must set acknowledgeExperimental.')];
    case 'ProductionDisabled':
      return [
        line(
          'support',
          'info',
          `${name} is registered, not production-backed: runs are refused but for adapters with support.level ProductionBacked, until spec.supportLevel says otherwise.`,
        ),
      ];
  }
}
