import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { logSegmentPrefix } from '../../../src/results/keys.ts';
import type { ArtifactList, ArtifactLocation } from '../../../src/results/api/protocol.ts';
import { fileStore, s3Store } from '../results/stores.ts';
import type { StoreUnderTest } from '../results/store-conformance.ts';
import { createRun, finishRun, idOf } from './finished-run.ts';
import { Served, type Person } from './served.ts';

/** What a person reads of a run, with `kubectl get --raw` and the rights of a reader. */

const VIDEO = randomBytes(300_000);
const sha256 = (bytes: Buffer | string): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** The bytes themselves, or those that a location leads to. */
async function fetched(answer: string): Promise<string> {
  if (!answer.startsWith('{')) return answer;
  const location = JSON.parse(answer) as ArtifactLocation;
  expect(location).toMatchObject({ kind: 'WorldRunArtifactLocation', fileName: 'notes.txt', sizeBytes: 1 });
  expect(Date.parse(location.expiresAt) - Date.now()).toBeLessThanOrEqual(300_000);
  return (await fetch(location.url)).text();
}

describe.each([
  ['files', fileStore],
  ['S3', s3Store],
])('in a store of %s', (_, openStore) => {
  let under: StoreUnderTest;
  let served: Served;
  let namespace: string;
  let reader: Person;

  beforeAll(async () => {
    under = await openStore();
    served = await Served.start(under.store);
    namespace = await served.namespace();
    reader = await served.reader('rita', namespace);
  });
  afterAll(async () => {
    await served?.stop();
    await under?.stop();
  });

  test('the log, the manifest and the artifacts of a run whose pod is gone are read with a client certificate', async () => {
    const { client } = served;
    const ref = { namespace, name: 'done' };
    const log = 'one\ntwo\n'.repeat(5000);
    const left = { log, artifacts: { 'video.mp4': VIDEO, 'notes.txt': Buffer.from('n') }, metrics: { loss: 0.1 } };
    const run = await finishRun(client, under.store, await createRun(client, ref), left);

    expect(await reader.read(ref, 'log')).toBe(log);

    const manifest = await reader.read(ref, 'manifest');
    expect(JSON.parse(manifest)).toMatchObject({ metrics: { loss: 0.1 }, status: 'succeeded' });
    expect(sha256(manifest)).toBe(run.status?.manifestDigest);

    const list = JSON.parse(await reader.read(ref, 'artifacts')) as ArtifactList;
    expect(list).toMatchObject({
      kind: 'WorldRunArtifacts',
      complete: true,
      metadata: { ...ref, uid: run.metadata?.uid },
      items: [
        {
          name: 'video',
          rank: 0,
          state: 'Stored',
          fileName: 'video.mp4',
          sizeBytes: VIDEO.length,
          sha256: sha256(VIDEO),
        },
        { name: 'notes', fileName: 'notes.txt' },
      ],
    });

    expect(await fetched(await reader.read(ref, 'artifacts', { name: 'notes' }))).toBe('n');
  });

  test('a manifest too large for the status is read whole', async () => {
    const { client } = served;
    const ref = { namespace, name: 'large' };
    const metrics = Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`metric-${i}`, i / 7]));
    const run = await finishRun(client, under.store, await createRun(client, ref), { metrics });
    expect(Object.keys(run.status?.manifest?.['metrics'] as object)).toHaveLength(32);
    const manifest = await reader.read(ref, 'manifest');
    expect((JSON.parse(manifest) as { metrics: object }).metrics).toEqual(metrics);
    expect(sha256(manifest)).toBe(run.status?.manifestDigest);
  });

  test('a large artifact is where a store of S3 says it is, and comes through the API server from a store of files', async () => {
    const ref = { namespace, name: 'done' };
    const answer = await reader.read(ref, 'artifacts', { name: 'video' });
    expect(answer.includes('WorldRunArtifactLocation')).toBe(under.store.kind === 'S3');
  });

  test('of a run that goes on there is the log so far, and words in place of the rest', async () => {
    const { client } = served;
    const ref = { namespace, name: 'going-on' };
    const run = await createRun(client, ref);
    await expect(reader.read(ref, 'log')).rejects.toThrow(/nothing is stored of the log/);
    const runUid = run.metadata?.uid ?? '';
    const prefix = logSegmentPrefix({ clientRunId: idOf({ namespace, uid: runUid }), runUid, attempt: 1 }, 0);
    await under.store.put(`${prefix}0001`, Buffer.from('first\n'), 'text/plain');
    await under.store.put(`${prefix}0002`, Buffer.from('second\n'), 'text/plain');
    expect(await reader.read(ref, 'log')).toBe('first\nsecond\n');
    await expect(reader.read(ref, 'manifest')).rejects.toThrow(/no manifest yet: it is Pending/);
    expect(JSON.parse(await reader.read(ref, 'artifacts'))).toMatchObject({ complete: false, items: [] });
  });

  test('what is not there is refused with words that say what is', async () => {
    const { client } = served;
    const ref = { namespace, name: 'few' };
    await finishRun(client, under.store, await createRun(client, ref), { artifacts: { 'a.bin': Buffer.from('x') } });
    await expect(reader.read(ref, 'artifacts', { name: 'b' })).rejects.toThrow(/has no artifact b; it has: a/);
    await expect(reader.read(ref, 'artifacts', { name: 'a', rank: 'x' })).rejects.toThrow(
      /rank: must be a whole number/,
    );
    await expect(reader.read({ namespace, name: 'nobody' }, 'log')).rejects.toThrow(/"nobody" not found/);
    await expect(
      served.admin.kubectl(
        'delete',
        '--raw',
        `/apis/results.worldflux.ai/v1alpha1/namespaces/${namespace}/worldruns/few/log`,
      ),
    ).rejects.toThrow(/read with GET/);
  });
});
