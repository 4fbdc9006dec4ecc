import type { V1APIService } from '@kubernetes/client-node';
import type { KubeClient } from '../../kube/client.ts';
import { isKubeError } from '../../kube/errors.ts';
import { resourceType, type Wire } from '../../kube/resource.ts';
import { RESULTS_GROUP, RESULTS_VERSION } from './protocol.ts';

const API_SERVICES = resourceType<Wire<V1APIService>>({
  group: 'apiregistration.k8s.io',
  version: 'v1',
  plural: 'apiservices',
  namespaced: false,
  kind: 'APIService',
});
export const API_SERVICE = `${RESULTS_VERSION}.${RESULTS_GROUP}`;

const AGAIN_MS = 15_000;
const CALL_MS = 10_000;

/**
 * Tells the API server by which authority it knows us. The APIService itself is the chart's, so that it goes when the
 * operator is uninstalled: one that is left behind delays the deletion of every namespace. The authority is ours, made
 * when the operator first started; a chart or a GitOps tool that takes it out again is corrected within seconds.
 */
export class Registration {
  readonly #client: Pick<KubeClient, 'get' | 'patch'>;
  readonly #caBundle: () => string;
  readonly #onError: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(client: Pick<KubeClient, 'get' | 'patch'>, caPem: () => string, onError: (error: unknown) => void) {
    this.#client = client;
    this.#caBundle = () => Buffer.from(caPem()).toString('base64');
    this.#onError = onError;
  }

  async start(): Promise<void> {
    await this.#ensure();
    this.#timer = setInterval(() => void this.#ensure(), AGAIN_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #ensure(): Promise<void> {
    try {
      const { spec } = await this.#client.get(API_SERVICES, { name: API_SERVICE }, { timeoutMs: CALL_MS });
      const caBundle = this.#caBundle();
      if (spec?.caBundle === caBundle) return;
      await this.#client.patch(
        API_SERVICES,
        { name: API_SERVICE },
        { merge: { spec: { caBundle } } },
        { timeoutMs: CALL_MS },
      );
    } catch (error) {
      // Not registered (yet): there is nothing to tell.
      if (!isKubeError(error, 'notFound')) this.#onError(error);
    }
  }
}
