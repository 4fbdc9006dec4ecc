import { createHash } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { buildManifest } from '../../src/controller/run/manifest.ts';
import { aProfile } from '../../src/controller/testing/a-profile.ts';
import { aRun } from '../../src/controller/testing/a-run.ts';
import { UploadSet } from '../../src/upstream/upload-set.ts';
import { nested, plain, renamed } from '../fakes/worldflux/dialects.ts';
import { TEST_KEY } from '../fakes/worldflux/server.ts';
import { ownRedactor } from '../../src/controller/sync/redactor.ts';
import { baseManifest, SyncWorld, until } from './sync/world.ts';

/** A run full of things that must not leave, and a server that keeps every byte that arrives. */

let world: SyncWorld | undefined;
afterEach(async () => {
  await world?.close();
  world = undefined;
});

let serial = 0;
/** A word that stands nowhere else. */
const canary = (what: string) => `canary-${what}-${(serial += 1)}`.toLowerCase();

const forbidden = {
  namespace: canary('namespace'),
  name: canary('object-name'),
  node: canary('node'),
  envValue: canary('env-value'),
  secretName: canary('secret-name'),
  volume: canary('claim'),
  nodeSelector: canary('selector'),
  queue: canary('queue'),
  gitSecret: canary('git-secret'),
  cluster: canary('cluster'),
  uncommitted: canary('uncommitted-bytes'),
  pullSecret: canary('pull-secret'),
  logToken: `wfx_${'Canary0'.repeat(4)}`,
  argvToken: `hf_${'Canary1'.repeat(5)}`,
  urlQuery: canary('url-query'),
  metricToken: `wbx_${'canary2'.repeat(4)}`,
};
const allowed = {
  committed: canary('committed-bytes'),
  logLine: canary('log-line'),
  envName: 'CANARY_ENV_NAME',
  task: 'rollout',
  metric: 'canary_metric',
};

function manifestOfCanaries(clientRunId: string) {
  const run = aRun(forbidden.name)
    .inNamespace(forbidden.namespace)
    .asking({
      image: `ghcr.io/acme/wm:1`,
      command: [
        'python',
        'train.py',
        '--token',
        forbidden.argvToken,
        `https://data.example/x?sig=${forbidden.urlQuery}`,
      ],
      env: [{ name: allowed.envName, value: forbidden.envValue }],
      nodeSelector: { 'kubernetes.io/hostname': forbidden.nodeSelector },
      queueName: forbidden.queue,
      volumes: [{ name: 'data', mountPath: '/data', persistentVolumeClaim: { claimName: forbidden.volume } }],
      source: { git: { url: 'https://git.example/a.git', secretRef: { name: forbidden.gitSecret } } },
      task: allowed.task,
    })
    .live();
  const profile = aProfile('cpu').local({ imagePullSecrets: [{ name: forbidden.pullSecret }] });
  return buildManifest({
    clientRunId,
    runId: '20260301T120000Z-1a2b3c4d',
    spec: run.spec,
    profile: { name: 'cpu', digest: `sha256:${'1'.repeat(64)}`, spec: profile.spec() },
    ending: { status: 'failed', reason: 'NonZeroExit', message: forbidden.cluster, exitCode: 1 } as never,
    attempts: [
      {
        number: 1,
        jobUID: forbidden.cluster,
        node: forbidden.node,
        exitCode: 1,
        reason: 'NonZeroExit',
        message: forbidden.node,
      },
    ],
    attemptCount: 1,
    results: [
      {
        rank: 0,
        podUid: forbidden.node,
        metrics: { [allowed.metric]: 1, [`password=${forbidden.metricToken}`]: 2 },
        metricsOmitted: 0,
        artifacts: [],
        via: 'Gateway',
        collectedAt: '2026-03-01T12:00:00Z',
      },
    ],
    log: undefined,
    durationSeconds: 1,
    costUSD: undefined,
    runtimeFacts: { kind: 'Job' },
    operatorVersion: '0.1.0',
    finishedAt: '2026-03-01T12:00:00Z',
  });
}

