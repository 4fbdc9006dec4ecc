import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { Kit } from '../../e2e/kit.ts';
import { attachCluster } from '../../cluster/index.ts';
import { MUTABLE_FIELDS, worldRunSpecShape } from '../../../src/crds/world-run.ts';
import { MANAGER } from '../../../src/controller/identity.ts';
import { WORLD_RUNS, type RuntimeProfile, type WorldRun } from '../../../src/controller/run/view.ts';
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
      'ten thousand artifacts',
      { outputs: { artifacts: Array.from({ length: 10_000 }, (_, i) => ({ name: `a${i}`, path: `x${i}` })) } },
      /spec\.outputs\.artifacts: Too many/,
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
    [
      'a capability that nobody has',
      { request: { capability: 'dream' } },
      /spec\.request\.capability: Unsupported value: "dream"/,
    ],
    [
      'a file from outside its source',
      { request: { files: [{ input: 'image', path: '../../etc/passwd' }] } },
      /must stay below its folder/,
    ],
    ['a fallback without a name', { fallbackProfileRefs: [{}] }, /spec\.fallbackProfileRefs\[0\]\.name: Required/],
    [
      'more fallbacks than anybody reads',
      { fallbackProfileRefs: ['a', 'b', 'c', 'd', 'e'].map((name) => ({ name })) },
      /spec\.fallbackProfileRefs: Too many/,
    ],
  ])('%s', async ([, spec, words]) => {
    expect(await kit.refusal(minimal('refused', spec))).toMatch(words);
  });
});

const replicate = (spec: object = {}) => ({
  ...kit.profile('p', {}),
  spec: {
    runtime: 'replicate',
    replicate: { model: 'acme/wm' },
    credentials: { secretRef: { name: 'replicate' } },
    allowedNamespaces: { matchLabels: { team: 'robotics' } },
    ...spec,
  },
});

