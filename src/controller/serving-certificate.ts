import type { KubeClient } from '../kube/client.ts';
import type { ServingMaterial } from '../results/gateway/tls.ts';
import { GatewayCertificate } from './gateway-certificate.ts';
import { MountedCertificate } from './mounted-certificate.ts';

/** What the gateway and the results API serve with. */
export interface ServingCertificate {
  /** Whom pods and the API server trust; it may change while the process lives. */
  readonly caPem: string;
  readonly serving: ServingMaterial;
  /** Hands over each new certificate until `stop`. */
  keepRenewed(use: (serving: ServingMaterial) => void, onError: (error: unknown) => void): void;
  stop(): void;
}

/** The mounted certificate when there is one, else the operator's own authority. Rejects when neither can serve `hosts`. */
export async function servingCertificate(o: {
  directory: string | undefined;
  client: KubeClient;
  namespace: string;
  hosts: readonly string[];
  signal: AbortSignal;
}): Promise<ServingCertificate> {
  if (o.directory !== undefined) return MountedCertificate.read(o.directory, o.hosts);
  return GatewayCertificate.ensure(o.client, o.namespace, o.hosts, o.signal);
}
