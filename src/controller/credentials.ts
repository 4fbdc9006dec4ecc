import type { RuntimeProfileSpec, RuntimeProfileStatus } from '../crds/runtime-profile.ts';
import { hostMatches, hostOf } from '../net/url-guard.ts';
import type { CredentialName, Runtime } from '../runtime/contract.ts';
import { endpointOf, type RuntimeCredentials } from '../runtime/runtime-io.ts';
import { CREDENTIAL_LABEL } from './sync/ports.ts';

/**
 * What a Secret in the operator's namespace is good for. Pure. A Secret becomes credentials only by its owner's mark on
 * it, for one runtime and for the hosts that it lists: whoever may write a profile cannot send another Secret anywhere.
 */

/** Hosts that the Secret's values may be sent to, comma-separated, exact or as `*.example.com`. */
export const ALLOWED_HOSTS_ANNOTATION = 'worldflux.ai/allowed-hosts';

/** A Secret as it was last read. */
export type SecretRead =
  | {
      readonly found: true;
      readonly resourceVersion: string;
      readonly labels: Readonly<Record<string, string>>;
      readonly annotations: Readonly<Record<string, string>>;
      readonly values: Readonly<Record<string, string>>;
    }
  /** `why` is for people. */
  | { readonly found: false; readonly missing: boolean; readonly why: string };

export type CredentialState =
  | ({ readonly state: 'ready' } & RuntimeCredentials)
  | {
      readonly state: 'missing' | 'notLabelled' | 'hostNotAllowed' | 'incomplete' | 'unreadable';
      readonly message: string;
    };

type Vendor = Pick<Runtime, 'name' | 'traits'>;

/** `read` is undefined where the profile names no Secret. */
export function judgeCredentials(
  spec: RuntimeProfileSpec,
  { name, traits }: Vendor,
  read: SecretRead | undefined,
): CredentialState {
  const secretName = spec.credentials?.secretRef.name;
  const required = traits.credentials.filter((credential) => credential.required);
  if (secretName === undefined || read === undefined) {
    if (required.length === 0) return { state: 'ready', values: {}, hosts: [], resourceVersion: '' };
    const message = `spec.credentials.secretRef names no Secret; ${name} needs ${required.map((c) => c.name).join(', ')}`;
    return { state: 'missing', message };
  }
  const secret = `Secret ${secretName}`;
  if (!read.found) return { state: read.missing ? 'missing' : 'unreadable', message: `${secret}: ${read.why}` };
  if (read.labels[CREDENTIAL_LABEL] !== name) {
    return { state: 'notLabelled', message: `${secret} needs the label ${CREDENTIAL_LABEL}: ${name}` };
  }
  const allowed = allowedHosts(read.annotations) ?? traits.hosts;
  const endpoint = endpointOf(spec);
  if (endpoint !== undefined && !(URL.canParse(endpoint) && hostMatches(hostOf(new URL(endpoint)), allowed))) {
    return {
      state: 'hostNotAllowed',
      message: `the endpoint’s host is not among those that ${secret} may be sent to: ${wordsFor(allowed)}; its annotation ${ALLOWED_HOSTS_ANNOTATION} lists them`,
    };
  }
  const hosts = endpoint === undefined ? inBoth(traits.hosts, allowed) : [];
  if (endpoint === undefined && traits.hosts.length > 0 && hosts.length === 0) {
    return {
      state: 'hostNotAllowed',
      message: `${secret} may be sent to ${wordsFor(allowed)} by its annotation ${ALLOWED_HOSTS_ANNOTATION}; ${name} needs ${traits.hosts.join(', ')}`,
    };
  }
  const values = Object.fromEntries(
    traits.credentials.flatMap((credential) => {
      const found = lookUp(credential, read.values);
      return found !== undefined && isUsable(found.value) ? [[credential.name, found.value.trim()]] : [];
    }),
  );
  const lacking = required.filter((credential) => values[credential.name] === undefined);
  if (lacking.length > 0) {
    const message = `${secret} has no usable ${lacking.map((credential) => namesOf(credential).join(' or ')).join(', ')}`;
    return { state: 'incomplete', message };
  }
  return { state: 'ready', values, hosts, resourceVersion: read.resourceVersion };
}

export type ConfigLine = NonNullable<RuntimeProfileStatus['config']>[number];

/** What the runtime is configured with, by name; never a value. */
export function configLines(spec: RuntimeProfileSpec, { traits }: Vendor, read: SecretRead | undefined): ConfigLine[] {
  const secretName = spec.credentials?.secretRef.name;
  const lines = traits.credentials.map((credential): ConfigLine => {
    const found = read?.found === true ? lookUp(credential, read.values) : undefined;
    return {
      name: credential.name,
      present: found !== undefined,
      source: found === undefined ? 'unset' : `secret:${secretName ?? ''}/${found.name}`.slice(0, 253),
      required: credential.required,
      secret: true,
      valid: found === undefined ? !credential.required : isUsable(found.value),
    };
  });
  const endpoint = endpointOf(spec);
  if (endpoint === undefined) return lines;
  return [
    ...lines,
    { name: 'endpoint', present: true, source: 'profile', required: false, secret: false, valid: true },
  ];
}

/** Undefined without the annotation. An empty one allows nothing. */
function allowedHosts(annotations: Readonly<Record<string, string>>): string[] | undefined {
  return annotations[ALLOWED_HOSTS_ANNOTATION]?.split(',')
    .map((host) => host.trim().toLowerCase())
    .filter((host) => host !== '');
}

/** Patterns within the other side's patterns, whichever is the narrower. */
function inBoth(own: readonly string[], allowed: readonly string[]): string[] {
  return [
    ...new Set([
      ...own.filter((host) => hostMatches(host, allowed)),
      ...allowed.filter((host) => hostMatches(host, own)),
    ]),
  ];
}

const wordsFor = (hosts: readonly string[]): string =>
  hosts.length === 0 ? 'nowhere' : hosts.join(', ').slice(0, 200);

const namesOf = (credential: CredentialName): string[] => [credential.name, ...credential.aliases];

/** The first of a credential's names that the Secret holds. */
function lookUp(credential: CredentialName, values: Readonly<Record<string, string>>) {
  const name = namesOf(credential).find((candidate) => (values[candidate] ?? '').trim() !== '');
  return name === undefined ? undefined : { name, value: values[name]! };
}

/** Fit for a header. Anything else would break the request, and the error would quote it. */
const isUsable = (value: string): boolean => /^[\x21-\x7e]+$/.test(value.trim());
