import type { ServingMaterial } from '../../results/gateway/tls.ts';

/** What the gateway and the results API serve with. */
export interface ServingCertificate {
  /** Whom pods and the API server trust; it may change while the process lives. */
  readonly caPem: string;
  readonly serving: ServingMaterial;
  /** Hands over each new certificate until `stop`. */
  keepRenewed(use: (serving: ServingMaterial) => void, onError: (error: unknown) => void): void;
  stop(): void;
}
