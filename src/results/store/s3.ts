import {
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type HeadObjectCommandOutput,
  type S3Client,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { RunStore, StoredObject, UploadRequest, UploadTarget } from '../contract.ts';
import { isKey, isPrefix, partsOf } from '../keys.ts';
import { StoreError } from './errors.ts';
import { answered, inWords, limited, makeClient, type S3StoreOptions } from './s3-client.ts';
import { S3Uploads } from './s3-uploads.ts';

const LARGEST_DOCUMENT = 16 * 1024 * 1024;
/** Seconds. */
const READ_URL_LIFETIME = 300;

/** The run store in a bucket. Large bytes go between the run's pod and the bucket, by URLs that are signed here. */
export class S3Store implements RunStore {
  readonly kind = 'S3';
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #root: string;
  readonly #uploads: S3Uploads;

  constructor(options: S3StoreOptions) {
    if (!isKey(options.installationId))
      throw new StoreError('invalidKey', 'the installation id cannot be part of a key');
    this.#client = makeClient(options);
    this.#bucket = options.bucket;
    this.#root = `v1/${options.installationId}/`;
    this.#uploads = new S3Uploads(this.#client, options.bucket);
  }

  async put(key: string, body: Buffer, contentType: string, signal?: AbortSignal): Promise<void> {
    if (body.length > LARGEST_DOCUMENT) throw new StoreError('tooLarge', `${body.length} bytes are no document`);
    const sha256 = createHash('sha256').update(body).digest('hex');
    await inWords(signal, async () => {
      try {
        await this.#send(key, body, contentType, sha256, signal, { IfNoneMatch: '*' });
      } catch (error) {
        // 409: two writers at once; the other one has won by the time we look.
        if (!answered(error, 412, 409)) throw error;
        await this.#same(key, { size: body.length, sha256 }, signal);
      }
    });
  }

  async replace(key: string, body: Buffer, contentType: string, signal?: AbortSignal): Promise<void> {
    const sha256 = createHash('sha256').update(body).digest('hex');
    await inWords(signal, () => this.#send(key, body, contentType, sha256, signal, {}));
  }

  async write(
    key: string,
    body: AsyncIterable<Buffer>,
    contentType: string,
    signal?: AbortSignal,
  ): Promise<{ size: number; sha256: string }> {
    const Key = this.#key(key);
    const hash = createHash('sha256');
    let size = 0;
    let broken: unknown;
    const counted = async function* (): AsyncGenerator<Buffer> {
      try {
        for await (const chunk of body) {
          hash.update(chunk);
          size += chunk.length;
          yield chunk;
        }
      } catch (error) {
        broken = error;
        throw error;
      }
    };
    const writing = inWords(signal, async () => {
      const upload = new Upload({
        client: this.#client,
        params: {
          Bucket: this.#bucket,
          Key,
          Body: Readable.from(counted(), { objectMode: false }),
          ContentType: contentType,
          IfNoneMatch: '*',
        },
        partSize: 8 * 1024 * 1024,
        queueSize: 1,
      });
      const end = (): void => void upload.abort();
      signal?.addEventListener('abort', end, { once: true });
      try {
        signal?.throwIfAborted();
        await upload.done();
      } catch (error) {
        if (!answered(error, 412, 409)) throw error;
        await this.#same(key, { size, sha256: hash.copy().digest('hex') }, signal);
      } finally {
        signal?.removeEventListener('abort', end);
      }
      return { size, sha256: hash.digest('hex') };
    });
    // The source's own failure is not the store's.
    return writing.catch((error: unknown) => {
      throw broken ?? error;
    });
  }

  async get(key: string, signal?: AbortSignal): Promise<StoredObject | undefined> {
    const head = await inWords(signal, () => this.#head(key, signal));
    if (head === undefined) return undefined;
    return {
      size: head.ContentLength ?? 0,
      contentType: head.ContentType,
      open: (range, reading) => inWords(reading, () => this.#open(key, range, reading)),
    };
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncGenerator<{ key: string; size: number; modifiedAt: Date }> {
    if (!isPrefix(prefix)) throw new StoreError('invalidKey', `no prefix: ${prefix}`);
    let token: string | undefined;
    do {
      const page = await inWords(signal, () =>
        this.#client.send(
          new ListObjectsV2Command({ Bucket: this.#bucket, Prefix: this.#root + prefix, ContinuationToken: token }),
          limited(signal),
        ),
      );
      for (const { Key, Size, LastModified } of page.Contents ?? []) {
        if (Key === undefined) continue;
        yield { key: Key.slice(this.#root.length), size: Size ?? 0, modifiedAt: LastModified ?? new Date(0) };
      }
      token = page.NextContinuationToken;
    } while (token !== undefined);
  }

  async remove(prefix: string, signal?: AbortSignal): Promise<void> {
    if (!prefix.endsWith('/')) {
      const single = { Bucket: this.#bucket, Key: this.#key(prefix) };
      await inWords(signal, () => this.#client.send(new DeleteObjectCommand(single), limited(signal)));
      return;
    }
    if (prefix === '/' || !isPrefix(prefix)) throw new StoreError('invalidKey', `no prefix: ${prefix}`);
    await inWords(signal, () => this.#uploads.removeBelow(this.#root + prefix, signal));
    let batch: string[] = [];
    for await (const { key } of this.list(prefix, signal)) {
      batch.push(this.#root + key);
      if (batch.length === 1000) {
        await this.#removeAll(batch, signal);
        batch = [];
      }
    }
    if (batch.length > 0) await this.#removeAll(batch, signal);
  }

  async initiate(request: UploadRequest, signal?: AbortSignal): Promise<UploadTarget> {
    const key = this.#key(request.key);
    return inWords(signal, async () => {
      const head = await this.#head(request.key, signal);
      if (head === undefined) return this.#uploads.initiate(key, request, signal);
      await this.#verify(head, request, signal);
      return { uploadId: 'stored', stored: true, parts: [] };
    });
  }

  async commit(request: UploadRequest, uploadId: string, signal?: AbortSignal): Promise<void> {
    const key = this.#key(request.key);
    await inWords(signal, async () => {
      let head = await this.#head(request.key, signal);
      if (head === undefined && partsOf(request.size).length > 1) {
        await this.#uploads.complete(key, request, uploadId, signal);
        head = await this.#head(request.key, signal);
      }
      if (head === undefined) throw new StoreError('noUpload', 'nothing was put');
      await this.#verify(head, request, signal);
    });
  }

  async abort(request: UploadRequest, uploadId: string, signal?: AbortSignal): Promise<void> {
    const key = this.#key(request.key);
    await inWords(signal, () => this.#uploads.abort(key, uploadId, signal));
  }

  async presignedGet(key: string): Promise<string> {
    const command = new GetObjectCommand({ Bucket: this.#bucket, Key: this.#key(key) });
    return inWords(undefined, () => getSignedUrl(this.#client, command, { expiresIn: READ_URL_LIFETIME }));
  }

  async sweep(olderThanMs: number, signal?: AbortSignal): Promise<number> {
    const before = new Date(Date.now() - olderThanMs);
    return inWords(signal, () => this.#uploads.removeBelow(this.#root, signal, before));
  }

  async check(signal?: AbortSignal): Promise<void> {
    await inWords(signal, () => this.#client.send(new HeadBucketCommand({ Bucket: this.#bucket }), limited(signal)));
  }

  #key(key: string): string {
    if (!isKey(key)) throw new StoreError('invalidKey', `no key: ${key.slice(0, 200)}`);
    return this.#root + key;
  }

  async #send(
    key: string,
    body: Buffer,
    contentType: string,
    sha256: string,
    signal: AbortSignal | undefined,
    condition: { IfNoneMatch?: string },
  ): Promise<void> {
    const ChecksumSHA256 = Buffer.from(sha256, 'hex').toString('base64');
    await this.#client.send(
      new PutObjectCommand({
        Bucket: this.#bucket,
        Key: this.#key(key),
        Body: body,
        ContentLength: body.length,
        ContentType: contentType,
        ChecksumSHA256,
        ...condition,
      }),
      limited(signal),
    );
  }

  async #head(key: string, signal?: AbortSignal): Promise<HeadObjectCommandOutput | undefined> {
    try {
      return await this.#client.send(
        new HeadObjectCommand({ Bucket: this.#bucket, Key: this.#key(key), ChecksumMode: 'ENABLED' }),
        limited(signal),
      );
    } catch (error) {
      if (answered(error, 404)) return undefined;
      throw error;
    }
  }

  async #open(key: string, range?: { start: number; end: number }, signal?: AbortSignal): Promise<Readable> {
    const { Body } = await this.#client.send(
      new GetObjectCommand({
        Bucket: this.#bucket,
        Key: this.#key(key),
        ...(range === undefined ? {} : { Range: `bytes=${range.start}-${range.end}` }),
      }),
      // Reading a large body takes as long as it takes; the socket's idle limit ends a dead one.
      signal === undefined ? {} : { abortSignal: signal },
    );
    if (!(Body instanceof Readable)) throw new StoreError('unavailable', 'S3 answered without a body');
    return Body;
  }

  /** That what is stored has the announced length and digest. */
  async #verify(head: HeadObjectCommandOutput, request: UploadRequest, signal?: AbortSignal): Promise<void> {
    if (head.ContentLength !== request.size) throw new StoreError('conflict', 'other bytes are already stored there');
    if (head.ChecksumSHA256 === undefined) return this.#same(request.key, request, signal);
    // Some stores leave out the number of parts behind the dash.
    if (head.ChecksumSHA256.replace(/-\d+$/, '') === checksumOf(request)) return;
    throw new StoreError('conflict', 'other bytes are already stored there');
  }

  /** Reads the object back: for documents, and for stores that keep no checksums. */
  async #same(key: string, wanted: { size: number; sha256: string }, signal?: AbortSignal): Promise<void> {
    const hash = createHash('sha256');
    let size = 0;
    for await (const chunk of await this.#open(key, undefined, signal)) {
      hash.update(chunk as Buffer);
      size += (chunk as Buffer).length;
    }
    if (size === wanted.size && hash.digest('hex') === wanted.sha256) return;
    throw new StoreError('conflict', 'other bytes are already stored there');
  }

  async #removeAll(keys: string[], signal?: AbortSignal): Promise<void> {
    const { Errors } = await inWords(signal, () =>
      this.#client.send(
        new DeleteObjectsCommand({
          Bucket: this.#bucket,
          Delete: { Objects: keys.map((Key) => ({ Key })), Quiet: true },
        }),
        limited(signal),
      ),
    );
    if (Errors !== undefined && Errors.length > 0) {
      throw new StoreError('unavailable', `S3 kept ${Errors.length} objects: ${Errors[0]?.Code ?? 'unknown'}`);
    }
  }
}

/** As S3 gives it: of the bytes, or for several parts of the parts' digests. */
function checksumOf(request: UploadRequest): string {
  const digests = request.partSha256 ?? [];
  if (digests.length === 0) return Buffer.from(request.sha256, 'hex').toString('base64');
  const hash = createHash('sha256');
  for (const digest of digests) hash.update(Buffer.from(digest, 'hex'));
  return hash.digest('base64');
}
