import type { RuntimeProfileSpec } from '../crds/runtime-profile.ts';
import { parseQuantity } from '../kube/quantity.ts';
import { GuardedConnections } from '../net/connections.ts';
import { hostOf, UrlGuard, type UrlPolicy } from '../net/url-guard.ts';
import type { ProviderEventRecorder } from '../telemetry/provider-events.ts';
import type { ProfileRef, Runtime, RuntimeIo } from './contract.ts';
import { GuardedVendorHttp } from './guarded-vendor-http.ts';
import { DEFAULT_REQUEST_POLICY } from './request-policy.ts';

/** The credentials of one profile, as they were last read. */
export interface RuntimeCredentials {
  /** By environment name, aliases resolved. */
  readonly values: Readonly<Record<string, string>>;
  /** Hosts that they may be sent to, where the profile names no endpoint. */
  readonly hosts: readonly string[];
  /** Of the Secret; another one means that the values may have changed. */
  readonly resourceVersion: string;
}

/** For runtimes that need none. */
export const NO_CREDENTIALS: RuntimeCredentials = { values: {}, hosts: [], resourceVersion: '' };

export interface RuntimeIosOptions {
  readonly events: ProviderEventRecorder;
  /** Pod, service and node ranges, as `10.96.0.0/12`. */
  readonly clusterRanges: readonly string[];
  /** Name resolution, where a test gives the answers. */
  readonly resolve?: ConstructorParameters<typeof UrlGuard>[1];
}

export interface RuntimeIoRequest {
  readonly profile: ProfileRef;
  readonly runtime: Pick<Runtime, 'name'>;
  readonly credentials: RuntimeCredentials;
  /** Ends what is done with this io. */
  readonly signal: AbortSignal;
}

/**
 * What effects of runtimes need, profile by profile. Connections are kept for each spec of a profile, because runs go on
 * with the one they began with, and never shared: addresses that were judged under one set of rules are not the other's.
 */
export class RuntimeIos {
  readonly #options: RuntimeIosOptions;
  /** By profile, then by the digest of its spec. Those that nobody uses hold no socket. */
  readonly #connections = new Map<string, Map<string, GuardedConnections>>();

  constructor(options: RuntimeIosOptions) {
    this.#options = options;
  }

  makeRuntimeIo({ profile, runtime, credentials, signal }: RuntimeIoRequest): RuntimeIo {
    const { spec } = profile;
    const http = new GuardedVendorHttp(
      {
        provider: runtime.name,
        profile: profile.name,
        policy: spec.requestPolicy ?? DEFAULT_REQUEST_POLICY,
        scope: {
          endpoint: endpointOf(spec),
          hosts: credentials.hosts,
          values: Object.values(credentials.values),
        },
        maxDownloadBytes: parseQuantity(spec.limits.maxArtifactBytes),
        connections: this.#connectionsOf(profile),
        events: this.#options.events,
      },
      signal,
    );
    return { profile, credentials: credentials.values, http, signal, now: () => Date.now() };
  }

  /** The profile is gone: its connections end when what is under way on them has. */
  forget(profileName: string): void {
    const known = this.#connections.get(profileName) ?? [];
    this.#connections.delete(profileName);
    for (const [, connections] of known) void connections.close();
  }

  /** Ends everything at once. */
  async close(): Promise<void> {
    const all = [...this.#connections.values()].flatMap((known) => [...known.values()]);
    this.#connections.clear();
    await Promise.all(all.map((connections) => connections.destroy()));
  }

  #connectionsOf({ name, digest, spec }: ProfileRef): GuardedConnections {
    const known = this.#connections.get(name) ?? new Map<string, GuardedConnections>();
    this.#connections.set(name, known);
    const kept = known.get(digest);
    if (kept !== undefined) return kept;
    const policy: UrlPolicy = {
      ...spec.network,
      clusterRanges: this.#options.clusterRanges,
      privateHosts: privateHostsOf(spec),
    };
    const made = new GuardedConnections(policy, {}, new UrlGuard(policy, this.#options.resolve));
    known.set(digest, made);
    return made;
  }
}

/** The address that the profile's block for its runtime names. */
export function endpointOf(spec: RuntimeProfileSpec): string | undefined {
  const block = spec[spec.runtime];
  return block !== undefined && 'endpoint' in block ? block.endpoint : undefined;
}

/**
 * Without named hosts, what the profile opens the private networks for is its endpoint. A vendor names URLs too, perhaps
 * in the words of a model: those must not reach into the cluster.
 */
function privateHostsOf(spec: RuntimeProfileSpec): string[] | undefined {
  if (spec.network?.allowedHosts !== undefined) return undefined;
  const endpoint = endpointOf(spec);
  return endpoint !== undefined && URL.canParse(endpoint) ? [hostOf(new URL(endpoint))] : [];
}
