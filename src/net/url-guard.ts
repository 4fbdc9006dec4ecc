import { lookup as systemLookup, type LookupAddress } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { addressKind, rangesOf, type AddressKind } from './addresses.ts';

/**
 * The one guard of every URL that somebody else chose: a vendor's answer, a presigned upload, a profile's base URL.
 *
 * A name is resolved once, its addresses are judged, and the connection goes to an address that passed: a second
 * resolution could give another answer (DNS rebinding).
 */

export interface UrlPolicy {
  /** Host names, exact or as `*.example.com`; absent: every public host. */
  readonly allowedHosts?: readonly string[] | undefined;
  readonly allowPlainHTTP?: boolean | undefined;
  /** Private, loopback and cluster addresses. Link-local and metadata addresses are never allowed. */
  readonly allowPrivateEndpoints?: boolean | undefined;
  /** Hosts that `allowPrivateEndpoints` is meant for, exact or as `*.example.com`; absent: every host. */
  readonly privateHosts?: readonly string[] | undefined;
  /** Pod, service and node ranges, as `10.96.0.0/12`; refused like private ones even where they are public. */
  readonly clusterRanges?: readonly string[] | undefined;
}

export type UrlRefusal = 'NotAURL' | 'Scheme' | 'UserInfo' | 'HostNotAllowed' | 'AddressNotAllowed';

/** A URL that the guard refused. The message names scheme and host, never path, query or user info. */
export class UrlRefused extends Error {
  override readonly name = 'UrlRefused';
  readonly why: UrlRefusal;

  constructor(why: UrlRefusal, message: string) {
    super(message);
    this.why = why;
  }
}

export class UrlGuard {
  readonly #policy: UrlPolicy;
  readonly #isCluster: (address: string) => boolean;
  readonly #resolve: typeof systemLookup;

  constructor(policy: UrlPolicy, resolve: typeof systemLookup = systemLookup) {
    this.#policy = policy;
    this.#isCluster = rangesOf(policy.clusterRanges ?? []);
    this.#resolve = resolve;
  }

  /** Everything that can be said without resolving the name; throws UrlRefused. */
  check(raw: string | URL): URL {
    if (!URL.canParse(String(raw))) throw new UrlRefused('NotAURL', 'not a URL');
    const url = new URL(raw);
    if (url.protocol !== 'https:' && !(url.protocol === 'http:' && this.#policy.allowPlainHTTP === true)) {
      throw new UrlRefused('Scheme', `${url.protocol}//${url.host}: only https is allowed`);
    }
    if (url.username !== '' || url.password !== '') {
      throw new UrlRefused('UserInfo', `${url.protocol}//${url.host}: credentials in a URL are not allowed`);
    }
    const host = hostOf(url);
    if (!this.#hostAllowed(host)) throw new UrlRefused('HostNotAllowed', `${host} is not an allowed host`);
    if (isIP(host) !== 0) this.#checkAddress(host, host);
    return url;
  }

  /**
   * A lookup for `net.connect`: resolves once, and gives only addresses that passed. A name with one refused address is
   * refused as a whole, so that an attacker cannot hide a private address behind a public one.
   */
  readonly lookup: LookupFunction = (hostname, options, callback) => {
    this.#resolve(hostname, { ...options, all: true }, (error, found: LookupAddress[] = []) => {
      const fail = (reason: Error) => (callback as (e: Error, a: string, f: number) => void)(reason, '', 4);
      if (error !== null) return fail(error);
      try {
        for (const { address } of found) this.#checkAddress(hostname, address);
      } catch (refused) {
        return fail(refused as Error);
      }
      const [first] = found;
      if (first === undefined) return fail(new Error(`${hostname} has no address`));
      if (options.all === true) return (callback as (e: null, a: LookupAddress[]) => void)(null, found);
      return callback(null, first.address, first.family);
    });
  };

  #hostAllowed(host: string): boolean {
    const allowed = this.#policy.allowedHosts;
    return allowed === undefined || hostMatches(host, allowed);
  }

  #checkAddress(host: string, address: string): void {
    const kind = addressKind(address, this.#isCluster);
    if (kind === 'Public' || this.#privateAllowed(host, kind)) return;
    throw new UrlRefused('AddressNotAllowed', `${host} stands for a ${WORDS[kind]} address, which is not allowed`);
  }

  #privateAllowed(host: string, kind: AddressKind): boolean {
    if (kind !== 'Private' && kind !== 'Loopback' && kind !== 'Cluster') return false;
    const { allowPrivateEndpoints, privateHosts } = this.#policy;
    return allowPrivateEndpoints === true && (privateHosts === undefined || hostMatches(plainHost(host), privateHosts));
  }
}

const WORDS: Record<AddressKind, string> = {
  Public: 'public',
  Private: 'private',
  Loopback: 'loopback',
  LinkLocal: 'link-local',
  Metadata: 'cloud metadata',
  Cluster: 'cluster',
  Reserved: 'reserved',
};

/** `host` as {@link hostOf} writes it; patterns are exact or `*.example.com`, which is not example.com itself. */
export function hostMatches(host: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => {
    const wanted = pattern.toLowerCase();
    return wanted.startsWith('*.')
      ? host.endsWith(wanted.slice(1)) && host.length > wanted.length - 1
      : host === wanted;
  });
}

/** As {@link plainHost} writes it. */
export function hostOf(url: URL): string {
  return plainHost(url.hostname);
}

/** Lower case, without the brackets of IPv6 and without the trailing dot that means the same host. */
function plainHost(hostname: string): string {
  const host = hostname.replace(/^\[|\]$/g, '').toLowerCase();
  return host.endsWith('.') ? host.slice(0, -1) : host;
}