describe('a RuntimeProfile is refused', () => {
  test.for<[string, () => object, RegExp]>([
    [
      'without the block that its runtime names',
      () => ({ ...kit.profile('p', {}), spec: { runtime: 'local' } }),
      /exactly the block that spec\.runtime names/,
    ],
    [
      'with another runtime’s block',
      () => kit.profile('p', {}, { mock: {} }),
      /exactly the block that spec\.runtime names/,
    ],
    [
      'with the block of another runtime alone',
      () => replicate({ runtime: 'mock' }),
      /exactly the block that spec\.runtime names/,
    ],
    [
      'with the block of a runtime that this release does not have',
      () => kit.profile('p', {}, { modal: {} }),
      /unknown field "spec\.modal"/,
    ],
    [
      'with a runtime that this release does not have',
      () => replicate({ runtime: 'modal' }),
      /spec\.runtime: Unsupported value: "modal"/,
    ],
    [
      'with a price that is no amount',
      () => kit.profile('p', {}, { pricing: { usdPerGPUHour: 'cheap' } }),
      /spec\.pricing\.usdPerGPUHour/,
    ],
    [
      'for a vendor, without credentials',
      () => replicate({ credentials: undefined }),
      /spec\.credentials.*name a Secret of the operator’s namespace/,
    ],
    [
      'for a vendor, without saying which namespaces may spend its money',
      () => replicate({ allowedNamespaces: undefined }),
      /spec\.allowedNamespaces.*which namespaces may use it/,
    ],
    [
      'with nothing that a vendor could run',
      () => replicate({ replicate: {} }),
      /exactly one of model, version, deployment/,
    ],
    [
      'with two things that a vendor could run',
      () => replicate({ replicate: { model: 'acme/wm', deployment: 'acme/ours' } }),
      /exactly one of model, version, deployment/,
    ],
    [
      'with a password in an endpoint',
      () => replicate({ replicate: { model: 'acme/wm', endpoint: 'https://me:pw@example.com' } }),
      /spec\.replicate\.endpoint/,
    ],
    [
      'with an endpoint of another scheme',
      () => replicate({ replicate: { model: 'acme/wm', endpoint: 'file:///etc/passwd' } }),
      /spec\.replicate\.endpoint/,
    ],
    [
      'with a version that is no digest',
      () => replicate({ replicate: { version: 'latest' } }),
      /spec\.replicate\.version/,
    ],
    [
      'with a request that is tried no time',
      () => replicate({ requestPolicy: { request: { maxAttempts: 0 } } }),
      /spec\.requestPolicy\.request\.maxAttempts/,
    ],
    [
      'with a request that has no time',
      () => replicate({ requestPolicy: { request: { timeoutSeconds: 0 } } }),
      /spec\.requestPolicy\.request\.timeoutSeconds.*greater than 0/,
    ],
    [
      'with a support level of its own making',
      () => replicate({ supportLevel: 'Beta' }),
      /spec\.supportLevel: Unsupported value: "Beta"/,
    ],
    [
      'when it sends the operator’s key for every namespace',
      () =>
        kit.profile(
          'p',
          {},
          {
            sync: {
              baseURL: 'https://worldflux.example',
              allowedProjects: ['demo'],
              apiKeySecretRef: { name: 'k', from: 'OperatorNamespace' },
            },
          },
        ),
      /name them with allowedNamespaces/,
    ],
    [
      'when it syncs without TLS and does not say so',
      () =>
        kit.profile(
          'p',
          {},
          {
            sync: {
              baseURL: 'http://worldflux.example',
              allowedProjects: ['demo'],
              apiKeySecretRef: { name: 'k' },
            },
          },
        ),
      /needs network\.allowPlainHTTP/,
    ],
  ])('%s', async ([, profile, words]) => {
    expect(await kit.refusal(profile())).toMatch(words);
  });

  test('no more: each runtime’s shortest profile is taken, with its defaults', async () => {
    const taken = async (spec: object) => {
      const object = { ...kit.profile('shortest', {}), spec };
      const answer = await kit.cluster.kubectl(
        ['create', '--validate=strict', '--dry-run=server', '-o', 'json', '-f', '-'],
        { input: stringify(object) },
      );
      return (JSON.parse(answer) as RuntimeProfile).spec;
    };
    expect(await taken({ runtime: 'local', local: {} })).toMatchObject({ onUnknownSubmit: 'WaitForDeadline' });
    expect(await taken({ runtime: 'mock', mock: {} })).toMatchObject({ mock: { runSeconds: 0, failure: 'None' } });
    expect(await taken({ runtime: 'genie', genie: {} })).toMatchObject({ orphans: 'Report' });
    expect(await taken({ ...replicate().spec, requestPolicy: {} })).toMatchObject({
      requestPolicy: {
        health: { timeoutSeconds: 10, maxAttempts: 3, backoffSeconds: 0.25, backoffMultiplier: 2 },
        request: { timeoutSeconds: 60, maxAttempts: 1, backoffSeconds: 0, backoffMultiplier: 1 },
        polling: { timeoutSeconds: 30, maxAttempts: 3 },
        download: { timeoutSeconds: 300, retryableStatusCodes: [408, 429, 500, 502, 503, 504] },
      },
    });
  });
});

describe('the CRDs', () => {
  test.for(['worldruns', 'runtimeprofiles'])('%s is small enough to be read by every client', async (plural) => {
    const { size } = await stat(join(import.meta.dirname, `../../../manifests/crds/${plural}.yaml`));
    expect(size).toBeLessThan(200 * 1024);
  });

  test.for([
    ['runtimeprofile.spec.replicate', /Predictions at Replicate.*model.*A version’s 64/s],
    ['runtimeprofile.spec.limits.maxCostUSDPerNamespacePerDay', /Spent and reserved in one UTC day/],
    ['runtimeprofile.spec.pricing', /usdPerRequest.*For each request/s],
    ['worldrun.spec.fallbackProfileRefs', /Profiles to use instead, in this order/],
    ['worldrun.spec.request', /capability.*files/s],
    ['worldrun.status.attempts.intent', /Recorded before the request is sent/],
  ] as const)('kubectl explain %s', async ([field, words]) => {
    // The API server takes up a schema in its own time.
    await expect.poll(() => kit.cluster.kubectl(['explain', field]), { timeout: 30_000 }).toMatch(words);
  });
});

describe('once it exists', () => {
  test('every field of the spec but the mutable ones keeps its value, also its absence', async () => {
    await kit.apply(minimal('fixed'));
    const other: Record<string, unknown> = {
      runtimeProfileRef: { name: 'q' },
      fallbackProfileRefs: [{ name: 'q' }],
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
      request: { capability: 'generate', prompt: 'x' },
      acknowledgeExperimental: true,
      approval: { required: true },
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
