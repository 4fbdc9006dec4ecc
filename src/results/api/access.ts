import type { KubeClient } from '../../kube/client.ts';
import { SUBJECT_ACCESS_REVIEWS } from '../../kube/resource.ts';
import type { RequestUser } from './front-proxy.ts';
import { RESULTS_GROUP, RESULTS_VERSION, type ResultsPart } from './protocol.ts';

/** What is asked for: one part of one run. */
export interface Wanted {
  namespace: string;
  name: string;
  part: ResultsPart;
}

/** Milliseconds: a right that was taken away ends this much later. */
const KEPT = 10_000;
const MOST_KEPT = 10_000;
const ASK_MS = 10_000;

/** Asks the cluster's own authorizer, in the run's namespace, with a short memory. */
export class AccessReviews {
  readonly #client: Pick<KubeClient, 'create'>;
  /** Oldest first. */
  readonly #kept = new Map<string, { allowed: boolean; until: number }>();
  readonly #asked = new Map<string, Promise<boolean>>();

  constructor(client: Pick<KubeClient, 'create'>) {
    this.#client = client;
  }

  /** Whether this user may `get` that part. Throws KubeError when nobody can tell. */
  async allows(user: RequestUser, wanted: Wanted): Promise<boolean> {
    const question = JSON.stringify([user, wanted]);
    const kept = this.#kept.get(question);
    if (kept !== undefined && kept.until > performance.now()) return kept.allowed;
    const asked = this.#asked.get(question);
    if (asked !== undefined) return asked;
    // From the question on, not from the answer: the answer may have taken its time.
    const until = performance.now() + KEPT;
    const asking = this.#ask(user, wanted);
    this.#asked.set(question, asking);
    try {
      const allowed = await asking;
      this.#keep(question, allowed, until);
      return allowed;
    } finally {
      this.#asked.delete(question);
    }
  }

  async #ask({ username, uid, groups, extra }: RequestUser, { namespace, name, part }: Wanted): Promise<boolean> {
    const review = {
      metadata: {},
      spec: {
        user: username,
        groups,
        extra,
        ...(uid === undefined ? {} : { uid }),
        resourceAttributes: {
          group: RESULTS_GROUP,
          version: RESULTS_VERSION,
          resource: 'worldruns',
          subresource: part,
          verb: 'get',
          namespace,
          name,
        },
      },
    };
    const { status } = await this.#client.create(SUBJECT_ACCESS_REVIEWS, review, { timeoutMs: ASK_MS });
    return status?.allowed === true && status.denied !== true;
  }

  #keep(question: string, allowed: boolean, until: number): void {
    this.#kept.delete(question);
    this.#kept.set(question, { allowed, until });
    for (const [oldest, { until }] of this.#kept) {
      if (this.#kept.size <= MOST_KEPT && until > performance.now()) break;
      this.#kept.delete(oldest);
    }
  }
}
