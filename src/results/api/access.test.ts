import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { KubeClient } from '../../kube/client.ts';
import { AccessReviews } from './access.ts';

const rita = { username: 'rita', uid: undefined, groups: ['team-a'], extra: {} };
const wanted = { namespace: 'team-a', name: 'run', part: 'log' } as const;

/** An authorizer whose mind can be changed. */
function authorizer(allowed: boolean) {
  const asked: unknown[] = [];
  const say = { allowed };
  const create: Pick<KubeClient, 'create'>['create'] = async (_, object) => {
    asked.push((object as { spec?: unknown }).spec);
    return { ...object, status: { ...say } };
  };
  return { asked, say, reviews: new AccessReviews({ create }) };
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

test('an answer is remembered for ten seconds and no longer', async () => {
  const { asked, say, reviews } = authorizer(true);
  expect(await reviews.allows(rita, wanted)).toBe(true);
  say.allowed = false;
  vi.advanceTimersByTime(9_999);
  expect(await reviews.allows(rita, wanted)).toBe(true);
  expect(asked).toHaveLength(1);
  vi.advanceTimersByTime(1);
  expect(await reviews.allows(rita, wanted)).toBe(false);
});

test.each([
  ['another group', { ...rita, groups: [] }, wanted],
  ['another name', { ...rita, username: 'otto' }, wanted],
  ['another scope', { ...rita, extra: { scope: ['x'] } }, wanted],
  ['another namespace', rita, { ...wanted, namespace: 'team-b' }],
  ['another run', rita, { ...wanted, name: 'other' }],
  ['another part', rita, { ...wanted, part: 'artifacts' as const }],
])('an answer is not given to %s', async (_, user, what) => {
  const { asked, reviews } = authorizer(true);
  await reviews.allows(rita, wanted);
  await reviews.allows(user, what);
  expect(asked).toHaveLength(2);
});

test('the same question of many at once is asked once', async () => {
  const { asked, reviews } = authorizer(true);
  expect(await Promise.all(Array.from({ length: 20 }, () => reviews.allows(rita, wanted)))).toEqual(
    Array(20).fill(true),
  );
  expect(asked).toEqual([
    expect.objectContaining({
      user: 'rita',
      groups: ['team-a'],
      resourceAttributes: expect.objectContaining({
        group: 'results.worldflux.ai',
        resource: 'worldruns',
        subresource: 'log',
        verb: 'get',
        namespace: 'team-a',
        name: 'run',
      }),
    }),
  ]);
});
