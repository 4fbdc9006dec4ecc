import { describe, expect, test } from 'vitest';
import { doctorLine } from '../../crds/runtime-profile.ts';
import type { NodeView } from '../run/view.ts';
import { aProfile, type ProfileBuilder } from '../testing/a-profile.ts';
import { aNode } from '../testing/a-world.ts';
import { doctor, type DoctorInput } from './doctor.ts';

const examine = (profile: ProfileBuilder, more: Partial<DoctorInput> = {}) =>
  doctor({
    spec: profile.spec(),
    nodes: [],
    otherDefaults: [],
    isDefault: false,
    classes: [],
    troubled: { secrets: [], quota: [] },
    ...more,
  });

const lineOf = (check: string, profile: ProfileBuilder, more: Partial<DoctorInput> = {}) =>
  examine(profile, more).find((line) => line.check === check);

const withGpus = (count: number, more: Partial<NodeView> = {}): NodeView => ({
  ...aNode(),
  extended: { 'nvidia.com/gpu': count },
  ...more,
});
const gpu = (asked: object) => aProfile().local({ gpu: asked });

test('a healthy profile has no error, and every line fits into the status', () => {
  const lines = examine(aProfile());
  expect(lines.filter(({ level }) => level === 'error')).toEqual([]);
  for (const line of lines) expect(doctorLine.safeParse(line).error).toBeUndefined();
});

describe('the image', () => {
  test.each([
    [`ghcr.io/acme/wm@sha256:${'a'.repeat(64)}`, 'ok'],
    [`localhost:5000/wm:1@sha256:${'a'.repeat(64)}`, 'ok'],
    ['ghcr.io/acme/wm:1.2', 'info'],
    ['wm', 'info'],
    ['a/b__c/d--e:v1', 'info'],
    [undefined, 'info'],
    ['GHCR.io/acme/wm', 'error'],
    ['ghcr.io/acme/wm@sha256:short', 'error'],
    ['https://ghcr.io/acme/wm', 'error'],
    ['wm:', 'error'],
    ['../wm', 'error'],
  ])('%s is %s', (image, level) => {
    expect(lineOf('image', aProfile().local({ image }))).toMatchObject({ level });
  });
});

describe('GPUs', () => {
  test.each([
    ['a node has them', { count: 2 }, [withGpus(4)], 'ok'],
    ['no node has so many', { count: 8 }, [withGpus(4)], 'info'],
    ['no node has any right now, which autoscaling is about to change', { count: 1 }, [aNode()], 'info'],
    ['none is there, and the profile wants one to be', { count: 1, requirePresent: true }, [aNode()], 'error'],
    [
      'the node that has them does not answer',
      { count: 1, requirePresent: true },
      [withGpus(4, { ready: false })],
      'error',
    ],
    [
      'they are of another kind',
      { count: 1, resourceName: 'amd.com/gpu', requirePresent: true },
      [withGpus(4)],
      'error',
    ],
  ] as const)('%s', (_, asked, nodes, level) => {
    expect(lineOf('gpu-visible', gpu(asked), { nodes })).toMatchObject({ level });
  });

  test('only nodes that the profile selects count', () => {
    const selecting = gpu({ count: 1 }).local({ nodeSelector: { pool: 'gpu' } });
    expect(lineOf('gpu-visible', selecting, { nodes: [withGpus(4)] })).toMatchObject({ level: 'info' });
    expect(lineOf('gpu-visible', selecting, { nodes: [withGpus(4, { labels: { pool: 'gpu' } })] })).toMatchObject({
      level: 'ok',
    });
    expect(lineOf('nodes', selecting, { nodes: [withGpus(4)] })).toMatchObject({ level: 'info' });
  });

  test('a profile without any says nothing of them', () => {
    expect(lineOf('gpu-visible', aProfile())).toBeUndefined();
    expect(lineOf('gpu-visible', gpu({ count: 0 }))).toBeUndefined();
  });
});

test('a cost limit needs a price', () => {
  const limited = aProfile().limited({ maxCostUSDPerRun: '1' });
  expect(lineOf('pricing', limited)).toMatchObject({
    level: 'error',
    message: expect.stringContaining('spec.pricing') as string,
  });
  expect(lineOf('pricing', limited.asking({ pricing: { usdPerNodeHour: '1' } }))).toMatchObject({ level: 'ok' });
  expect(lineOf('pricing', aProfile())).toBeUndefined();
});

test.each([
  ['ok', 'exists'],
  ['info', 'could not be looked up'],
  ['error', 'create it'],
] as const)('a class at level %s: %s', (level, words) => {
  const line = lineOf('priority-class', aProfile(), { classes: [{ kind: 'PriorityClass', name: 'high', level }] });
  expect(line).toMatchObject({
    level,
    message: expect.stringMatching(new RegExp(`high ${words}|high.*${words}`)) as string,
  });
});

test('two defaults are worth a remark on each, in the same words after every restart', () => {
  expect(lineOf('default-profile', aProfile(), { isDefault: true, otherDefaults: ['b', 'c'] })).toMatchObject({
    level: 'info',
    message: expect.stringMatching(/^b, c also/) as string,
  });
  expect(lineOf('default-profile', aProfile(), { isDefault: false, otherDefaults: ['b'] })).toBeUndefined();
});

test('runs that wait for a Secret are named, three of them', () => {
  const secrets = ['team/a', 'team/b', 'team/c', 'team/d'];
  expect(lineOf('secrets', aProfile(), { troubled: { secrets, quota: [] } })).toMatchObject({
    level: 'info',
    message: '4 run(s) wait for a Secret: team/a; team/b; team/c',
  });
});
