import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { Kit } from '../../e2e/kit.ts';
import { attachCluster } from '../../cluster/index.ts';
import { MUTABLE_FIELDS, worldRunSpecShape } from '../../../src/crds/world-run.ts';
import { MANAGER } from '../../../src/controller/identity.ts';
import { WORLD_RUNS, type WorldRun } from '../../../src/controller/run/view.ts';
import { installCrds } from '../install-crds.ts';

/** What the API server itself refuses, and what it says to it. */

let kit: Kit;

beforeAll(async () => {
  const cluster = await attachCluster(inject('cluster'));
  if (cluster === undefined) throw new Error('the layer has no cluster');
  await installCrds(cluster);
  kit = await Kit.open(cluster, 'refusals');
});
afterAll(() => kit.close());

const minimal = (name: string, spec: object = {}) =>
  kit.run(name, { runtimeProfileRef: { name: 'p' }, image: 'busybox', command: ['true'], ...spec });

describe('a WorldRun is refused with words that say what would be right', () => {
  test.for<[string, object, RegExp]>([
    ['an unknown field', { imge: 'x' }, /unknown field "spec\.imge"/],
    ['a field of the wrong type', { nodes: 'three' }, /spec\.nodes/],
    ['a number out of range', { nodes: 0 }, /spec\.nodes.*greater than or equal to 1/],
    [
      'an artifact path with ..',
      { outputs: { artifacts: [{ name: 'a', path: 'x/../../etc' }] } },
      /must stay below its folder: remove the "\.\." segments/,
    ],
    [
      'an absolute artifact path',
      { outputs: { artifacts: [{ name: 'a', path: '/etc/passwd' }] } },
      /spec\.outputs\.artifacts\[0\]\.path/,
    ],
    [
      'two artifacts of one name',
      {
        outputs: {
          artifacts: [
            { name: 'a', path: 'x' },
            { name: 'a', path: 'y' },
          ],
        },
      },
      /Duplicate value/,
    ],
    [
      'two sources',
      { source: { git: { url: 'https://example.com/x.git' }, configMap: { name: 'c' } } },
      /a source is exactly one of git, configMap/,
    ],
    [
      'a git URL with a password',
      { source: { git: { url: 'https://me:secret@example.com/x.git' } } },
      /put credentials into the Secret/,
    ],
    ['a git URL of another scheme', { source: { git: { url: 'file:///etc' } } }, /spec\.source\.git\.url/],
    [
      'a volume of two kinds',
      { volumes: [{ name: 'v', mountPath: '/v', configMap: { name: 'c' }, secret: { secretName: 's' } }] },
      /exactly one of persistentVolumeClaim, configMap, secret/,
    ],
    [
      'a volume over our folders',
      { volumes: [{ name: 'v', mountPath: '/worldflux/output', configMap: { name: 'c' } }] },
      /mount the volume elsewhere/,
    ],
    ['an environment name with a dash', { env: [{ name: 'A-B', value: '1' }] }, /spec\.env\[0\]\.name/],
    [
      'a retry for a reason that is no reason',
      { retry: { onReasons: ['BadMood'] } },
      /spec\.retry\.onReasons\[0\]: Unsupported value/,
    ],
    ['a task in capitals', { task: 'Rollout' }, /spec\.task/],
  ])('%s', async ([, spec, words]) => {
    expect(await kit.refusal(minimal('refused', spec))).toMatch(words);
  });
});

describe('a RuntimeProfile is refused', () => {
  test('without the block that its runtime names', async () => {
    expect(await kit.refusal({ ...kit.profile('p', {}), spec: { runtime: 'local' } })).toMatch(
      /runtime "local" needs the block spec\.local/,
    );
  });
  test('with the block of a runtime that this release does not have', async () => {
    expect(await kit.refusal(kit.profile('p', {}, { modal: {} }))).toMatch(/unknown field "spec\.modal"/);
  });
  test('with a price that is no amount', async () => {
    expect(await kit.refusal(kit.profile('p', {}, { pricing: { usdPerGPUHour: 'cheap' } }))).toMatch(
      /spec\.pricing\.usdPerGPUHour/,
    );
  });
});

