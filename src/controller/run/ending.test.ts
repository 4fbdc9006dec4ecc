import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { digestOf, manifestSchema, type Manifest } from '../../crds/manifest.ts';
import { worldRunStatus, type StoredArtifact, type WorldRunStatus } from '../../crds/world-run-status.ts';
import type { CollectedResult } from '../../results/contract.ts';
import { at } from '../../runtime/local/testing/clock.ts';
import { aRun, type RunBuilder } from '../testing/a-run.ts';
import { aProfile } from '../testing/a-profile.ts';
import { aJob } from '../testing/a-job.ts';
import { aLog, aResult, aWorld, collected, type Scene } from '../testing/a-world.ts';
import type { Ending } from './decision.ts';
import { recordFor, recordOf, terminalStatus } from './ending.ts';
import { clip } from './public-text.ts';
import { conditionsOf, mergeConditions, phaseOf } from './situation.ts';

const IDS = { runId: '20261120T100000Z-1234abcd', clientRunId: '6f1f6d6e-6f3b-5f0e-9d2b-0c7c3f1f2f57' };

const done: Ending = {
  status: 'succeeded',
  reason: 'Completed',
  message: 'The command exited with 0.',
  exitCode: 0,
  attempt: {
    number: 1,
    jobUID: 'job-1',
    node: 'node-1',
    startedAt: at(2),
    finishedAt: at(10),
    exitCode: 0,
    reason: 'Completed',
  },
  resultsOf: 1,
  clocks: { queueSeconds: 1, startupSeconds: 1, runSeconds: 8 },
  imageDigest: `sha256:${'a'.repeat(64)}`,
  sourceCommit: undefined,
};

const anArtifact = (more: Partial<StoredArtifact> = {}): StoredArtifact => ({
  name: 'model',
  path: 'model.json',
  rank: 0,
  count: 1,
  sizeBytes: 120,
  sha256: `sha256:${'b'.repeat(64)}`,
  contentType: 'application/json',
  commit: true,
  state: 'Stored',
  ...more,
});

const scene: Scene = {
  now: 12,
  jobs: [aJob().started()],
  results: collected(aResult(0, { artifacts: [anArtifact()] })),
};

function recorded(scene: Scene, ending: Ending = done) {
  return recordOf(aWorld(scene), ending, IDS);
}

const verdict = (scene: Scene, ending: Ending = done) => recorded(scene, ending).verdict;
/** Without what every release, or every new default of the API, changes. */
const golden = (manifest: Manifest) => ({
  ...manifest,
  operator_version: 'x',
  input_digest: 'x',
  profile: { ...manifest.profile, digest: 'x' },
});
const input = (run: RunBuilder) => recorded({ ...scene, run }).words.manifest.input_digest;

function statusOf(scene: Scene, ending: Ending = done): WorldRunStatus {
  const world = aWorld(scene);
  const { verdict, words } = recordOf(world, ending, IDS);
  const situation = {
    is: 'finished',
    status: ending.status,
    reason: ending.reason,
    message: ending.message,
    results: verdict,
  } as const;
  const base: WorldRunStatus = {
    epoch: 1,
    phase: phaseOf(situation),
    conditions: [...mergeConditions(undefined, conditionsOf(situation), 1, world.now)],
    ...IDS,
    attempts: [...(world.run.status.attempts ?? []), ...(ending.attempt === undefined ? [] : [ending.attempt])].slice(
      -16,
    ),
  };
  return terminalStatus(base, words);
}

