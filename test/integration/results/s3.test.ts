import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { isStoreError } from '../../../src/results/store/errors.ts';
import { S3Store } from '../../../src/results/store/s3.ts';
import type { StoreUnderTest } from './store-conformance.ts';
import { requestFor } from './store-conformance.ts';
import { s3Store } from './stores.ts';

const MIB = 2 ** 20;
let under: StoreUnderTest;
beforeAll(async () => {
  under = await s3Store();
});
afterAll(() => under.stop());

const signedHeaders = (url: string): string[] =>
  (new URL(url).searchParams.get('X-Amz-SignedHeaders') ?? '').split(';');

it('signs length, digest and write-once for a single piece, for at most 15 minutes', async () => {
  const request = requestFor('run/a.bin', randomBytes(1000));
  const { parts } = await under.store.initiate(request);
  const [part] = parts;
  expect(signedHeaders(part?.url ?? '')).toEqual(
    expect.arrayContaining(['content-length', 'content-type', 'host', 'if-none-match', 'x-amz-checksum-sha256']),
  );
  expect(part?.headers).toEqual({
    'content-length': '1000',
    'content-type': 'application/octet-stream',
    'if-none-match': '*',
    'x-amz-checksum-sha256': Buffer.from(request.sha256, 'hex').toString('base64'),
  });
  const query = new URL(part?.url ?? '').searchParams;
  expect(query.get('X-Amz-Expires')).toBe('900');
  // A second checksum, which the SDK adds by default, is refused by many stores.
  expect([...query.keys()].filter((key) => /checksum/i.test(key))).toEqual([]);
});

it('signs length and digest of every part, and makes URLs for 32 at once', async () => {
  const part = randomBytes(32).toString('hex');
  const size = 40 * 64 * MIB;
  const request = {
    ...requestFor('run/b.bin', Buffer.alloc(0)),
    size,
    partSha256: Array.from({ length: 40 }, () => part),
  };
  const target = await under.store.initiate(request);
  expect(target.parts).toHaveLength(32);
  expect(target.more).toBe(true);
  for (const { url, headers } of target.parts) {
    expect(signedHeaders(url)).toEqual(expect.arrayContaining(['content-length', 'x-amz-checksum-sha256']));
    expect(headers).toEqual({
      'content-length': String(64 * MIB),
      'x-amz-checksum-sha256': Buffer.from(part, 'hex').toString('base64'),
    });
  }
  await under.store.abort(request, target.uploadId);
});

it('wants the digests of the parts', async () => {
  const request = { ...requestFor('run/c.bin', Buffer.alloc(0)), size: 100 * MIB };
  await expect(under.store.initiate(request)).rejects.toMatchObject({ kind: 'digestMismatch' });
});

it('gives a URL of five minutes for reading', async () => {
  await under.store.put('run/d.txt', Buffer.from('hello'), 'text/plain');
  const url = (await under.store.presignedGet('run/d.txt')) ?? '';
  expect(new URL(url).searchParams.get('X-Amz-Expires')).toBe('300');
  expect(await (await fetch(url)).text()).toBe('hello');
});

it('says that a store is away, without a word about how it is reached', async () => {
  const store = new S3Store({
    bucket: 'runs',
    installationId: 'test',
    region: 'us-east-1',
    endpoint: 'http://127.0.0.1:9',
    forcePathStyle: true,
    credentials: { accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'not-to-be-seen' },
  });
  const error: unknown = await store.put('run/x', Buffer.from('x'), 'text/plain').catch((caught: unknown) => caught);
  expect(isStoreError(error, 'unavailable')).toBe(true);
  expect(String(error)).not.toMatch(/127\.0\.0\.1|AKIA|not-to-be-seen/);
});

it('says that a bucket is not there', async () => {
  const endpoint = new URL((await under.store.presignedGet('x')) ?? '').origin;
  const store = new S3Store({
    bucket: 'no-such-bucket',
    installationId: 'test',
    region: 'us-east-1',
    endpoint,
    forcePathStyle: true,
    credentials: { accessKeyId: 'a', secretAccessKey: 'b' },
  });
  await expect(store.check()).rejects.toMatchObject({ kind: 'unavailable' });
});
