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
