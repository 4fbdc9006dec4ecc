import type { KubeClient } from '../../kube/client.ts';
import { isKubeError } from '../../kube/errors.ts';
import { TOKEN_REVIEWS } from '../../kube/resource.ts';
import type { Review, TokenReviewer } from './auth.ts';

const POD_UID = 'authentication.kubernetes.io/pod-uid';
const POD_NAME = 'authentication.kubernetes.io/pod-name';

/** Asks the API server of the cluster where the pod runs. */
export class ApiTokenReviewer implements TokenReviewer {
  readonly #client: Pick<KubeClient, 'create'>;

  constructor(client: Pick<KubeClient, 'create'>) {
    this.#client = client;
  }

  async review(token: string, audience: string, signal?: AbortSignal): Promise<Review> {
    try {
      const object = { metadata: {}, spec: { token, audiences: [audience] } };
      const { status } = await this.#client.create(TOKEN_REVIEWS, object, { timeoutMs: 10_000, signal });
      if (status?.authenticated !== true) return invalid('the API server does not know this token');
      // A server that does not know audiences leaves them out; its word is then not about ours.
      if (status.audiences?.includes(audience) !== true) return invalid('the token is for another audience');
      const podUid = status.user?.extra?.[POD_UID]?.[0];
      const podName = status.user?.extra?.[POD_NAME]?.[0];
      const namespace = /^system:serviceaccount:([^:]+):[^:]+$/.exec(status.user?.username ?? '')?.[1];
      if (podUid === undefined || podName === undefined || namespace === undefined)
        return invalid('the token is bound to no pod');
      return { ok: true, podUid, podName, namespace };
    } catch (error) {
      const message = isKubeError(error) ? `TokenReview: ${error.kind}` : 'TokenReview failed';
      return { ok: false, refusal: 'Unavailable', message };
    }
  }
}

function invalid(message: string): Review {
  return { ok: false, refusal: 'Invalid', message };
}
