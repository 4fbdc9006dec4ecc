import { API_VERSION, type Condition } from '../../crds/common.ts';
import { digestOf } from '../../crds/manifest.ts';
import type { KubeClient } from '../../kube/client.ts';
import { isKubeError } from '../../kube/errors.ts';
import { SECRETS } from '../../kube/resource.ts';
import { secretsInUse, withoutSecrets } from '../../telemetry/secrets-in-use.ts';
import { RUNTIME_PROFILES, WORLD_RUNS, type RuntimeProfile, type WorldRun } from '../run/view.ts';
import {
  CREDENTIAL_LABEL,
  EXPIRES_ANNOTATION,
  SYNC_MANAGER,
  type KeyRead,
  type KeyRef,
  type SyncCluster,
  type SyncProfile,
  type SyncRun,
} from './ports.ts';

/** {@link SyncCluster} on a real API server. Every write asks first whether this process still leads. */
export class KubeSyncCluster implements SyncCluster {
  readonly #client: KubeClient;
  readonly #assertLeader: () => unknown;

  constructor(client: KubeClient, assertLeader: () => unknown) {
    this.#client = client;
    this.#assertLeader = assertLeader;
  }

  /** By name alone: Secrets are never listed and never watched. */
  async readKey({ namespace, name, key, mustBeLabelled }: KeyRef, signal: AbortSignal): Promise<KeyRead> {
    try {
      const { metadata, data } = await this.#client.get(SECRETS, { namespace, name }, { signal });
      if (mustBeLabelled && metadata?.labels?.[CREDENTIAL_LABEL] !== 'worldflux') {
        return { found: false, why: `it needs the label ${CREDENTIAL_LABEL}: worldflux` };
      }
      const encoded = data?.[key];
      if (encoded === undefined) return { found: false, why: `it has no key ${key}` };
      const value = Buffer.from(encoded, 'base64').toString('utf8').trim();
      // Anything else would break the header, and the error would quote it.
      if (!/^[\x21-\x7e]+$/.test(value)) return { found: false, why: `what stands under ${key} is no API key` };
      secretsInUse.add([value], `secret/${namespace}/${name}`);
      const expires = Date.parse(metadata?.annotations?.[EXPIRES_ANNOTATION] ?? '');
      return {
        found: true,
        value,
        version: `${metadata?.uid ?? ''}/${metadata?.resourceVersion ?? ''}`,
        expiresAt: Number.isNaN(expires) ? undefined : expires,
      };
    } catch (error) {
      if (isKubeError(error, 'notFound')) return { found: false, why: 'there is no such Secret' };
      if (isKubeError(error, 'forbidden'))
        return {
          found: false,
          why: 'the operator may not read it: a Role in that namespace has to grant get on this one Secret',
        };
      throw error;
    }
  }

  async readManifest(
    { namespace, name, uid }: Pick<SyncRun, 'namespace' | 'name' | 'uid'>,
    signal: AbortSignal,
  ): Promise<unknown> {
    try {
      const run = await this.#client.get(WORLD_RUNS, { namespace, name }, { signal });
      const { manifest, manifestDigest } = run.status ?? {};
      // An excerpt stands there where the whole is too large.
      return run.metadata?.uid === uid && manifest !== undefined && digestOf(manifest) === manifestDigest
        ? manifest
        : undefined;
    } catch (error) {
      if (isKubeError(error, 'notFound')) return undefined;
      throw error;
    }
  }

  async applyRun(
    { namespace, name, uid }: Pick<SyncRun, 'namespace' | 'name' | 'uid'>,
    status: { conditions: Condition[] },
  ): Promise<void> {
    this.#assertLeader();
    const body = {
      apiVersion: API_VERSION,
      kind: 'WorldRun',
      metadata: { namespace, name, uid },
      status: withoutSecrets(status),
    } as unknown as WorldRun;
    await this.#client.apply(WORLD_RUNS, body, { subresource: 'status', fieldManager: SYNC_MANAGER, force: true });
  }

  async applyProfile({ name, uid }: Pick<SyncProfile, 'name' | 'uid'>, conditions: Condition[]): Promise<void> {
    this.#assertLeader();
    const body = {
      apiVersion: API_VERSION,
      kind: 'RuntimeProfile',
      metadata: { name, uid },
      status: withoutSecrets({ conditions }),
    } as unknown as RuntimeProfile;
    await this.#client.apply(RUNTIME_PROFILES, body, {
      subresource: 'status',
      fieldManager: SYNC_MANAGER,
      force: true,
    });
  }
}
