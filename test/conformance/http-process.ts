import { GuardedConnections } from '../../src/net/connections.ts';
import type { ProfileRef, RuntimeIo } from '../../src/runtime/contract.ts';
import { GuardedVendorHttp } from '../../src/runtime/guarded-vendor-http.ts';
import { DEFAULT_REQUEST_POLICY } from '../../src/runtime/request-policy.ts';
import type { VirtualClock } from '../faults/run/virtual-clock.ts';
import type { Calls } from './calls.ts';
import { pass } from './driver.ts';

export interface HttpProcessOptions {
  readonly profile: ProfileRef;
  readonly endpoint: string;
  readonly clock: VirtualClock;
  readonly calls: Calls;
  /** As the Secret holds them now. */
  readonly credentials: () => Readonly<Record<string, string>>;
}

/** The way out of one process: the real one, by the clock of the play, and ended with the process. */
export class HttpProcess {
  readonly #o: HttpProcessOptions;
  readonly #life = new AbortController();
  readonly #connections: GuardedConnections;

  constructor(options: HttpProcessOptions) {
    this.#o = options;
    this.#connections = new GuardedConnections(options.profile.spec.network ?? {});
    options.calls.onDeath(() => this.#life.abort());
  }

  io(): RuntimeIo {
    const { profile, endpoint, clock, credentials } = this.#o;
    const values = credentials();
    const { signal } = this.#life;
    const http = new GuardedVendorHttp(
      {
        provider: profile.spec.runtime,
        profile: profile.name,
        policy: profile.spec.requestPolicy ?? DEFAULT_REQUEST_POLICY,
        scope: { endpoint, hosts: [], values: Object.values(values) },
        maxDownloadBytes: 1024 * 1024,
        connections: this.#connections,
        events: { emit: () => undefined },
        clock: {
          now: () => clock.now,
          sleep: async (ms, ends) => {
            ends.throwIfAborted();
            pass(clock, ms);
          },
        },
      },
      signal,
    );
    return { profile, credentials: values, http, signal, now: () => clock.now };
  }

  async end(): Promise<void> {
    this.#life.abort();
    await this.#connections.destroy();
  }
}
