import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { StoreUnderTest } from '../results/store-conformance.ts';
import { requestFor } from '../results/store-conformance.ts';
import { s3Store } from '../results/stores.ts';

/**
 * What somebody can do with a presigned URL that was meant for one upload. The server is not ours and checks
 * conditions as S3 does, but no signatures and not every checksum: what is signed is looked at in the URL itself (../results/s3.test.ts).
 */

let under: StoreUnderTest;
beforeAll(async () => {
  under = await s3Store();
});
afterAll(() => under.stop());

const put = (url: string, headers: Readonly<Record<string, string>>, body: Buffer): Promise<Response> =>
  fetch(url, { method: 'PUT', headers, body: new Uint8Array(body) });
const checksum = (body: Buffer): string => createHash('sha256').update(body).digest('base64');

it('a URL that was used once changes nothing any more', async () => {
  const body = randomBytes(1000);
  const request = requestFor('run-a/model.bin', body);
  const target = await under.store.initiate(request);
  const [part] = target.parts;
  expect((await put(part!.url, part!.headers, body)).status).toBe(200);
  await under.store.commit(request, target.uploadId);

  const forged = randomBytes(1000);
  const again = await put(part!.url, { ...part!.headers, 'x-amz-checksum-sha256': checksum(forged) }, forged);
  expect(again.status).toBe(412);
  const stored = await (await under.store.get(request.key))!.open();
  const kept: Buffer[] = [];
  for await (const chunk of stored) kept.push(chunk as Buffer);
  expect(Buffer.concat(kept).equals(body)).toBe(true);
});

it('other bytes than the announced ones are refused, and never become the artifact', async () => {
  const request = requestFor('run-b/model.bin', randomBytes(1000));
  const target = await under.store.initiate(request);
  const [part] = target.parts;
  const forged = randomBytes(1000);
  // S3 itself refuses a checksum that is not the signed one; whoever gets around that meets the digest that was announced.
  await put(part!.url, { ...part!.headers, 'x-amz-checksum-sha256': checksum(forged) }, forged);
  await expect(under.store.commit(request, target.uploadId)).rejects.toMatchObject({ name: 'StoreError' });
});

it('nothing but the one object, method and place stands in the signed words', async () => {
  const request = requestFor('run-c/model.bin', randomBytes(10));
  const [part] = (await under.store.initiate(request)).parts;
  const read = (await under.store.presignedGet('run-c/model.bin')) ?? '';
  const [upload, download] = [new URL(part!.url), new URL(read)];
  expect(upload.pathname).toMatch(/run-c\/model\.bin$/);
  expect(upload.searchParams.get('x-id')).toBe('PutObject');
  expect(download.searchParams.get('x-id')).toBe('GetObject');
  for (const url of [upload, download]) {
    expect(url.searchParams.get('X-Amz-Credential')).toMatch(/\/us-east-1\/s3\/aws4_request$/);
    expect([...url.searchParams.keys()].filter((key) => /secret/i.test(key))).toEqual([]);
  }
});
