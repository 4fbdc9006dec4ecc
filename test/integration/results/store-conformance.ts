import { createHash, randomBytes } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readAll } from '../../../src/results/documents.ts';
import { partSize } from '../../../src/results/keys.ts';
import type { RunStore, UploadRequest, UploadTarget } from '../../../src/results/contract.ts';
import { isStoreError } from '../../../src/results/store/errors.ts';

/** One store under test. `reopen` gives a second one on the same bytes, as after a restart. */
export interface StoreUnderTest {
  store: RunStore;
  /** False where the store says a made-up time for the start of an upload. */
  datesUploads: boolean;
  reopen(): Promise<RunStore>;
  stop(): Promise<void>;
}

const MIB = 1024 * 1024;

/** What every run store promises, seen on a real one. */
export function storeConformance(name: string, start: () => Promise<StoreUnderTest>): void {
  describe(`run store: ${name}`, () => {
    let under: StoreUnderTest;
    let store: RunStore;
    beforeAll(async () => {
      under = await start();
      store = under.store;
    });
    afterAll(() => under.stop());

    it('gives back what was put, whole and in ranges', async () => {
      const body = randomBytes(100_000);
      await store.put('run-a/1/result.json', body, 'application/json');
      const object = await store.get('run-a/1/result.json');
      expect(object?.size).toBe(body.length);
      expect(object?.contentType).toBe('application/json');
      expect(object && (await readAll(object)).equals(body)).toBe(true);
      const chunks: Buffer[] = [];
      for await (const chunk of await object!.open({ start: 10, end: 19 })) chunks.push(chunk as Buffer);
      expect(Buffer.concat(chunks)).toEqual(body.subarray(10, 20));
      expect(await store.get('run-a/1/none.json')).toBeUndefined();
      expect(await store.get('run-a/1')).toBeUndefined();
    });

    it('writes once: the same bytes again are a success, others are refused', async () => {
      await store.put('run-b/x.json', Buffer.from('one'), 'application/json');
      await store.put('run-b/x.json', Buffer.from('one'), 'application/json');
      await expect(store.put('run-b/x.json', Buffer.from('two'), 'application/json')).rejects.toMatchObject({
        kind: 'conflict',
      });
      expect((await readAll((await store.get('run-b/x.json'))!)).toString()).toBe('one');
      await store.replace('run-b/x.json', Buffer.from('three'), 'application/json');
      expect((await readAll((await store.get('run-b/x.json'))!)).toString()).toBe('three');
    });

    it('lets one of many writers at once win', async () => {
      const outcomes = await Promise.allSettled(
        Array.from({ length: 8 }, (_, i) => store.put('run-c/x', Buffer.from(`writer ${i}`), 'text/plain')),
      );
      expect(outcomes.filter((o) => o.status === 'fulfilled')).toHaveLength(1);
      expect(outcomes.filter((o) => o.status === 'rejected' && isStoreError(o.reason, 'conflict'))).toHaveLength(7);
    });

    it('refuses keys that could leave their place', async () => {
      for (const key of [
        '../x',
        'a/../b',
        '/etc/passwd',
        'a//b',
        '',
        'a/',
        './a',
        'a/.hidden',
        'a\0b',
        'a\\..\\b',
        'ä',
        'x'.repeat(901),
      ]) {
        await expect(store.put(key, Buffer.from('x'), 'text/plain')).rejects.toMatchObject({ kind: 'invalidKey' });
        await expect(store.get(key)).rejects.toMatchObject({ kind: 'invalidKey' });
      }
      await expect(store.remove('/')).rejects.toMatchObject({ kind: 'invalidKey' });
      await expect(store.remove('')).rejects.toMatchObject({ kind: 'invalidKey' });
    });

    it('lists in the order of the bytes, and removes below a prefix alone', async () => {
      const keys = ['run-d/a-b/1', 'run-d/a.b', 'run-d/a/1', 'run-d/a/2', 'run-d/ab', 'run-dd/1'];
      for (const key of keys) await store.put(key, Buffer.from(key), 'text/plain');
      expect(await names(store, 'run-d/')).toEqual(keys.slice(0, 5));
      await store.remove('run-d/a/');
      expect(await names(store, 'run-d/')).toEqual(['run-d/a-b/1', 'run-d/a.b', 'run-d/ab']);
      await store.remove('run-d/ab');
      await store.remove('run-d/ab');
      await store.remove('run-d/never/');
      expect(await names(store, 'run-d/')).toEqual(['run-d/a-b/1', 'run-d/a.b']);
      expect(await names(store, 'run-dd/')).toEqual(['run-dd/1']);
    });

    it('writes a stream of unknown length, and nothing of one that breaks', async () => {
      const body = randomBytes(20 * MIB);
      const written = await store.write('run-e/log.txt', pieces(body, 100_000), 'text/plain');
      expect(written).toEqual({ size: body.length, sha256: sha256(body) });
      expect((await store.get('run-e/log.txt'))?.size).toBe(body.length);
      const broken = async function* (): AsyncGenerator<Buffer> {
        yield* pieces(body, 100_000);
        throw new Error('the source broke');
      };
      await expect(store.write('run-e/broken.txt', broken(), 'text/plain')).rejects.toThrow('the source broke');
      expect(await names(store, 'run-e/')).toEqual(['run-e/log.txt']);
      await expect(store.write('run-e/log.txt', pieces(Buffer.from('x'), 1), 'text/plain')).rejects.toMatchObject({
        kind: 'conflict',
      });
    });

    it.each([0, 1, 5 * MIB])('takes an upload of %i bytes; initiate and commit may come twice', async (size) => {
      const body = randomBytes(size);
      const request = requestFor(`run-f/${size}/a.bin`, body);
      await store.initiate(request);
      const target = await store.initiate(request);
      expect(await names(store, `run-f/${size}/`)).toEqual([]);
      await putAll(store, request, target, body);
      await store.commit(request, target.uploadId);
      await store.commit(request, target.uploadId);
      expect((await store.get(request.key))?.size).toBe(size);
      expect(await store.initiate(request)).toMatchObject({ stored: true, parts: [] });
      await expect(store.initiate(requestFor(request.key, randomBytes(size + 1)))).rejects.toMatchObject({
        kind: 'conflict',
      });
    });

    it('takes a large upload in parts, over a restart', async () => {
      const body = randomBytes(130 * MIB);
      const request = requestFor('run-g/big.bin', body);
      const target = await store.initiate(request);
      expect(target.parts).toHaveLength(3);
      await putAll(store, request, { ...target, parts: target.parts.slice(0, 1) }, body);
      await expect(store.commit(request, target.uploadId)).rejects.toMatchObject({ kind: 'noUpload' });
      const again = await under.reopen();
      const rest = await again.initiate({ ...request, uploadId: target.uploadId });
      expect(rest.parts.map((part) => part.number)).toEqual([2, 3]);
      await putAll(again, request, rest, body);
      await again.commit(request, rest.uploadId);
      const object = await again.get(request.key);
      const hash = createHash('sha256');
      for await (const chunk of await object!.open()) hash.update(chunk as Buffer);
      expect(hash.digest('hex')).toBe(request.sha256);
    });

    it('commits nothing that is not what was announced', async () => {
      const body = randomBytes(1000);
      const request = { ...requestFor('run-h/a.bin', body), sha256: sha256(Buffer.from('other')) };
      const target = await store.initiate(request);
      await putAll(store, request, target, body).catch(() => undefined);
      await expect(store.commit(request, target.uploadId)).rejects.toMatchObject({ name: 'StoreError' });
      const short = requestFor('run-h/b.bin', body);
      const shortTarget = await store.initiate(short);
      await putAll(store, short, shortTarget, body.subarray(0, 999)).catch(() => undefined);
      await expect(store.commit(short, shortTarget.uploadId)).rejects.toMatchObject({ name: 'StoreError' });
    });

    it('aborts and sweeps uploads that nobody finished', async () => {
      const body = randomBytes(70 * MIB);
      const request = requestFor('run-i/a.bin', body);
      const target = await store.initiate(request);
      await putAll(store, request, { ...target, parts: target.parts.slice(0, 1) }, body);
      await store.abort(request, target.uploadId);
      await store.abort(request, target.uploadId);
      await expect(store.commit(request, target.uploadId)).rejects.toMatchObject({ kind: 'noUpload' });
      const second = await store.initiate(request);
      const recent = await store.sweep(3_600_000);
      expect(under.datesUploads ? recent : 0).toBe(0);
      expect(recent + (await store.sweep(-3_600_000))).toBeGreaterThanOrEqual(1);
      await expect(store.commit(request, second.uploadId)).rejects.toMatchObject({ kind: 'noUpload' });
    });

    it('ends with the caller’s signal', async () => {
      await expect(
        store.write('run-j/x', pieces(randomBytes(MIB), 1000), 'text/plain', AbortSignal.abort()),
      ).rejects.toMatchObject({ kind: 'aborted' });
      expect(await names(store, 'run-j/')).toEqual([]);
    });

    it('says that it takes writes', async () => {
      await store.check();
    });
  });
}

