import { hostMatches, hostOf } from '../net/url-guard.ts';

/** Where a profile's credentials may go, and what of a request must not go anywhere else. */
export interface CredentialScope {
  /** The profile's endpoint; it alone then. */
  readonly endpoint?: string | undefined;
  /** Hosts over https at its own port, exact or as `*.example.com`, where the profile names no endpoint. */
  readonly hosts: readonly string[];
  /** Values of the credentials. */
  readonly values: readonly string[];
}

export function mayCarryCredentials(scope: CredentialScope, url: URL): boolean {
  if (scope.endpoint !== undefined)
    return URL.canParse(scope.endpoint) && new URL(scope.endpoint).origin === url.origin;
  return url.protocol === 'https:' && url.port === '' && hostMatches(hostOf(url), scope.hosts);
}

/** Names under which clients send keys. What a vendor calls its own is found by its value. */
const CARRIERS = new Set(['authorization', 'proxy-authorization', 'cookie', 'x-api-key', 'api-key', 'x-auth-token']);

export function withoutCredentials(
  scope: CredentialScope,
  headers: Readonly<Record<string, string>>,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).filter(([name, value]) => !CARRIERS.has(name) && !holdsCredential(scope, value)),
  );
}

/** A shorter value among the credentials is a word, such as a region, and stands in URLs by right. */
const SHORTEST_KEY = 12;

/** Literally or as it is written in a URL. */
export function holdsCredential({ values }: CredentialScope, text: string): boolean {
  return values.some(
    (value) => value.length >= SHORTEST_KEY && (text.includes(value) || text.includes(encodeURIComponent(value))),
  );
}