describe('the manifest', () => {
  test('of a run of one node', () => {
    expect(golden(recorded(scene).words.manifest)).toMatchSnapshot('manifest');
  });

  test('of a run with everything', () => {
    const run = aRun()
      .onNodes(2)
      .asking({
        task: 'rollout',
        adapter: { id: 'dreamer' },
        args: ['--token', 'hf_secret', '--data', 'https://u:pw@host/d?X-Amz-Signature=1'],
        env: [{ name: 'API_KEY', value: 'not-in-here' }],
        forwardProviderEnv: ['HF_TOKEN'],
        source: { git: { url: 'https://git.example/x', ref: 'main' } },
        datasets: [{ id: 'lerobot:pusht', revision: 'abc' }],
        outputs: { ranks: 'All' },
      });
    const profile = aProfile('gpu')
      .local({ gpu: { count: 4 } })
      .asking({
        adapters: [{ id: 'dreamer', source: 'lerobot:dreamer', revision: 'r1' }],
        providerEnv: [{ name: 'HF_TOKEN', secretKeyRef: { name: 's', key: 'k' } }],
        pricing: { usdPerGPUHour: '2.45', usdPerNodeHour: '0.10' },
      });
    const both = collected(
      aResult(0, { artifacts: [anArtifact()], metricsOmitted: 2 }),
      aResult(1, { artifacts: [anArtifact({ name: 'video', rank: 1 })] }),
    );
    const { manifest } = recorded(
      { ...scene, run, profile, results: both },
      { ...done, sourceCommit: 'c'.repeat(40) },
    ).words;
    expect(golden(manifest)).toMatchSnapshot('manifest');
    const text = JSON.stringify(manifest);
    for (const secret of ['hf_secret', 'not-in-here', 'pw@', 'Signature']) expect(text).not.toContain(secret);
  });

  test('of a run that failed on its third attempt', () => {
    const run = aRun()
      .attempt({ number: 1, startedAt: at(1), finishedAt: at(2), reason: 'NodeLost' })
      .attempt({ number: 2, startedAt: at(3), finishedAt: at(4), reason: 'Preempted' });
    const ending: Ending = {
      ...done,
      status: 'failed',
      reason: 'NonZeroExit',
      exitCode: 3,
      attempt: { ...done.attempt!, number: 3, exitCode: 3, reason: 'NonZeroExit' },
    };
    expect(
      recorded({ ...scene, run, jobs: [aJob().ofAttempt(3)], results: {} }, ending).words.manifest,
    ).toMatchSnapshot('manifest');
  });

  test('its digest does not depend on the order of keys, and survives the API server', () => {
    const { manifest } = recorded(scene).words;
    const reversed = Object.fromEntries(Object.entries(JSON.parse(JSON.stringify(manifest)) as object).toReversed());
    expect(digestOf(reversed)).toBe(digestOf(manifest));
    expect(digestOf({ ...manifest, metrics: { loss: 0.1 + 0.2, tiny: 5e-324, large: 1e21, zero: -0 } })).toBe(
      digestOf({
        ...manifest,
        metrics: JSON.parse('{"large":1e21,"loss":0.30000000000000004,"tiny":5e-324,"zero":0}') as object,
      }),
    );
  });
});

describe('what a manifest never holds', () => {
  const good = recorded(scene).words.manifest;
  test.each([
    ['a signed artifact path', { artifacts: [{ ...good.artifacts[0]!, path: 'https://b/k?X-Amz-Signature=1' }] }],
    ['a signed word of the command', { command: ['curl', 'https://b/k?token=1'] }],
    ['a signed image', { image: { reference: 'host/x?sig=1', digest: null } }],
    ['a secret-like leaf of the runtime', { runtime: { api_key: 'x' } }],
    ['a number that is none', { metrics: { loss: Number.NaN } }],
    ['a key that the schema does not know', { secrets: {} }],
    ['a value in the environment', { environment: [{ name: 'A', source: 'literal', value: 'x' }] }],
  ])('%s is refused', (_, bad) => {
    expect(manifestSchema.safeParse(good).success).toBe(true);
    expect(manifestSchema.safeParse({ ...good, ...bad }).success).toBe(false);
  });
});

describe('the verdict on the results', () => {
  const results = (...r: CollectedResult[]): Scene => ({ ...scene, results: collected(...r) });

  test.each([
    ['everything is there', scene, 'Stored'],
    [
      'the collector never reached the gateway',
      results(aResult(0, { via: 'TerminationMessage' })),
      'GatewayUnreachable',
    ],
    [
      'an artifact is missing',
      results(aResult(0, { artifacts: [anArtifact({ state: 'Missing', message: 'no such file' })] })),
      'PartlyStored',
    ],
    ['nothing came', { ...scene, results: {} }, 'CollectionCutShort'],
    ['one rank of two came, and one is wanted', { ...scene, run: aRun().onNodes(2) }, 'Stored'],
    [
      'one rank of two came, and both are wanted',
      {
        ...scene,
        run: aRun()
          .onNodes(2)
          .asking({ outputs: { ranks: 'All' } }),
      },
      'CollectionCutShort',
    ],
    ['nothing is collected', { ...scene, profile: aProfile().withoutCollector() }, 'CollectionDisabled'],
  ] as const)('%s', (_, scene, reason) => {
    expect(verdict(scene)).toMatchObject({ stored: reason === 'Stored', reason });
  });

  test('a run that ended before it started produced nothing', () => {
    const { startedAt: _, ...attempt } = done.attempt!;
    expect(verdict({ ...scene, results: {} }, { ...done, attempt }).reason).toBe('NothingProduced');
    expect(verdict({ ...scene, results: {} }, { ...done, attempt: undefined }).reason).toBe('NothingProduced');
  });

  test('a missing artifact is named with its reason', () => {
    const bad = results(
      aResult(0, {
        artifacts: [
          anArtifact(),
          anArtifact({ name: 'video', state: 'Refused', message: 'outside the output folder' }),
        ],
      }),
    );
    expect(verdict(bad).message).toContain('video: Refused (outside the output folder)');
  });
});

test('a record is kept for results, and for a runKey that somebody will look up', () => {
  const silent = { ...scene, profile: aProfile().withoutCollector() };
  expect(recorded(scene).keeps).toBe(true);
  expect(recorded(silent).keeps).toBe(false);
  expect(recorded({ ...silent, run: aRun().keyed('k') }).keeps).toBe(true);
});