export function requestFor(key: string, body: Buffer): UploadRequest {
  const each = partSize(body.length);
  const partSha256: string[] = [];
  for (let at = 0; at < body.length; at += each) partSha256.push(sha256(body.subarray(at, at + each)));
  const request: UploadRequest = {
    key,
    size: body.length,
    sha256: sha256(body),
    contentType: 'application/octet-stream',
  };
  return partSha256.length > 1 ? { ...request, partSha256 } : request;
}

/** As a collector does: to the URL it was given, or to the gateway's store. */
async function putAll(store: RunStore, request: UploadRequest, target: UploadTarget, body: Buffer): Promise<void> {
  for (const part of target.parts) {
    const bytes = body.subarray(part.offset, part.offset + part.size);
    if (part.url === '') {
      const of = { key: request.key, uploadId: target.uploadId, part: part.number, size: part.size };
      await store.receive!(of, pieces(bytes, 1 << 20));
    } else await put(part.url, { ...part.headers, 'content-length': String(bytes.length) }, bytes);
  }
}

async function put(url: string, headers: Record<string, string>, body: Buffer): Promise<void> {
  const status = await new Promise<number>((resolve, reject) => {
    const req = httpRequest(url, { method: 'PUT', headers }, (res) => {
      res.resume();
      res.on('end', () => resolve(res.statusCode ?? 0));
    });
    req.on('error', reject);
    req.end(body);
  });
  if (status !== 200) throw new Error(`PUT answered ${status}`);
}

async function* pieces(body: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < body.length; at += size) yield body.subarray(at, at + size);
}

async function names(store: RunStore, prefix: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { key } of store.list(prefix)) found.push(key);
  return found;
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
