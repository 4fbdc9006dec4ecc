import { describe, expect, test } from 'vitest';
import type { AttemptStatus } from '../../crds/world-run-status.ts';
import { aRun } from '../testing/a-run.ts';
import {
  assess,
  isSkip,
  lastTried,
  route,
  routesOf,
  skipEntry,
  untold,
  type Candidate,
  type ProfileFacts,
  type Skipped,
} from './routing.ts';

const fine: ProfileFacts = {
  name: 'paid',
  found: true,
  refusal: undefined,
  ready: { ready: true, configured: true, message: '' },
  credentials: { ready: true },
  degraded: undefined,
};
const refusal = { reason: 'CapabilityNotSupported', message: 'cannot score' } as const;
const broken = { ready: false, configured: false, message: 'the model is not there' };

describe('what negotiation finds of a profile', () => {
  test.each<[string, Partial<ProfileFacts>, string, string | undefined]>([
    ['nothing against it', {}, 'ready', undefined],
    ['there is none of that name', { found: false }, 'not-registered', 'ProfileNotFound'],
    ['its rules refuse the run', { refusal }, 'unsupported', 'CapabilityNotSupported'],
    [
      'its Secret is missing',
      { credentials: { ready: false, message: 'no Secret' } },
      'missing-config',
      'CredentialsMissing',
    ],
    ['its spec is wrong', { ready: broken }, 'missing-config', 'ProfileNotReady'],
    ['its vendor is away', { ready: { ...broken, configured: true } }, 'missing-dependency', 'ProfileNotReady'],
    ['its vendor fails often', { degraded: 'half of the calls failed' }, 'missing-dependency', 'ProfileDegraded'],
    ['a run that it will never take waits for no Secret', { refusal, ready: broken }, 'unsupported', refusal.reason],
  ])('%s', (_, facts, readiness, reason) => {
    expect(assess({ ...fine, ...facts })).toMatchObject({ readiness, ...(reason !== undefined && { reason }) });
  });
});

const ready = (name: string): Candidate => ({ name, readiness: 'ready' });
const away = (name: string): Skipped => ({
  name,
  readiness: 'missing-dependency',
  reason: 'ProfileNotReady',
  message: `${name} is away`,
});
const never = (name: string): Skipped => ({ name, readiness: 'unsupported', ...refusal });

describe('which profile takes the run', () => {
  test('the first, when it is ready, whatever the others are', () => {
    expect(route([ready('a'), ready('b'), away('c')])).toEqual({ take: 'a', skipped: [] });
  });

  test('the next that is ready; those before it are named', () => {
    expect(route([away('a'), never('b'), ready('c'), ready('d')])).toEqual({
      take: 'c',
      skipped: [away('a'), never('b')],
    });
  });

  test('none: it waits for the first that may come back', () => {
    expect(route([never('a'), away('b'), away('c')])).toMatchObject({
      take: undefined,
      waitsFor: away('b'),
    });
  });

  test('none ever: it is refused in the words of the one it asked for', () => {
    expect(route([never('a'), never('b')])).toMatchObject({
      take: undefined,
      refusal: { reason: 'CapabilityNotSupported', message: 'cannot score (fallbacks: b: CapabilityNotSupported)' },
    });
    expect(route([never('a')])).toMatchObject({ take: undefined, refusal });
  });
});

const intent = {
  requestDigest: 'sha256:a',
  recordedAt: '2026-01-01T00:00:00Z',
  notAfter: '2026-01-01T00:00:30Z',
  deadlineAt: '2026-01-01T01:00:00Z',
};
const failed: AttemptStatus = {
  number: 1,
  profile: 'b',
  intent,
  externalId: 'x',
  finishedAt: '2026-01-01T00:01:00Z',
  reason: 'VendorFailed',
};

describe('where a run may go', () => {
  const spec = (more: object = {}) =>
    aRun()
      .asking({ fallbackProfileRefs: [{ name: 'b' }, { name: 'a' }, { name: 'c' }], ...more })
      .live().spec;

  test('to each profile that it names, once, in its order', () => {
    expect(routesOf(spec(), 'a', [])).toEqual(['a', 'b', 'c']);
    expect(routesOf(aRun().live().spec, 'a', [])).toEqual(['a']);
  });

  test.each(['policy', 'score'])('a robot’s %s goes nowhere else', (capability) => {
    expect(routesOf(spec({ request: { capability } }), 'a', [])).toEqual(['a']);
  });

  test('other capabilities do', () => {
    expect(routesOf(spec({ request: { capability: 'generate' } }), 'a', [])).toHaveLength(3);
  });

  test('nor a run whose request may have bought something', () => {
    const { externalId: _, ...unknown } = failed;
    expect(routesOf(spec(), 'a', [{ ...unknown, reason: 'SubmitUnresolved' }])).toEqual(['b']);
    expect(routesOf(spec(), 'a', [{ number: 1, intent }])).toEqual(['a']);
    expect(
      routesOf(spec(), 'a', [
        { ...unknown, reason: 'SubmitUnresolved' },
        { number: 2, profile: 'c' },
      ]),
    ).toEqual(['b']);
  });

  test('but one whose request is known to have failed', () => {
    expect(routesOf(spec(), 'a', [failed])).toHaveLength(3);
    const { externalId: _, ...rejected } = failed;
    expect(routesOf(spec(), 'a', [{ ...rejected, reason: 'VendorRejected' }])).toHaveLength(3);
  });
});

describe('profiles that were passed over', () => {
  const at = '2026-01-01T00:02:00Z';

  test('stand among the attempts, take no try, and say why', () => {
    expect(skipEntry(away('a'), 3, at)).toEqual({
      number: 3,
      profile: 'a',
      finishedAt: at,
      reason: 'ProfileNotReady',
      message: 'skipped (missing-dependency): a is away',
      counted: false,
    });
  });

  test('are told from attempts that a suspension ended', () => {
    const { externalId: _, ...suspended } = failed;
    expect(isSkip(skipEntry(away('a'), 3, at))).toBe(true);
    expect(isSkip({ ...suspended, counted: false, reason: 'Suspended' })).toBe(false);
    expect(isSkip({ number: 1, jobUID: 'j', counted: false, reason: 'Suspended', profile: 'a' })).toBe(false);
    expect(lastTried([failed, skipEntry(away('a'), 2, at)])).toBe(failed);
    expect(lastTried([skipEntry(away('a'), 1, at)])).toBeUndefined();
  });

  const degraded: Skipped = {
    name: 'a',
    readiness: 'missing-dependency',
    reason: 'ProfileDegraded',
    message: 'half of the calls failed',
  };

  test('are told once for each reason, and again after the next try', () => {
    const told = skipEntry(away('a'), 2, at);
    expect(untold([away('a'), never('b')], [failed, told])).toEqual(never('b'));
    expect(untold([away('a')], [failed, told])).toBeUndefined();
    expect(untold([away('a')], [told, { ...failed, number: 3 }])).toEqual(away('a'));
    expect(untold([degraded], [failed, told])).toMatchObject({ name: 'a' });
    expect(untold([])).toBeUndefined();
  });
});
