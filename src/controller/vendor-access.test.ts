import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { runtimeProfileSpec } from '../crds/runtime-profile.ts';
import type { KubeClient } from '../kube/client.ts';
import { errorFromNetwork, errorFromStatus } from '../kube/errors.ts';
import type { Runtime, RuntimeTraits } from '../runtime/contract.ts';
import { RuntimeIos } from '../runtime/runtime-io.ts';
import { SecretsInUse } from '../telemetry/secrets-in-use.ts';
import { VendorSecrets } from './vendor-access.ts';

/** Faults of the API server and the passing of time; that it is read by `get` alone, a real API server shows. */

const traits = {
  kind: 'Vendor',
  credentials: [{ name: 'REPLICATE_API_TOKEN', aliases: [], required: true }],
  hosts: ['api.replicate.com'],
} as unknown as RuntimeTraits;
const runtime = { name: 'replicate', traits } as Runtime;
const profileOf = (secret: string) => ({
  name: 'gpu',
  digest: 'sha256:0',
  spec: runtimeProfileSpec.parse({
    runtime: 'replicate',
    replicate: { model: 'acme/wm' },
    credentials: { secretRef: { name: secret } },
  }),
});
const profile = profileOf('replicate');

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function setUp() {
  let answer: () => object = () => secret('r8_first-value', '1');
  const asked: string[] = [];
  const changes: string[] = [];
  const stop = new AbortController();
  const secretsInUse = new SecretsInUse();
  const ios = new RuntimeIos({ events: { emit: () => undefined }, clusterRanges: [] });
  const secrets = new VendorSecrets({
    namespace: 'worldflux-system',
    client: {
      get: async (_: unknown, ref: { namespace?: string; name: string }) => {
        asked.push(`${ref.namespace}/${ref.name}`);
        return answer();
      },
    } as unknown as KubeClient,
    ios,
    secretsInUse,
    onChange: (name) => changes.push(name),
    signal: stop.signal,
    now: Date.now,
  });
  return { secrets, asked, changes, stop, secretsInUse, answers: (next: () => object) => (answer = next) };
}

const secret = (
  value: string,
  resourceVersion: string,
  labels: object = { 'worldflux.ai/credential-for': 'replicate' },
) => ({
  metadata: { name: 'replicate', resourceVersion, labels },
  data: { REPLICATE_API_TOKEN: Buffer.from(value).toString('base64') },
});
const minutes = (count: number) => vi.advanceTimersByTimeAsync(count * 60_000);

describe('a Secret', () => {
  it('is read when it is first asked for, which waits for nothing', async () => {
    const { secrets, asked, changes } = setUp();
    expect(secrets.of(profile, runtime)).toEqual({
      ready: false,
      message: 'Secret replicate: it has not been read yet',
    });
    await secrets.refresh('replicate');
    expect(secrets.of(profile, runtime)).toMatchObject({
      ready: true,
      io: { credentials: { REPLICATE_API_TOKEN: 'r8_first-value' } },
    });
    expect([asked, changes]).toEqual([['worldflux-system/replicate'], ['replicate']]);
  });

  it('is read again every minute, and a change is told', async () => {
    const { secrets, asked, changes, answers, stop } = setUp();
    await secrets.refresh('replicate');
    const running = secrets.run();
    await minutes(2.5);
    expect([asked.length, changes.length]).toEqual([4, 1]);
    answers(() => secret('r8_second-value', '2'));
    await minutes(1);
    expect([changes.length, secrets.stateOf(profile, runtime)]).toMatchObject([
      2,
      { state: 'ready', values: { REPLICATE_API_TOKEN: 'r8_second-value' }, resourceVersion: '2' },
    ]);
    stop.abort();
    await running;
  });

  it('loses its standing at once when the label goes', async () => {
    const { secrets, answers } = setUp();
    await secrets.refresh('replicate');
    answers(() => secret('r8_first-value', '2', {}));
    await secrets.refresh('replicate');
    expect(secrets.stateOf(profile, runtime)).toMatchObject({ state: 'notLabelled' });
  });

  it('serves on while the API server does not answer, and not for ever', async () => {
    const { secrets, answers, stop } = setUp();
    await secrets.refresh('replicate');
    const running = secrets.run();
    answers(() => {
      throw errorFromNetwork('GET /', new Error('connection refused'));
    });
    await minutes(9);
    expect(secrets.stateOf(profile, runtime)).toMatchObject({ state: 'ready' });
    await minutes(3);
    expect(secrets.stateOf(profile, runtime)).toMatchObject({
      state: 'unreadable',
      message: 'Secret replicate: the API server does not answer',
    });
    answers(() => secret('r8_first-value', '1'));
    await minutes(1);
    expect(secrets.stateOf(profile, runtime)).toMatchObject({ state: 'ready' });
    stop.abort();
    await running;
  });

  it('that is gone, or may not be read any more, serves no longer', async () => {
    for (const [code, state] of [
      [404, 'missing'],
      [403, 'unreadable'],
    ] as const) {
      const { secrets, answers } = setUp();
      await secrets.refresh('replicate');
      answers(() => {
        throw errorFromStatus('GET /', { code });
      });
      await secrets.refresh('replicate');
      expect(secrets.stateOf(profile, runtime)).toMatchObject({ state });
    }
  });

  it('is looked for in every text before it is used, and still when it was exchanged', async () => {
    const { secrets, secretsInUse, answers } = setUp();
    await secrets.refresh('replicate');
    answers(() => secret('r8_second-value\n', '2'));
    await secrets.refresh('replicate');
    expect(secretsInUse.mask('a r8_first-value b r8_second-value c')).toBe('a [redacted] b [redacted] c');
  });

  it('of somebody else is not taken for credentials anywhere', async () => {
    const { secrets, secretsInUse, answers } = setUp();
    answers(() => secret('ordinary words', '1', {}));
    await secrets.refresh('replicate');
    expect(secretsInUse.mask('ordinary words')).toBe('ordinary words');
  });

  it('that nobody asks for is forgotten', async () => {
    const { secrets, asked, secretsInUse, stop } = setUp();
    await secrets.refresh('replicate');
    const running = secrets.run();
    await minutes(20);
    const reads = asked.length;
    await minutes(20);
    expect(asked).toHaveLength(reads);
    expect(secretsInUse.mask('r8_first-value')).toBe('r8_first-value');
    stop.abort();
    await running;
  });
});
