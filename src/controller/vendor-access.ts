import type { KubeClient } from '../kube/client.ts';
import { isKubeError } from '../kube/errors.ts';
import { pause } from '../kube/pause.ts';
import { SECRETS } from '../kube/resource.ts';
import type { ProfileRef, Runtime, RuntimeIo } from '../runtime/contract.ts';
import type { RuntimeIos } from '../runtime/runtime-io.ts';
import type { SecretsInUse } from '../telemetry/secrets-in-use.ts';
import {
  configLines,
  judgeCredentials,
  type ConfigLine,
  type CredentialState,
  type SecretRead,
} from './credentials.ts';
import type { VendorAccess } from './remote/ports.ts';
import { CREDENTIAL_LABEL } from './sync/ports.ts';

export interface VendorSecretsOptions {
  /** Where the operator lives, and the only place that vendor Secrets are read from. */
  readonly namespace: string;
  readonly client: Pick<KubeClient, 'get'>;
  readonly ios: RuntimeIos;
  readonly secretsInUse: SecretsInUse;
  /** A Secret is another one now, or readable or not: what depends on it is to be looked at again. */
  onChange(secretName: string): void;
  /** Ends reading, and what is done with the ios. */
  readonly signal: AbortSignal;
  now(): number;
}

interface Known {
  read: SecretRead;
  /** Of the last good answer of the API server. */
  readAt: number;
  askedAt: number;
}

const PERIOD_MS = 60_000;
const READ_MS = 10_000;
/** Values are used on while the API server does not answer; not for ever, because they may have been revoked. */
const TRUST_MS = 10 * 60_000;
/** A Secret that nobody has asked for is no longer read. */
const FORGET_MS = 15 * 60_000;

/**
 * The vendors' Secrets, by `get` and by name alone, once a minute as long as somebody needs them. Nothing here waits: what
 * has not been read yet is not ready, and `onChange` tells when it is.
 */
export class VendorSecrets implements VendorAccess {
  readonly #o: VendorSecretsOptions;
  readonly #known = new Map<string, Known>();
  readonly #reading = new Map<string, Promise<void>>();

  constructor(options: VendorSecretsOptions) {
    this.#o = options;
  }

  of(profile: ProfileRef, runtime: Runtime): { ready: true; io: RuntimeIo } | { ready: false; message: string } {
    const credentials = this.stateOf(profile, runtime);
    if (credentials.state !== 'ready') return { ready: false, message: credentials.message };
    const io = this.#o.ios.makeRuntimeIo({ profile, runtime, credentials, signal: this.#o.signal });
    return { ready: true, io };
  }

  stateOf({ spec }: Pick<ProfileRef, 'spec'>, runtime: Pick<Runtime, 'name' | 'traits'>): CredentialState {
    return judgeCredentials(spec, runtime, this.#lookUp(spec.credentials?.secretRef.name));
  }

  /** For the profile's `status.config`. */
  configOf({ spec }: Pick<ProfileRef, 'spec'>, runtime: Pick<Runtime, 'name' | 'traits'>): ConfigLine[] {
    return configLines(spec, runtime, this.#lookUp(spec.credentials?.secretRef.name));
  }

  /** Reads it now, or waits for the read that is under way. Never rejects. */
  async refresh(secretName: string): Promise<void> {
    const reading = this.#reading.get(secretName) ?? this.#read(secretName);
    this.#reading.set(secretName, reading);
    await reading.finally(() => this.#reading.delete(secretName));
  }

  /** Until the signal aborts. */
  async run(): Promise<void> {
    const { signal, now } = this.#o;
    while (!signal.aborted) {
      for (const [name, { askedAt }] of this.#known) {
        if (now() - askedAt > FORGET_MS) this.#forget(name);
        else await this.refresh(name);
      }
      await pause(PERIOD_MS, signal);
    }
  }

  #lookUp(secretName: string | undefined): SecretRead | undefined {
    if (secretName === undefined) return undefined;
    const now = this.#o.now();
    const known = this.#known.get(secretName);
    if (known === undefined) {
      const read = { found: false, missing: false, why: 'it has not been read yet' } as const;
      this.#known.set(secretName, { read, readAt: now, askedAt: now });
      void this.refresh(secretName);
      return read;
    }
    known.askedAt = now;
    return known.read;
  }

  async #read(secretName: string): Promise<void> {
    const { signal, now, onChange } = this.#o;
    const before = this.#known.get(secretName);
    let read = await this.#get(secretName, AbortSignal.any([signal, AbortSignal.timeout(READ_MS)]));
    const at = now();
    let readAt = at;
    if (read === undefined) {
      readAt = before?.readAt ?? at;
      const trusted = before?.read.found === true && at - readAt <= TRUST_MS;
      read = trusted ? before.read : { found: false, missing: false, why: 'the API server does not answer' };
    }
    if (signal.aborted) return;
    this.#mask(secretName, read);
    this.#known.set(secretName, { read, readAt, askedAt: this.#known.get(secretName)?.askedAt ?? at });
    if (identityOf(before?.read) !== identityOf(read)) onChange(secretName);
  }

  /** Undefined when the API server cannot say. */
  async #get(name: string, signal: AbortSignal): Promise<SecretRead | undefined> {
    try {
      const { metadata, data } = await this.#o.client.get(SECRETS, { namespace: this.#o.namespace, name }, { signal });
      return {
        found: true,
        resourceVersion: metadata?.resourceVersion ?? '',
        labels: metadata?.labels ?? {},
        annotations: metadata?.annotations ?? {},
        values: Object.fromEntries(
          Object.entries(data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64').toString('utf8')]),
        ),
      };
    } catch (error) {
      if (isKubeError(error, 'notFound')) {
        return { found: false, missing: true, why: `there is none of that name in ${this.#o.namespace}` };
      }
      if (isKubeError(error, 'forbidden')) {
        const why = 'the operator may not read it; the chart’s value credentialSecrets lists those that it may';
        return { found: false, missing: false, why };
      }
      return undefined;
    }
  }

  /** Before anything is sent with the values. A Secret that is nobody's credential is not looked for in every text. */
  #mask(name: string, read: SecretRead): void {
    if (!read.found || read.labels[CREDENTIAL_LABEL] === undefined) return;
    const values = Object.values(read.values).flatMap((value) => [value, value.trim()]);
    this.#o.secretsInUse.add(values, this.#ownerOf(name));
  }

  #forget(name: string): void {
    this.#known.delete(name);
    this.#o.secretsInUse.remove(this.#ownerOf(name));
  }

  #ownerOf(name: string): string {
    return `secret/${this.#o.namespace}/${name}`;
  }
}

/** Reads with one identity are the same to everybody. */
function identityOf(read: SecretRead | undefined): string {
  if (read === undefined) return '';
  return read.found ? `found ${read.resourceVersion}` : read.why;
}
