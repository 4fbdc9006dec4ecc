import type { KubeClient } from '../../kube/client.ts';
import { GatewayCertificate } from './gateway-certificate.ts';
import { MountedCertificate } from './mounted-certificate.ts';
import type { ServingCertificate } from './serving-certificate.ts';

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