test('the record in the store names the run, its status and the bytes it takes', () => {
  const world = aWorld({ ...scene, run: aRun().keyed('k') });
  const { words } = recordOf(world, done, IDS);
  const status = terminalStatus({ ...IDS }, words);
  expect(recordFor(world, IDS.clientRunId, status, words)).toMatchObject({
    state: 'Finished',
    uid: 'uid-pendulum',
    runKey: 'k',
    status: { manifestDigest: digestOf(words.manifest) },
    bytes: 120 + aLog.bytes,
  });
});

test('toggling suspend, or a new TTL, does not make another input of it', () => {
  expect(
    input(
      aRun()
        .resumed()
        .asking({ ttlSecondsAfterFinished: 60, sync: { mode: 'Manual' } }),
    ),
  ).toBe(input(aRun()));
  expect(input(aRun().asking({ command: ['other'] }))).not.toBe(input(aRun()));
});

/** Everything that the API server would take, at its worst. */
const unit = fc.constantFrom('a', '"', '\u0000', '\u{1F600}', '?token=1&', 'https://u:p@h/', '\\');
const wild = fc
  .array(unit, { maxLength: 20 })
  .chain((units) => fc.nat(100).map((times) => units.join('').repeat(times)));
const hostile = fc.record({
  words: fc.array(fc.oneof(wild, fc.constant('x?token=1'), fc.constant('--password')), { maxLength: 8 }),
  copies: fc.constantFrom(1, 64),
  env: fc.nat(256),
  message: fc.oneof(wild, fc.constant('"'.repeat(3000)), fc.constant('\u0000\u{1F600}'.repeat(900))),
  metrics: fc.dictionary(fc.string({ maxLength: 128 }), fc.double(), { maxKeys: 40 }),
  manyMetrics: fc.boolean(),
  artifacts: fc.constantFrom(0, 1, 64, 2000),
  path: wild.map((path) => path.slice(0, 512)),
  image: wild.filter((image) => image.length > 0).map((image) => clip(image, 512)),
  attempts: fc.nat(16),
  startedAt: fc.constantFrom(at(2), 'yesterday', '2026-11-20T11:00:00+02:00'),
});

test('nothing that a user can say keeps a run from ending, or makes its status larger than 24 KiB', () => {
  fc.assert(
    fc.property(hostile, (h) => {
      const words = Array.from({ length: h.copies }, () => h.words).flat();
      let run = aRun().asking({
        command: words.slice(0, 256),
        args: words.slice(0, 256),
        env: Array.from({ length: h.env }, (_, i) => ({ name: `A${i}`, value: 'x' })),
        source: { git: { url: `https://host/${'long/'.repeat(200)}`, ref: 'main' } },
      });
      for (let number = 1; number <= h.attempts; number += 1) {
        run = run.attempt({
          number,
          startedAt: h.startedAt,
          finishedAt: at(number),
          reason: 'NodeLost',
          node: 'n'.repeat(253),
          message: 'm'.repeat(300),
        });
      }
      const many = Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`\u{1F600}`.repeat(60) + i, i]));
      const artifacts = Array.from({ length: h.artifacts }, (_, i) =>
        anArtifact({ name: `artifact-${i}`, path: h.path, message: h.message.slice(0, 512) }),
      );
      const result = aResult(0, { metrics: h.manyMetrics ? many : h.metrics, artifacts });
      const world: Scene = { ...scene, run, profile: aProfile().local({ image: h.image }), results: collected(result) };
      const ending: Ending = {
        ...done,
        status: 'failed',
        reason: 'NonZeroExit',
        message: h.message,
        attempt: { ...done.attempt!, number: 17, startedAt: h.startedAt },
      };
      const status = statusOf(world, ending);
      expect(Buffer.byteLength(JSON.stringify(status))).toBeLessThanOrEqual(24 * 1024);
      expect(Buffer.byteLength(JSON.stringify(status.manifest))).toBeLessThanOrEqual(8 * 1024);
      expect(worldRunStatus.safeParse(status).error).toBeUndefined();
      expect(status.artifactCount ?? 0).toBe(h.artifacts);
      expect(JSON.stringify(status).isWellFormed()).toBe(true);
    }),
    { numRuns: 40 },
  );
}, 60_000);

test('a manifest that is too large leaves its head, its digest and where the whole is', () => {
  const metrics = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`metric-${i}`, i]));
  const big = { ...scene, results: collected(aResult(0, { metrics })) };
  const status = statusOf(big);
  expect(status.manifest).toMatchObject({ excerpt: true, status: 'succeeded', exit_code: 0, run_id: IDS.runId });
  expect(Object.keys((status.manifest as { metrics: object }).metrics)).toHaveLength(32);
  expect(status.manifestDigest).toBe(digestOf(recorded(big).words.manifest));
  expect(status.manifestPath).toBe(`${IDS.clientRunId}/run.json`);
});