describe('what leaves', () => {
  it.each([plain, nested, renamed])('holds nothing but the closed set ($name)', async (dialect) => {
    world = await SyncWorld.open({ fake: { dialect, record: true } });
    world.setKey(TEST_KEY, forbidden.namespace);
    const probe = await world.addRun({ name: forbidden.name, namespace: forbidden.namespace });
    const manifest = manifestOfCanaries(probe.clientRunId);
    world.queue.deleteRun(probe.uid);
    world.runs.clear();
    const committed = Buffer.from(allowed.committed);
    const sha256 = createHash('sha256').update(committed).digest('hex');
    const entry = {
      name: 'model',
      path: 'model',
      rank: null,
      size_bytes: committed.length,
      count: 1,
      sha256,
      tree_digest: null,
      content_type: null,
      commit: true,
      state: 'Stored',
    };
    // A log line cut anywhere still hides its secret: the store reads it in pieces of its own.
    const log = `${allowed.logLine}\n${'x'.repeat(65_530)} ${forbidden.logToken}\nAuthorization: Bearer ${forbidden.argvToken}\n`;
    const run = await world.addRun({
      name: forbidden.name,
      namespace: forbidden.namespace,
      artifacts: { model: committed },
      kept: { private: Buffer.from(forbidden.uncommitted) },
      log,
      manifest: { ...manifest, artifacts: [entry] },
    });
    world.start();
    await until(`synced: ${world.conditionOf(run.uid)?.message}`, () => world?.conditionOf(run.uid)?.status === 'True');

    const received = world.fake.received();
    const found = (words: string) =>
      ['utf8', 'base64', 'hex'].some((form) => received.includes(Buffer.from(words).toString(form as 'utf8')));
    expect(Object.entries(forbidden).filter(([, words]) => found(words))).toEqual([]);
    // The same reading finds what may leave, so it would have found the rest.
    expect(Object.entries(allowed).filter(([, words]) => !found(words))).toEqual([]);
    expect(world.fake.traffic.violations).toEqual([]);
  });

  it('shows the key to the API alone', async () => {
    world = await SyncWorld.open({ fake: { record: true } });
    const run = await world.addRun({ artifacts: { model: Buffer.from('bytes') } });
    world.start();
    await until('synced', () => world?.conditionOf(run.uid)?.status === 'True');
    expect(world.fake.traffic.of('upload').map(({ headers }) => headers.authorization)).toEqual([undefined]);
    expect(world.fake.traffic.of('openapi').map(({ headers }) => headers.authorization)).toEqual([undefined]);
    expect(world.fake.traffic.of('runs').map(({ headers }) => headers.authorization)).toEqual([`Bearer ${TEST_KEY}`]);
  });
});

describe('UploadSet', () => {
  const id = 'd9b1d7db-4c5e-5c6f-8f0a-1b2c3d4e5f60';

  it.each([
    ['a namespace', { namespace: 'team' }],
    ['a pod spec', { pod: { spec: {} } }],
    ['env values', { env: { A: 'b' } }],
  ])('cannot hold %s', (_, more) => {
    expect(() => UploadSet.fromManifest({ ...baseManifest(id, 'r'), ...more }, ownRedactor)).toThrow(
      /Unrecognized key/,
    );
  });

  it('cannot hold the value of an environment variable', () => {
    const manifest = baseManifest(id, 'r');
    const environment = [{ name: 'A', source: 'literal', value: 'b' }];
    expect(() => UploadSet.fromManifest({ ...manifest, environment }, ownRedactor)).toThrow(/Unrecognized key/);
  });

  it('cannot hold a metric that is no finite number', () => {
    expect(() => UploadSet.fromManifest({ ...baseManifest(id, 'r'), metrics: { a: 'text' } }, ownRedactor)).toThrow(
      /expected number/,
    );
    expect(() => UploadSet.fromManifest({ ...baseManifest(id, 'r'), metrics: { a: Number.NaN } }, ownRedactor)).toThrow(
      /expected number/,
    );
  });

  it('takes secrets out of every text and out of names, and leaves digests alone', () => {
    const token = `wfx_${'a1B2'.repeat(6)}`;
    const manifest = {
      ...baseManifest(id, 'r'),
      command: ['run', token],
      metrics: { [`loss/${token}`]: 1 },
      runtime: { note: `Bearer ${token}` },
    };
    const set = UploadSet.fromManifest(manifest, ownRedactor);
    expect(set.manifest).not.toContain(token);
    expect(set.manifest).toContain(manifest.input_digest);
    expect(UploadSet.fromBytes(set.manifest).manifestDigest).toBe(set.manifestDigest);
  });

  it('takes a text that was cut in the middle of a replacement, and a name that is as long as it may be', () => {
    const cut = `${'x'.repeat(496)} password=[red`;
    const name = `${'y'.repeat(115)} token=abc1234`.slice(0, 128);
    const manifest = { ...baseManifest(id, 'r'), command: [cut.slice(0, 512)], metrics: { [name]: 1 } };
    const sent = UploadSet.fromManifest(manifest, ownRedactor).manifest;
    expect(sent).toContain('x'.repeat(496));
    expect(sent).not.toContain('abc1234');
  });

  it('names the artifacts that are marked and stored, and no others', () => {
    const entry = {
      name: 'a',
      path: 'a',
      rank: null,
      size_bytes: 1,
      count: 1,
      sha256: 'f'.repeat(64),
      tree_digest: null,
      content_type: null,
      commit: true,
      state: 'Stored',
    };
    const artifacts = [entry, { ...entry, name: 'b', commit: false }, { ...entry, name: 'c', state: 'Missing' }];
    expect(
      UploadSet.fromManifest({ ...baseManifest(id, 'r'), artifacts }, ownRedactor).artifacts.map(({ name }) => name),
    ).toEqual(['a']);
  });
});
