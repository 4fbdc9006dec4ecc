import { describe, expect, it } from 'vitest';
import { runtimeProfileSpec } from '../crds/runtime-profile.ts';
import type { Runtime, RuntimeTraits } from '../runtime/contract.ts';
import { configLines, judgeCredentials, type SecretRead } from './credentials.ts';

const traits: RuntimeTraits = {
  kind: 'Vendor',
  paid: true,
  support: 'ProductionDisabled',
  idempotentCreate: false,
  marksWork: false,
  listLagMs: 0,
  pollMs: 1000,
  capabilities: ['generate'],
  credentials: [
    { name: 'REPLICATE_API_TOKEN', aliases: ['REPLICATE_API_KEY'], required: true },
    { name: 'REPLICATE_WEBHOOK_SECRET', aliases: [], required: false },
  ],
  hosts: ['api.replicate.com', '*.replicate.delivery'],
};
const runtime = { name: 'replicate', traits } as const satisfies Pick<Runtime, 'name' | 'traits'>;

const named = { credentials: { secretRef: { name: 'replicate' } } };
const spec = (replicate: object = {}, credentials: object = named) =>
  runtimeProfileSpec.parse({ runtime: 'replicate', replicate: { model: 'acme/wm', ...replicate }, ...credentials });

function secret(
  values: Record<string, string> = { REPLICATE_API_TOKEN: 'r8_value' },
  annotations: Record<string, string> = {},
  labels: Record<string, string> = { 'worldflux.ai/credential-for': 'replicate' },
): SecretRead {
  return { found: true, resourceVersion: '7', labels, annotations, values };
}
const hosts = (list: string) => ({ 'worldflux.ai/allowed-hosts': list });

describe('a Secret as credentials', () => {
  it('is ready with its values under the vendor’s first names', () => {
    expect(judgeCredentials(spec(), runtime, secret({ REPLICATE_API_KEY: 'r8_value\n', OTHER: 'x' }))).toEqual({
      state: 'ready',
      values: { REPLICATE_API_TOKEN: 'r8_value' },
      hosts: ['api.replicate.com', '*.replicate.delivery'],
      resourceVersion: '7',
    });
  });

  it('prefers the first name that holds something', () => {
    const values = { REPLICATE_API_TOKEN: ' ', REPLICATE_API_KEY: 'second' };
    expect(judgeCredentials(spec(), runtime, secret(values))).toMatchObject({
      values: { REPLICATE_API_TOKEN: 'second' },
    });
  });

  it('is nothing without the label for this very runtime', () => {
    for (const labels of [{}, { 'worldflux.ai/credential-for': 'modal' }, { 'worldflux.ai/credential-for': '' }]) {
      expect(judgeCredentials(spec(), runtime, secret(undefined, {}, labels as Record<string, string>))).toEqual({
        state: 'notLabelled',
        message: 'Secret replicate needs the label worldflux.ai/credential-for: replicate',
      });
    }
  });

  it.each([
    ['https://api.replicate.com', undefined, 'ready'],
    ['https://api.replicate.com:8443/x', undefined, 'ready'],
    ['https://evil.example', undefined, 'hostNotAllowed'],
    ['https://gateway.acme.example', 'gateway.acme.example', 'ready'],
    ['https://GATEWAY.acme.example.', ' Gateway.Acme.Example , other.example', 'ready'],
    ['https://a.b.acme.example', '*.acme.example', 'ready'],
    ['https://acme.example', '*.acme.example', 'hostNotAllowed'],
    ['https://evilacme.example', '*.acme.example', 'hostNotAllowed'],
    // The annotation stands for itself: the vendor's own hosts are not added to it.
    ['https://api.replicate.com', 'gateway.acme.example', 'hostNotAllowed'],
    ['https://api.replicate.com', '', 'hostNotAllowed'],
    ['https://api.replicate.com', '*', 'hostNotAllowed'],
  ])('for the endpoint %s with the hosts %s: %s', (endpoint, list, state) => {
    const read = secret(undefined, list === undefined ? {} : hosts(list));
    expect(judgeCredentials(spec({ endpoint }), runtime, read).state).toBe(state);
  });

  it('without an endpoint goes to those of the runtime’s hosts that it allows, and nowhere else', () => {
    const of = (list: string) => judgeCredentials(spec(), runtime, secret(undefined, hosts(list)));
    expect(of('api.replicate.com')).toMatchObject({ state: 'ready', hosts: ['api.replicate.com'] });
    expect(of('eu.replicate.delivery,evil.example')).toMatchObject({ hosts: ['eu.replicate.delivery'] });
    expect(of('evil.example')).toMatchObject({ state: 'hostNotAllowed' });
    expect(of('')).toMatchObject({ state: 'hostNotAllowed' });
  });

  it('is incomplete, by name and never by value, when what is required is absent or no header value', () => {
    for (const values of [{}, { REPLICATE_API_TOKEN: '' }, { REPLICATE_API_TOKEN: 'two\nlines-of-it' }]) {
      const state = judgeCredentials(spec(), runtime, secret(values as Record<string, string>));
      expect(state).toEqual({
        state: 'incomplete',
        message: 'Secret replicate has no usable REPLICATE_API_TOKEN or REPLICATE_API_KEY',
      });
    }
  });

  it('is missing when it does not exist or the profile names none, unreadable when it cannot be read', () => {
    const gone = { found: false, missing: true, why: 'there is none of that name in worldflux-system' } as const;
    expect(judgeCredentials(spec(), runtime, gone)).toMatchObject({ state: 'missing' });
    expect(judgeCredentials(spec(), runtime, { ...gone, missing: false })).toMatchObject({ state: 'unreadable' });
    expect(judgeCredentials(spec({}, {}), runtime, undefined)).toMatchObject({ state: 'missing' });
  });

  it('is not needed by a runtime that asks for none', () => {
    const mock = { name: 'mock', traits: { ...traits, credentials: [], hosts: [] } } as const;
    const nothing = runtimeProfileSpec.parse({ runtime: 'mock', mock: {} });
    expect(judgeCredentials(nothing, mock, undefined)).toEqual({
      state: 'ready',
      values: {},
      hosts: [],
      resourceVersion: '',
    });
  });
});

describe('the lines of status.config', () => {
  it('name what there is and where it is from, and hold no value', () => {
    const read = secret({ REPLICATE_API_KEY: 'r8_value' });
    const lines = configLines(spec({ endpoint: 'https://gateway.acme.example/r8_value' }), runtime, read);
    expect(lines).toEqual([
      {
        name: 'REPLICATE_API_TOKEN',
        present: true,
        source: 'secret:replicate/REPLICATE_API_KEY',
        required: true,
        secret: true,
        valid: true,
      },
      {
        name: 'REPLICATE_WEBHOOK_SECRET',
        present: false,
        source: 'unset',
        required: false,
        secret: true,
        valid: true,
      },
      { name: 'endpoint', present: true, source: 'profile', required: false, secret: false, valid: true },
    ]);
    expect(JSON.stringify(lines)).not.toContain('r8_value');
  });

  it('say that a required one is not valid when it is absent or unusable', () => {
    for (const read of [secret({}), secret({ REPLICATE_API_TOKEN: 'a b' }), undefined]) {
      expect(configLines(spec(), runtime, read)[0]).toMatchObject({ required: true, valid: false });
    }
  });
});
