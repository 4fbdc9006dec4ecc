import type { KubeClient } from '../kube/client.ts';
import { pause } from '../kube/pause.ts';
import type { NoticeReceiver, Runtime } from '../runtime/contract.ts';
import { RuntimeRegistry } from '../runtime/registry.ts';
import { RuntimeIos } from '../runtime/runtime-io.ts';
import type { ProviderEventRecorder } from '../telemetry/provider-events.ts';
import type { SecretsInUse } from '../telemetry/secrets-in-use.ts';
import type { Caches } from './caches.ts';
import type { Orphan } from './remote/ports.ts';
import { CannotReach, Vendors } from './remote/vendors.ts';
import type { Results } from './run/ports.ts';
import { VendorSecrets } from './vendor-access.ts';

export interface VendorRunsOptions {
  runtimes: readonly Runtime[];
  caches: Caches;
  client: KubeClient;
  namespace: string;
  installationId: string;
  results: Pick<Results, 'sink' | 'storeResult'>;
  events: ProviderEventRecorder;
  secretsInUse: SecretsInUse;
  clusterRanges: readonly string[];
  /** Orphans are at least this old; seconds. */
  orphanAgeSeconds: number;
  degraded(profile: string): string | undefined;
  onWork(runUid: string): void;
  /** What a profile stands on has changed: its Secret was read, or is another one. */
  onSecret(profile: string): void;
  onOrphan(orphan: Orphan): void;
  onError(what: string, error: unknown): void;
}

/** Vendors wired together: their Secrets, the guarded way out, the poller and the sweep. */
export class VendorRuns {
  readonly registry: RuntimeRegistry;
  readonly secrets: VendorSecrets;
  readonly vendors: Vendors;
  readonly #o: VendorRunsOptions;
  readonly #ios: RuntimeIos;
  readonly #end = new AbortController();
  readonly #receivers = new Map<string, NoticeReceiver>();

  constructor(options: VendorRunsOptions) {
    this.#o = options;
    const { caches, client, namespace, installationId, results, secretsInUse } = options;
    this.registry = new RuntimeRegistry(options.runtimes);
    this.#ios = new RuntimeIos({ events: options.events, clusterRanges: options.clusterRanges });
    this.secrets = new VendorSecrets({
      namespace,
      client,
      ios: this.#ios,
      secretsInUse,
      onChange: (secret) => {
        for (const { name, spec } of caches.profiles.list())
          if (spec.credentials?.secretRef.name === secret) options.onSecret(name);
      },
      signal: this.#end.signal,
      now: Date.now,
    });
    this.vendors = new Vendors({
      registry: this.registry,
      access: this.secrets,
      caches,
      installationId,
      results,
      degraded: options.degraded,
      wake: options.onWork,
      onOrphan: options.onOrphan,
      onError: options.onError,
      now: Date.now,
    });
    caches.profiles.subscribe((change) => {
      if (change.type !== 'deleted') return;
      this.#ios.forget(change.old.name);
      this.#receivers.delete(change.old.digest);
    });
  }

  /** A vendor's notice for a profile; the HTTP status to answer. */
  async onNotice(
    profileName: string,
    headers: Readonly<Record<string, string | string[] | undefined>>,
    body: Buffer,
  ): Promise<number> {
    const view = this.#o.caches.profiles.get(profileName);
    if (view?.spec.replicate?.webhookURL === undefined) return 404;
    const profile = { name: view.name, digest: view.digest, spec: view.spec };
    const receiver =
      this.#receivers.get(view.digest) ??
      this.registry.getRuntime(view.spec.runtime).notices?.(
        () => this.vendors.reach(profile).io,
        () => this.vendors.poller.hint(),
      );
    if (receiver === undefined) return 404;
    // One for each spec of a profile: it remembers the account's key, and what it was told already.
    if (!this.#receivers.has(view.digest)) this.#receivers.set(view.digest, receiver);
    return receiver.receive(headers, body);
  }

  /** Reads Secrets also while another process leads: a standby takes over with everything at hand. */
  watchSecrets(): void {
    void this.secrets
      .run()
      .catch((error: unknown) => this.#o.onError('the vendors’ Secrets are not read any more', error));
  }

  /** While this process leads and its caches are complete. */
  start(): void {
    this.vendors.poller.start();
    void this.#sweep();
  }

  stop(): void {
    this.#end.abort();
    this.vendors.poller.stop();
  }

  async close(): Promise<void> {
    this.stop();
    await this.#ios.close();
  }

  async #sweep(): Promise<void> {
    const { signal } = this.#end;
    const { orphanAgeSeconds, caches, onError } = this.#o;
    // Two sightings: an orphan is told at an age of at most twice this and a half.
    for (;;) {
      await pause((orphanAgeSeconds * 1000) / 2, signal);
      if (signal.aborted) return;
      for (const { name, digest, spec } of caches.profiles.list()) {
        const profile = { name, digest, spec };
        if (!this.vendors.isVendor(profile) || !this.registry.getRuntime(spec.runtime).traits.paid) continue;
        await this.vendors.sweeper.sweep(profile, orphanAgeSeconds * 1000).catch((error: unknown) => {
          if (!(error instanceof CannotReach)) onError(`the work of profile ${name} could not be swept`, error);
        });
      }
    }
  }
}
