import { createHash } from 'node:crypto';

/** What the API server says of a bearer token. */
export type Review =
  | { ok: true; podUid: string; podName: string; namespace: string }
  /** `Invalid`: the token is not good. `Unavailable`: nobody could tell, try again. */
  | { ok: false; refusal: 'Invalid' | 'Unavailable'; message: string };

export interface TokenReviewer {
  review(token: string, audience: string, signal?: AbortSignal): Promise<Review>;
}

/** The audience of a collector's projected ServiceAccount token. */
export function resultsAudience(installationId: string, clientRunId: string): string {
  return `worldflux-results/${installationId}/${clientRunId}`;
}

/** Milliseconds. A deleted pod's token is refused at the latest after the first. */
const KEPT_GOOD = 60_000;
const KEPT_BAD = 10_000;
const MOST_KEPT = 20_000;
const MOST_ASKED_AT_ONCE = 16;

/**
 * Reviews with a memory, so that a collector costs one TokenReview a minute. What plainly cannot be good (no JWT, another
 * audience, expired) is refused without asking: nobody can make the operator flood the API server with guesses.
 */
export class CachedReviews {
  readonly #reviewer: TokenReviewer;
  /** By a digest of token and audience, oldest first; the token itself is not kept. */
  readonly #kept = new Map<string, { review: Review; until: number }>();
  readonly #asked = new Map<string, Promise<Review>>();

  constructor(reviewer: TokenReviewer) {
    this.#reviewer = reviewer;
  }

  async review(token: string, audience: string): Promise<Review> {
    const claims = claimsOf(token);
    if (claims === undefined) return { ok: false, refusal: 'Invalid', message: 'not a ServiceAccount token' };
    if (!claims.audiences.includes(audience))
      return { ok: false, refusal: 'Invalid', message: 'the token is for another audience' };
    if (claims.expiresAt <= Date.now()) return { ok: false, refusal: 'Invalid', message: 'the token has expired' };

    const name = createHash('sha256').update(audience).update('\0').update(token).digest('base64');
    const kept = this.#kept.get(name);
    if (kept !== undefined && kept.until > Date.now()) return kept.review;
    const asked = this.#asked.get(name);
    if (asked !== undefined) return asked;
    if (this.#asked.size >= MOST_ASKED_AT_ONCE)
      return { ok: false, refusal: 'Unavailable', message: 'too many reviews at once' };

    const asking = this.#reviewer.review(token, audience, AbortSignal.timeout(15_000));
    this.#asked.set(name, asking);
    try {
      const review = await asking;
      this.#keep(name, review, claims.expiresAt);
      return review;
    } finally {
      this.#asked.delete(name);
    }
  }

  #keep(name: string, review: Review, expiresAt: number): void {
    if (!review.ok && review.refusal === 'Unavailable') return;
    const until = Math.min(expiresAt, Date.now() + (review.ok ? KEPT_GOOD : KEPT_BAD));
    this.#kept.delete(name);
    this.#kept.set(name, { review, until });
    for (const [oldest, { until }] of this.#kept) {
      if (this.#kept.size <= MOST_KEPT && until > Date.now()) break;
      this.#kept.delete(oldest);
    }
  }
}

/** What a token says of itself; the API server alone says whether it is true. */
function claimsOf(token: string): { audiences: string[]; expiresAt: number } | undefined {
  const payload = token.split('.')[1];
  if (token.length > 8192 || payload === undefined) return undefined;
  try {
    const { aud, exp } = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as {
      aud?: unknown;
      exp?: unknown;
    };
    const audiences = (Array.isArray(aud) ? aud : [aud]).filter((one) => typeof one === 'string');
    return typeof exp === 'number' ? { audiences, expiresAt: exp * 1000 } : undefined;
  } catch {
    return undefined;
  }
}
