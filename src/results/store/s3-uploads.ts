import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  PutObjectCommand,
  UploadPartCommand,
  type Part,
  type S3Client,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import type { UploadRequest, UploadTarget } from '../contract.ts';
import { partsOf } from '../keys.ts';
import { StoreError } from './errors.ts';
import { answered, limited } from './s3-client.ts';

/** Seconds. A collector that is slower than this asks again. */
const URL_LIFETIME = 900;
/** URLs made at once: a collector puts these, and then asks for the next. */
const URLS = 32;
/** The uploadId of an object that is put in one piece; S3 knows no upload for it. */
const SINGLE = 'single';

/** Presigned uploads: every URL is good for exactly one length and one SHA-256. */
export class S3Uploads {
  readonly #client: S3Client;
  readonly #bucket: string;

  constructor(client: S3Client, bucket: string) {
    this.#client = client;
    this.#bucket = bucket;
  }

  async initiate(key: string, request: UploadRequest, signal?: AbortSignal): Promise<UploadTarget> {
    const all = partsOf(request.size);
    if (all.length === 1) return { uploadId: SINGLE, parts: [await this.#single(key, request)] };
    if (request.partSha256?.length !== all.length) {
      throw new StoreError('digestMismatch', `${all.length} digests of parts are needed`);
    }
    let put = request.uploadId === undefined ? undefined : await this.#parts(key, request.uploadId, signal);
    const uploadId = put === undefined ? await this.#create(key, request, signal) : (request.uploadId ?? '');
    put ??= new Map();
    const missing = all.filter((part) => !isPut(put.get(part.number), part.size, digestOf(request, part.number)));
    const parts = await Promise.all(
      missing.slice(0, URLS).map(async (part) => {
        const checksum = base64(digestOf(request, part.number));
        const command = new UploadPartCommand({
          Bucket: this.#bucket,
          Key: key,
          UploadId: uploadId,
          PartNumber: part.number,
          ContentLength: part.size,
          ChecksumSHA256: checksum,
        });
        const signed = ['content-length', 'x-amz-checksum-sha256'];
        const url = await getSignedUrl(this.#client, command, signing(signed));
        return { ...part, url, headers: { 'content-length': String(part.size), 'x-amz-checksum-sha256': checksum } };
      }),
    );
    return { uploadId, parts, more: missing.length > URLS };
  }

  /** Throws `noUpload` when parts are missing or the upload is over. */
  async complete(key: string, request: UploadRequest, uploadId: string, signal?: AbortSignal): Promise<void> {
    const put = await this.#parts(key, uploadId, signal);
    if (put === undefined) throw new StoreError('noUpload', 'no such upload');
    const parts = partsOf(request.size).map(({ number, size }) => {
      const part = put.get(number);
      if (!isPut(part, size, digestOf(request, number)))
        throw new StoreError('noUpload', `part ${number} is not there`);
      return { PartNumber: number, ETag: part?.ETag, ChecksumSHA256: part?.ChecksumSHA256 };
    });
    try {
      await this.#client.send(
        new CompleteMultipartUploadCommand({
          Bucket: this.#bucket,
          Key: key,
          UploadId: uploadId,
          MultipartUpload: { Parts: parts },
          IfNoneMatch: '*',
        }),
        limited(signal),
      );
    } catch (error) {
      // Another upload of the same key was faster; whether its bytes are the same is looked at next.
      if (!answered(error, 412, 409)) throw error;
      await this.abort(key, uploadId, signal);
    }
  }

  async abort(key: string, uploadId: string, signal?: AbortSignal): Promise<void> {
    if (uploadId === SINGLE || uploadId === 'stored') return;
    try {
      await this.#client.send(
        new AbortMultipartUploadCommand({ Bucket: this.#bucket, Key: key, UploadId: uploadId }),
        limited(signal),
      );
    } catch (error) {
      if (!answered(error, 'NoSuchUpload', 404)) throw error;
    }
  }

  /** Ends the uploads below a prefix, of those begun before a moment when it is given; answers how many. */
  async removeBelow(prefix: string, signal?: AbortSignal, before?: Date): Promise<number> {
    let removed = 0;
    let after: { KeyMarker?: string | undefined; UploadIdMarker?: string | undefined } = {};
    for (;;) {
      const page = await this.#client.send(
        new ListMultipartUploadsCommand({ Bucket: this.#bucket, Prefix: prefix, ...after }),
        limited(signal),
      );
      for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
        if (Key === undefined || UploadId === undefined || !Key.startsWith(prefix)) continue;
        if (before !== undefined && (Initiated === undefined || Initiated >= before)) continue;
        await this.abort(Key, UploadId, signal);
        removed += 1;
      }
      if (page.IsTruncated !== true || page.NextKeyMarker === undefined) return removed;
      after = { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker };
    }
  }

  async #single(key: string, request: UploadRequest): Promise<UploadTarget['parts'][number]> {
    const checksum = base64(request.sha256);
    const command = new PutObjectCommand({
      Bucket: this.#bucket,
      Key: key,
      ContentLength: request.size,
      ContentType: request.contentType,
      ChecksumSHA256: checksum,
      IfNoneMatch: '*',
    });
    const headers = {
      'content-length': String(request.size),
      'content-type': request.contentType,
      'x-amz-checksum-sha256': checksum,
      'if-none-match': '*',
    };
    const url = await getSignedUrl(this.#client, command, signing(Object.keys(headers)));
    return { number: 1, offset: 0, size: request.size, url, headers };
  }

  async #create(key: string, request: UploadRequest, signal?: AbortSignal): Promise<string> {
    const { UploadId } = await this.#client.send(
      new CreateMultipartUploadCommand({
        Bucket: this.#bucket,
        Key: key,
        ContentType: request.contentType,
        ChecksumAlgorithm: 'SHA256',
      }),
      limited(signal),
    );
    if (UploadId === undefined) throw new StoreError('unavailable', 'S3 began no upload');
    return UploadId;
  }

  /** Undefined when the upload is over or unknown. */
  async #parts(key: string, uploadId: string, signal?: AbortSignal): Promise<Map<number, Part> | undefined> {
    const parts = new Map<number, Part>();
    let marker: string | undefined;
    try {
      do {
        const page = await this.#client.send(
          new ListPartsCommand({ Bucket: this.#bucket, Key: key, UploadId: uploadId, PartNumberMarker: marker }),
          limited(signal),
        );
        for (const part of page.Parts ?? []) parts.set(part.PartNumber ?? 0, part);
        marker = page.IsTruncated === true ? page.NextPartNumberMarker : undefined;
      } while (marker !== undefined);
    } catch (error) {
      if (answered(error, 'NoSuchUpload', 404)) return undefined;
      throw error;
    }
    return parts;
  }
}

/** The named headers are signed and stay headers: in the query, where the presigner would put them, nobody checks them. */
function signing(headers: string[]): Parameters<typeof getSignedUrl>[2] {
  const names = new Set(headers);
  return { expiresIn: URL_LIFETIME, unhoistableHeaders: names, signableHeaders: new Set([...names, 'host']) };
}

/** Where the store lists no checksums, the signed URL vouches for them, and the whole is read back after completion. */
function isPut(part: Part | undefined, size: number, sha256: string): boolean {
  if (part === undefined || part.Size !== size) return false;
  return part.ChecksumSHA256 === undefined || part.ChecksumSHA256 === base64(sha256);
}

function digestOf(request: UploadRequest, part: number): string {
  return request.partSha256?.[part - 1] ?? '';
}

function base64(hex: string): string {
  return Buffer.from(hex, 'hex').toString('base64');
}
