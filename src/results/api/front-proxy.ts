import type { KubeClient } from '../../kube/client.ts';
import { CONFIG_MAPS } from '../../kube/resource.ts';

/** By whom users may be named to us: the API server, by a client certificate of its own authority. */
export interface FrontProxyTrust {
  /** PEM; one or more certificates. */
  caPem: string;
  /** Common names; empty for every certificate of that authority. */
  allowedNames: readonly string[];
  /** Lower-case header names. */
  userHeaders: readonly string[];
  groupHeaders: readonly string[];
  uidHeaders: readonly string[];
  extraPrefixes: readonly string[];
}

export interface RequestUser {
  username: string;
  uid: string | undefined;
  groups: string[];
  extra: Record<string, string[]>;
}

const CONFIG = { namespace: 'kube-system', name: 'extension-apiserver-authentication' };
const REFRESH_MS = 60_000;
const READ_MS = 10_000;

/** Undefined when the cluster has no front proxy: then nobody can be believed. */
export function parseTrust(data: Record<string, string> | undefined): FrontProxyTrust | undefined {
  const caPem = data?.['requestheader-client-ca-file'];
  const userHeaders = names(data?.['requestheader-username-headers']);
  if (caPem === undefined || !caPem.includes('BEGIN CERTIFICATE') || userHeaders.length === 0) return undefined;
  return {
    caPem,
    // As written: a common name has upper and lower case.
    allowedNames: list(data?.['requestheader-allowed-names']),
    userHeaders,
    groupHeaders: names(data?.['requestheader-group-headers']),
    uidHeaders: names(data?.['requestheader-uid-headers']),
    extraPrefixes: names(data?.['requestheader-extra-headers-prefix']),
  };
}

/** Who the front proxy says is asking; undefined when it names nobody. Call it only for a proven front proxy. */
export function userOf(headers: NodeJS.Dict<string[]>, trust: FrontProxyTrust): RequestUser | undefined {
  const first = (among: readonly string[]): string | undefined =>
    among.map((name) => headers[name]?.[0]).find((value) => value !== undefined && value !== '');
  const username = first(trust.userHeaders);
  if (username === undefined) return undefined;
  const extra: Record<string, string[]> = {};
  for (const [name, values] of Object.entries(headers)) {
    const prefix = trust.extraPrefixes.find((one) => name.startsWith(one) && name.length > one.length);
    if (prefix === undefined || values === undefined) continue;
    const key = decoded(name.slice(prefix.length));
    extra[key] = [...(extra[key] ?? []), ...values];
  }
  return {
    username,
    uid: first(trust.uidHeaders),
    groups: trust.groupHeaders.flatMap((name) => headers[name] ?? []),
    extra,
  };
}

/** Reads the trust, and again once a minute: API servers rotate that authority without telling anybody. */
export class FrontProxyWatch {
  readonly #client: Pick<KubeClient, 'get'>;
  readonly #onChange: (trust: FrontProxyTrust | undefined) => void;
  readonly #onError: (error: unknown) => void;
  #known: string | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    client: Pick<KubeClient, 'get'>,
    onChange: (trust: FrontProxyTrust | undefined) => void,
    onError: (error: unknown) => void,
  ) {
    this.#client = client;
    this.#onChange = onChange;
    this.#onError = onError;
  }

  /** Resolves after the first reading, whether it succeeded or not: until one does, every request is refused. */
  async start(): Promise<void> {
    await this.#read();
    this.#timer = setInterval(() => void this.#read(), REFRESH_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #read(): Promise<void> {
    try {
      const { data } = await this.#client.get(CONFIG_MAPS, CONFIG, { timeoutMs: READ_MS });
      const trust = parseTrust(data);
      const text = JSON.stringify(trust ?? null);
      if (text === this.#known) return;
      this.#known = text;
      this.#onChange(trust);
    } catch (error) {
      // What was read before stays: an API server that is away for a minute has not changed its authority.
      this.#onError(error);
    }
  }
}

function list(text: string | undefined): string[] {
  try {
    const value: unknown = JSON.parse(text ?? '[]');
    return Array.isArray(value) ? value.filter((one) => typeof one === 'string' && one !== '') : [];
  } catch {
    return [];
  }
}

/** Node gives header names in lower case. */
const names = (text: string | undefined): string[] => list(text).map((name) => name.toLowerCase());

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
