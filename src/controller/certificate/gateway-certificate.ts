import type { KubeClient } from '../../kube/client.ts';
import { isKubeError } from '../../kube/errors.ts';
import { SECRETS, type Wire } from '../../kube/resource.ts';
import { ensureTls, type ServingMaterial, type TlsMaterial } from '../../results/gateway/tls.ts';
import type { V1Secret } from '@kubernetes/client-node';
import { LABELS, MANAGER } from '../identity.ts';
import type { ServingCertificate } from './serving-certificate.ts';

const SECRET = 'worldflux-operator-gateway-tls';
const RENEWAL_CHECK_MS = 12 * 3600_000;

/** Keys of the Secret. */
const KEYS = {
  caCertPem: 'ca.crt',
  caKeyPem: 'ca.key',
  certPem: 'tls.crt',
  keyPem: 'tls.key',
} as const satisfies Record<keyof TlsMaterial, string>;

/**
 * The gateway's certificate authority and certificate, kept in one Secret of the operator's namespace so that pods that
 * run through a restart still trust the gateway. Made at the first start, never by chart templates: those would make
 * another one on every render.
 */
export class GatewayCertificate implements ServingCertificate {
  readonly #client: KubeClient;
  readonly #namespace: string;
  readonly #names: readonly string[];
  #material: TlsMaterial;
  #timer: NodeJS.Timeout | undefined;

  private constructor(client: KubeClient, namespace: string, names: readonly string[], material: TlsMaterial) {
    this.#client = client;
    this.#namespace = namespace;
    this.#names = names;
    this.#material = material;
  }

  static async ensure(
    client: KubeClient,
    namespace: string,
    hosts: readonly string[],
    signal: AbortSignal,
  ): Promise<GatewayCertificate> {
    const names = [...new Set(hosts.flatMap((host) => [host, host.replace(/\.svc$/, '.svc.cluster.local')]))];
    return new GatewayCertificate(client, namespace, names, await read(client, namespace, names, signal));
  }

  get caPem(): string {
    return this.#material.caCertPem;
  }

  get serving(): ServingMaterial {
    return { certPem: this.#material.certPem, keyPem: this.#material.keyPem };
  }

  /** Looks twice a day whether the certificate must be renewed, and hands over the new one. */
  keepRenewed(use: (serving: ServingMaterial) => void, onError: (error: unknown) => void): void {
    this.#timer = setInterval(() => {
      read(this.#client, this.#namespace, this.#names, AbortSignal.timeout(30_000)).then((material) => {
        if (material.certPem === this.#material.certPem) return;
        this.#material = material;
        use(this.serving);
      }, onError);
    }, RENEWAL_CHECK_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

/** Reads the Secret, and writes it where what it holds is not good any more. Two replicas may start at once. */
async function read(
  client: KubeClient,
  namespace: string,
  names: readonly string[],
  signal: AbortSignal,
): Promise<TlsMaterial> {
  for (let attempt = 1; ; attempt += 1) {
    const found = await client.get(SECRETS, { namespace, name: SECRET }, { signal }).catch((error: unknown) => {
      if (isKubeError(error, 'notFound')) return undefined;
      throw error;
    });
    const { material, changed } = await ensureTls(found === undefined ? undefined : decode(found), names);
    if (!changed) return material;
    try {
      await (found === undefined
        ? client.create(SECRETS, encode(namespace, material), { signal })
        : client.replace(SECRETS, { ...found, data: encode(namespace, material).data! }, { signal }));
      return material;
    } catch (error) {
      if (!isKubeError(error, 'alreadyExists', 'conflict') || attempt === 5) throw error;
    }
  }
}

function decode(secret: Wire<V1Secret>): Partial<TlsMaterial> {
  return Object.fromEntries(
    Object.entries(KEYS).map(([field, key]) => [field, Buffer.from(secret.data?.[key] ?? '', 'base64').toString()]),
  );
}

function encode(namespace: string, material: TlsMaterial): Wire<V1Secret> {
  const data = Object.fromEntries(
    Object.entries(KEYS).map(([field, key]) => [
      key,
      Buffer.from(material[field as keyof TlsMaterial]).toString('base64'),
    ]),
  );
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { namespace, name: SECRET, labels: { [LABELS.managedBy]: MANAGER } },
    type: 'kubernetes.io/tls',
    data,
  };
}