describe('once it exists', () => {
  test('every field of the spec but the mutable ones keeps its value, also its absence', async () => {
    await kit.apply(minimal('fixed'));
    const other: Record<string, unknown> = {
      runtimeProfileRef: { name: 'q' },
      adapter: { id: 'a' },
      task: 'eval',
      image: 'other',
      command: ['false'],
      args: ['x'],
      workingDir: '/w',
      env: [{ name: 'A', value: '1' }],
      forwardProviderEnv: ['A'],
      nodes: 2,
      resources: { gpu: 1 },
      nodeSelector: { a: 'b' },
      queueName: 'q',
      volumes: [{ name: 'v', mountPath: '/v', configMap: { name: 'c' } }],
      source: { configMap: { name: 'c' } },
      datasets: [{ id: 'd' }],
      outputs: { metricsFile: 'm.json' },
      timeouts: { runSeconds: 1 },
      retry: { maxAttempts: 2 },
      runKey: 'k',
      dryRun: true,
    };
    const fixed = Object.keys(worldRunSpecShape).filter(
      (field) => !(MUTABLE_FIELDS as readonly string[]).includes(field),
    );
    expect(Object.keys(other).toSorted()).toEqual(fixed.toSorted());
    for (const [field, value] of Object.entries(other)) {
      await expect(kit.patch('fixed', { [field]: value }), field).rejects.toThrow(
        `spec.${field} cannot change once the run exists`,
      );
    }
  });

  test('suspend goes back and forth, cancel does not', async () => {
    await kit.apply(minimal('switches'));
    await kit.patch('switches', { suspend: true });
    await kit.patch('switches', { suspend: false, ttlSecondsAfterFinished: 60 });
    await kit.patch('switches', { cancel: true });
    await expect(kit.patch('switches', { cancel: false })).rejects.toThrow('spec.cancel cannot be taken back');
  });

  test('kstatus and kubectl wait are right before anybody has written a status', async () => {
    await kit.apply(minimal('fresh'));
    const { status } = await kit.get('fresh');
    expect(status?.phase).toBe('Pending');
    expect(status?.conditions?.map((c) => `${c.type}=${c.status}`)).toEqual([
      'Ready=False',
      'Reconciling=True',
      'Finished=False',
    ]);
  });
});

describe('the status', () => {
  const at = '2026-01-01T00:00:00Z';
  const conditions = (succeeded: 'True' | 'False', reason: string) => [
    { type: 'Finished', status: 'True' as const, reason, lastTransitionTime: at },
    { type: 'Succeeded', status: succeeded, reason, lastTransitionTime: at },
  ];
  const write = async (name: string, status: WorldRun['status']) =>
    kit.client.apply(
      WORLD_RUNS,
      {
        apiVersion: 'worldflux.ai/v1alpha1',
        kind: 'WorldRun',
        metadata: { namespace: kit.namespace, name },
        status,
      } as WorldRun,
      {
        subresource: 'status',
        fieldManager: MANAGER,
        force: true,
      },
    );

  test('of a finished run never changes how it ended, by nobody', async () => {
    await kit.apply(minimal('ended'));
    await write('ended', { epoch: 3, conditions: conditions('True', 'Completed') });
    await expect(write('ended', { epoch: 3, conditions: conditions('False', 'NonZeroExit') })).rejects.toThrow(
      'a finished run never changes how it ended',
    );
    await expect(write('ended', { epoch: 3, conditions: [] })).rejects.toThrow(
      'a finished run never changes how it ended',
    );
    const edit = { merge: { status: { conditions: [] } } };
    await expect(
      kit.client.patch(WORLD_RUNS, { namespace: kit.namespace, name: 'ended' }, edit, { subresource: 'status' }),
    ).rejects.toThrow('a finished run never changes');
  });

  test('is refused from a leader whose time has passed', async () => {
    await kit.apply(minimal('fenced'));
    await write('fenced', { epoch: 7 });
    await write('fenced', { epoch: 8 });
    await expect(write('fenced', { epoch: 7 })).rejects.toThrow('no longer the leader');
    await expect(write('fenced', {})).rejects.toThrow('no longer the leader');
  });

  test('never takes an attempt back', async () => {
    await kit.apply(minimal('attempts'));
    await write('attempts', { epoch: 1, attemptCount: 2 });
    await expect(write('attempts', { epoch: 1, attemptCount: 1 })).rejects.toThrow('attempts are never taken back');
  });

  test('keeps a recorded manifest digest', async () => {
    await kit.apply(minimal('recorded'));
    await write('recorded', { epoch: 1, manifestDigest: 'sha256:a' });
    await expect(write('recorded', { epoch: 1, manifestDigest: 'sha256:b' })).rejects.toThrow(
      'a recorded manifest never changes',
    );
  });
});
