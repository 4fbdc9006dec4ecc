import type { RequestPolicy } from '../../crds/runtime-profile.ts';
import { GuardedConnections } from '../../net/connections.ts';
import { UrlGuard, type UrlPolicy } from '../../net/url-guard.ts';
import type { ProviderEventInput } from '../../telemetry/provider-event.ts';
import type { CredentialScope } from '../credential-scope.ts';
import { GuardedVendorHttp } from '../guarded-vendor-http.ts';
import { DEFAULT_REQUEST_POLICY } from '../request-policy.ts';

export interface Wishes {
  readonly network?: UrlPolicy;
  readonly resolve?: ConstructorParameters<typeof UrlGuard>[1];
  /** Over WorldForge's defaults. */
  readonly policy?: { readonly [K in keyof RequestPolicy]?: Partial<RequestPolicy[K]> };
  readonly scope?: Partial<CredentialScope>;
  readonly signal?: AbortSignal;
  readonly maxDownloadBytes?: number;
  readonly emit?: (event: ProviderEventInput) => void;
  /** Milliseconds by which the clock runs ahead, asked each time it is read. */
  readonly lateness?: () => number;
}

/** The real thing, with a clock on which sleeping takes no time and a note of every sleep and event. */
export function aVendorHttp(wishes: Wishes = {}) {
  const network: UrlPolicy = wishes.network ?? { allowPlainHTTP: true, allowPrivateEndpoints: true };
  const connections = new GuardedConnections(network, {}, new UrlGuard(network, wishes.resolve));
  const events: ProviderEventInput[] = [];
  const slept: number[] = [];
  let skipped = 0;
  const now = () => Date.now() + skipped + (wishes.lateness?.() ?? 0);
  const policy = Object.fromEntries(
    Object.entries(DEFAULT_REQUEST_POLICY).map(([name, defaults]) => [
      name,
      { ...defaults, ...wishes.policy?.[name as keyof RequestPolicy] },
    ]),
  ) as RequestPolicy;
  const http = new GuardedVendorHttp(
    {
      provider: 'replicate',
      profile: 'gpu',
      policy,
      scope: { hosts: [], values: [], ...wishes.scope },
      maxDownloadBytes: wishes.maxDownloadBytes ?? 1024 * 1024,
      connections,
      events: { emit: wishes.emit ?? ((event) => events.push(event)) },
      clock: {
        now,
        sleep: (ms, signal) => {
          signal.throwIfAborted();
          slept.push(ms);
          skipped += ms;
          return Promise.resolve();
        },
      },
    },
    wishes.signal ?? new AbortController().signal,
  );
  return { http, events, slept, connections, now };
}
