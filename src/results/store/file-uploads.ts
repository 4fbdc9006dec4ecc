import { createHash, type Hash } from 'node:crypto';
import { open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { UploadRequest, UploadTarget } from '../contract.ts';
import { partsOf } from '../keys.ts';
import { hashFile, makeFolder, writeFully } from './durable.ts';
import { StoreError } from './errors.ts';

interface Upload {
  request: UploadRequest;
  /** Over the first `received` bytes. */
  hash: Hash;
  /** Bytes of whole parts. */
  received: number;
  /** The PUT that writes now; a newer one ends it, because the old connection may be long dead. */
  writer: { abort: AbortController; done: Promise<void> } | undefined;
}

/**
 * Uploads under way to the file store: one folder each, with what was announced and the bytes so far. The SHA-256 runs
 * along; after a restart it is made again from the file.
 */
export class FileUploads {
  readonly #folder: string;
  readonly #live = new Map<string, Upload>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** The same request gives the same upload, with the parts that are still missing. */
  async initiate(request: UploadRequest): Promise<UploadTarget> {
    const { key, size, sha256, contentType } = request;
    const uploadId = createHash('sha256')
      .update(JSON.stringify([key, size, sha256]))
      .digest('hex')
      .slice(0, 32);
    const upload = (await this.#find(uploadId)) ?? (await this.#begin(uploadId, { key, size, sha256, contentType }));
    const parts = partsOf(size)
      .filter((part) => part.offset >= upload.received && (part.size > 0 || size === 0))
      .map((part) => ({ ...part, url: '', headers: {} }));
    return { uploadId, inOrder: true, parts };
  }

  async receive(
    { key, uploadId, part: number, size }: { key: string; uploadId: string; part: number; size: number },
    body: AsyncIterable<Buffer>,
    signal?: AbortSignal,
  ): Promise<void> {
    const upload = await this.#find(uploadId);
    if (upload === undefined || upload.request.key !== key) throw new StoreError('noUpload', 'no such upload');
    upload.writer?.abort.abort();
    await upload.writer?.done;
    const part = partsOf(upload.request.size)[number - 1];
    if (part === undefined || part.size !== size) throw new StoreError('digestMismatch', 'no such part');
    // A repeated PUT whose answer was lost.
    if (part.offset + part.size <= upload.received && part.size > 0) return;
    if (part.offset !== upload.received)
      throw new StoreError('noUpload', `bytes from ${upload.received} on are expected`);

    const abort = new AbortController();
    const ends = AbortSignal.any(signal === undefined ? [abort.signal] : [abort.signal, signal]);
    const writing = this.#write(uploadId, upload, part, body, ends);
    upload.writer = { abort, done: writing.catch(() => undefined) };
    try {
      await writing;
    } finally {
      if (upload.writer.abort === abort) upload.writer = undefined;
    }
  }

  /** Verifies and syncs; answers the file's path, to be moved. A wrong digest ends the upload. */
  async finish(request: UploadRequest, uploadId: string, signal?: AbortSignal): Promise<string> {
    const upload = await this.#find(uploadId);
    const same = upload?.request.key === request.key && upload.request.sha256 === request.sha256;
    if (upload === undefined || !same) throw new StoreError('noUpload', 'no such upload');
    if (upload.received !== request.size) {
      throw new StoreError('noUpload', `${upload.received} of ${request.size} bytes are there`);
    }
    signal?.throwIfAborted();
    if (upload.hash.copy().digest('hex') !== request.sha256) {
      await this.remove(uploadId);
      throw new StoreError('digestMismatch', 'the SHA-256 is not the one that was announced');
    }
    const path = this.#data(uploadId);
    const handle = await open(path, 'r+');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    return path;
  }

  async remove(uploadId: string): Promise<void> {
    if (!UPLOAD_ID.test(uploadId)) return;
    const upload = this.#live.get(uploadId);
    this.#live.delete(uploadId);
    upload?.writer?.abort.abort();
    await upload?.writer?.done;
    await rm(join(this.#folder, uploadId), { recursive: true, force: true });
  }

  async removeBelow(prefix: string): Promise<void> {
    for (const uploadId of await readdir(this.#folder)) {
      const upload = await this.#find(uploadId);
      if (upload?.request.key.startsWith(prefix)) await this.remove(uploadId);
    }
  }

  /** Removes what was last written before `before` (milliseconds); answers how many. */
  async sweep(before: number): Promise<number> {
    let swept = 0;
    for (const uploadId of await readdir(this.#folder)) {
      if (this.#live.get(uploadId)?.writer !== undefined) continue;
      const path = join(this.#folder, uploadId);
      const found =
        (await stat(this.#data(uploadId)).catch(() => undefined)) ?? (await stat(path).catch(() => undefined));
      if (found === undefined || found.mtimeMs >= before) continue;
      await this.remove(uploadId);
      await rm(path, { recursive: true, force: true });
      swept += 1;
    }
    return swept;
  }

  async #write(
    uploadId: string,
    upload: Upload,
    part: { offset: number; size: number },
    body: AsyncIterable<Buffer>,
    signal: AbortSignal,
  ): Promise<void> {
    const hash = upload.hash.copy();
    let at = part.offset;
    const end = part.offset + part.size;
    const handle = await open(this.#data(uploadId), 'r+');
    try {
      for await (const chunk of until(body, signal)) {
        if (at + chunk.length > end) throw new StoreError('tooLarge', `more than the ${part.size} announced bytes`);
        hash.update(chunk);
        await writeFully(handle, chunk, at);
        at += chunk.length;
      }
    } finally {
      await handle.close();
    }
    if (at !== end) throw new StoreError('noUpload', `the part ended after ${at - part.offset} of ${part.size} bytes`);
    upload.hash = hash;
    upload.received = end;
  }

  async #begin(uploadId: string, request: UploadRequest): Promise<Upload> {
    const folder = join(this.#folder, uploadId);
    await makeFolder(folder);
    await writeFile(this.#data(uploadId), '', { mode: 0o640 });
    await writeFile(join(folder, 'request.json'), JSON.stringify(request));
    const upload: Upload = { request, hash: createHash('sha256'), received: 0, writer: undefined };
    this.#live.set(uploadId, upload);
    return upload;
  }

  async #find(uploadId: string): Promise<Upload | undefined> {
    const live = this.#live.get(uploadId);
    if (live !== undefined || !UPLOAD_ID.test(uploadId)) return live;
    const text = await readFile(join(this.#folder, uploadId, 'request.json'), 'utf8').catch(() => undefined);
    if (text === undefined || text === '') return undefined;
    const request = JSON.parse(text) as UploadRequest;
    const there = await this.#bytesOf(uploadId, request.size);
    if (there === undefined) return undefined;
    const upload: Upload = { request, ...there, writer: undefined };
    // Another request may have found it meanwhile, and be writing.
    const raced = this.#live.get(uploadId);
    if (raced !== undefined) return raced;
    this.#live.set(uploadId, upload);
    return upload;
  }

  /** Undefined where they went since its folder was seen: it is being swept or taken back by another request. */
  async #bytesOf(uploadId: string, announced: number): Promise<Pick<Upload, 'hash' | 'received'> | undefined> {
    try {
      const received = wholeParts(announced, (await stat(this.#data(uploadId))).size);
      return { received, hash: await hashFile(this.#data(uploadId), received) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  #data(uploadId: string): string {
    return join(this.#folder, uploadId, 'data');
  }
}

const UPLOAD_ID = /^[0-9a-f]{32}$/;

/** Bytes of the parts that lie wholly within the first `there` bytes. */
function wholeParts(size: number, there: number): number {
  return partsOf(size).reduce((sum, part) => (part.offset + part.size <= there ? part.offset + part.size : sum), 0);
}

/** Ends a body that stalls when the signal does; without it a dead connection would hold the upload's turn. */
async function* until(body: AsyncIterable<Buffer>, signal: AbortSignal): AsyncGenerator<Buffer> {
  const end = (): void => {
    if (body instanceof Readable) body.destroy(new StoreError('aborted', 'the upload was ended'));
  };
  signal.addEventListener('abort', end, { once: true });
  // Leaving the loop must not destroy a request: the refusal has to get through.
  const chunks = body instanceof Readable ? (body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) : body;
  try {
    for await (const chunk of chunks) {
      if (signal.aborted) throw new StoreError('aborted', 'the upload was ended');
      yield chunk;
    }
  } finally {
    signal.removeEventListener('abort', end);
  }
}
