import { describe, expect, test } from 'vitest';
import type { DoctorLine } from '../../crds/runtime-profile.ts';
import { doctorLine } from '../../crds/runtime-profile.ts';
import type { Runtime, RuntimeIo } from '../../runtime/contract.ts';
import { RuntimeError } from '../../runtime/errors.ts';
import { RuntimeRegistry } from '../../runtime/registry.ts';
import { ReplicateRuntime } from '../../runtime/replicate/runtime.ts';
import { configLines, judgeCredentials, type SecretRead } from '../credentials.ts';
import { aPaidProfile, type ProfileBuilder } from '../testing/a-profile.ts';
import { VendorDoctor } from './vendor-doctor.ts';

const NOON = Date.parse('2026-03-01T12:00:00Z');
const MINUTE = 60_000;

const secret = (values: Record<string, string>): SecretRead => ({
  found: true,
  resourceVersion: '1',
  labels: { 'worldflux.ai/credential-for': 'replicate' },
  annotations: {},
  values,
});
const MISSING: SecretRead = { found: false, missing: true, why: 'there is none of that name in operator' };

/** Replicate with another doctor: what it says of its vendor is its own to test. */
function setUp(read: SecretRead = secret({ REPLICATE_API_TOKEN: 'r8_secret' })) {
  const world = {
    now: NOON,
    read,
    answer: (): DoctorLine[] => [{ check: 'replicate', level: 'ok', message: 'There.' }],
  };
  const runtime = new ReplicateRuntime() as Runtime;
  const patient = Object.create(runtime, {
    doctor: { value: async () => world.answer() },
  }) as Runtime;
  const refreshed: string[] = [];
  const doctor = new VendorDoctor({
    registry: new RuntimeRegistry([patient]),
    secrets: {
      of: (profile) => {
        const state = judgeCredentials(profile.spec, runtime, world.read);
        const io = { signal: new AbortController().signal } as RuntimeIo;
        return state.state === 'ready' ? { ready: true, io } : { ready: false, message: state.message };
      },
      stateOf: (profile) => judgeCredentials(profile.spec, runtime, world.read),
      configOf: (profile) => configLines(profile.spec, runtime, world.read),
      refresh: async (name) => {
        refreshed.push(name);
        world.read = secret({ REPLICATE_API_TOKEN: 'r8_secret' });
      },
    },
    now: () => world.now,
  });
  const examine = (profile: ProfileBuilder = aPaidProfile()) =>
    doctor.examine({ name: 'paid', digest: 'sha256:a', spec: profile.spec() });
  const errors = async (profile?: ProfileBuilder) =>
    (await examine(profile)).lines.filter(({ level }) => level === 'error').map(({ check }) => check);
  const lineOf = async (check: string, profile?: ProfileBuilder) =>
    (await examine(profile)).lines.find((line) => line.check === check);
  return { world, doctor, examine, errors, lineOf, refreshed };
}

test('a profile that is well: what is promised of it, its Secret, its guards, and what the vendor says', async () => {
  const { examine } = setUp();
  const { lines, config } = await examine();
  expect(lines.map(({ check, level }) => `${check}: ${level}`)).toEqual([
    'credentials: ok',
    'cost-guards: info',
    'support: info',
    'replicate: ok',
  ]);
  for (const line of lines) expect(doctorLine.safeParse(line).error).toBeUndefined();
  expect(config).toEqual([
    {
      name: 'REPLICATE_API_TOKEN',
      present: true,
      source: 'secret:replicate/REPLICATE_API_TOKEN',
      required: true,
      secret: true,
      valid: true,
    },
  ]);
  expect(JSON.stringify({ lines, config })).not.toContain('r8_secret');
});

describe('the Secret', () => {
  test('that is missing blocks, and the vendor is not asked', async () => {
    const { world, examine } = setUp(MISSING);
    world.answer = () => expect.unreachable('there is nothing to ask it with');
    const { lines, config } = await examine();
    expect(lines[0]).toEqual({
      check: 'credentials',
      level: 'error',
      message: 'Secret replicate: there is none of that name in operator',
    });
    expect(config).toMatchObject([{ name: 'REPLICATE_API_TOKEN', present: false, valid: false }]);
  });

  test('that nobody has read yet is read before anything is said', async () => {
    const { errors, refreshed } = setUp({ found: false, missing: false, why: 'it has not been read yet' });
    expect(await errors()).toEqual([]);
    expect(refreshed).toEqual(['replicate']);
  });
});

test('a profile without guards says which are missing, all of them', async () => {
  const { lineOf } = setUp();
  expect(await lineOf('cost-guards', aPaidProfile().limited({}).asking({ pricing: undefined }))).toEqual({
    check: 'cost-guards',
    level: 'error',
    message:
      'A profile that costs money must set spec.pricing, spec.limits.maxCostUSDPerRun, spec.limits.maxRunSeconds, spec.limits.maxConcurrentRuns.',
  });
  const daily = { ...aPaidProfile().spec().limits, maxCostUSDPerNamespacePerDay: '5' };
  expect(await lineOf('cost-guards', aPaidProfile().limited(daily))).toMatchObject({ level: 'ok' });
});

test.each([
  [undefined, /registered, not production-backed/],
  ['Experimental', /acknowledgeExperimental/],
])('support level %s is said', async (supportLevel, words) => {
  const { lineOf } = setUp();
  expect((await lineOf('support', aPaidProfile().asking({ supportLevel })))?.message).toMatch(words);
});

describe('a vendor that does not answer', () => {
  const away =
    (kind: 'retryable' | 'budget' = 'retryable') =>
    () => {
      throw new RuntimeError({ kind }, 'account get: HTTP 503');
    };

  test('is a remark at first, in the same words each time, and an error once it has lasted', async () => {
    const { world, lineOf } = setUp();
    world.answer = away();
    const first = await lineOf('vendor');
    expect(first).toEqual({
      check: 'vendor',
      level: 'info',
      message: 'replicate has not answered since 2026-03-01T12:00:00Z: account get: HTTP 503 (runs go on for now)',
    });
    world.now += 2 * MINUTE;
    expect(await lineOf('vendor')).toEqual(first);
    world.now += MINUTE;
    const last = await lineOf('vendor');
    expect(last).toEqual({
      check: 'vendor',
      level: 'error',
      message: 'replicate has not answered since 2026-03-01T12:00:00Z: account get: HTTP 503',
    });
    world.now += 60 * MINUTE;
    expect(await lineOf('vendor')).toEqual(last);
  });

  test('and answers now and then never blocks', async () => {
    const { world, errors } = setUp();
    const well = world.answer;
    for (let minute = 0; minute < 20; minute += 1) {
      world.answer = minute % 3 === 2 ? well : away('budget');
      expect(await errors()).toEqual([]);
      world.now += MINUTE;
    }
  });

  test('under another profile of the same name begins anew', async () => {
    const { world, doctor, lineOf } = setUp();
    world.answer = away();
    await lineOf('vendor');
    world.now += 10 * MINUTE;
    doctor.forget('paid');
    expect(await lineOf('vendor')).toMatchObject({ level: 'info' });
  });
});

test.each(['credentials', 'refused', 'user', 'terminal'] as const)(
  'a vendor that answers with %s blocks at once',
  async (kind) => {
    const { world, errors } = setUp();
    world.answer = () => {
      throw new RuntimeError({ kind }, 'no');
    };
    expect(await errors()).toEqual(['vendor']);
  },
);

test('a doctor that breaks blocks, and says no more than that', async () => {
  const { world, lineOf } = setUp();
  world.answer = () => {
    throw new TypeError('r8_secret is not a function');
  };
  expect(await lineOf('vendor')).toEqual({ check: 'vendor', level: 'error', message: 'The doctor itself failed.' });
});

test('a vendor that repeats a secret is quoted without it, whether it answers or fails', async () => {
  const { world, lineOf } = setUp();
  const told = 'token=opaque-words at https://vendor.example/account?session=abc';
  world.answer = () => [{ check: 'replicate', level: 'info', message: told }];
  expect((await lineOf('replicate'))?.message).toBe('token=[redacted] at https://vendor.example/account');
  world.answer = () => {
    throw new RuntimeError({ kind: 'terminal' }, told);
  };
  expect((await lineOf('vendor'))?.message).toBe('token=[redacted] at https://vendor.example/account');
});
