import { createReadStream } from 'node:fs';
import { opendir, readdir, rename, rm, stat } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { contentTypeOf } from '../content-type.ts';
import type { RunStore, StoredObject, UploadRequest, UploadTarget } from '../contract.ts';
import { isKey, isPrefix } from '../keys.ts';
import { fileError, hashFile, makeFolder, publish, writeTemporary } from './durable.ts';
import { StoreError } from './errors.ts';
import { FileUploads } from './file-uploads.ts';

export interface FileStoreOptions {
  /** Usually the mount of a volume. */
  folder: string;
  installationId: string;
}

const LARGEST_DOCUMENT = 16 * 1024 * 1024;

/**
 * The run store in a folder. One process writes to it: exclusion is kept in memory, because network file systems that
 * people mount here know neither hard links nor locks that can be trusted.
 */
export class FileStore implements RunStore {
  readonly kind = 'Files';
  readonly #objects: string;
  readonly #temporary: string;
  readonly #uploads: FileUploads;
  readonly #writing = new Map<string, Promise<void>>();

  private constructor(root: string) {
    this.#objects = join(root, 'objects');
    this.#temporary = join(root, 'tmp');
    this.#uploads = new FileUploads(join(root, 'uploads'));
  }

  /** Makes the folders where they are missing. Throws StoreError. */
  static async open({ folder, installationId }: FileStoreOptions): Promise<FileStore> {
    if (!isKey(installationId)) throw new StoreError('invalidKey', 'the installation id cannot be a folder’s name');
    const root = join(folder, 'v1', installationId);
    const store = new FileStore(root);
    await inWords(async () => {
      for (const name of ['objects', 'tmp', 'uploads']) await makeFolder(join(root, name));
    });
    return store;
  }

  async put(key: string, body: Buffer, _contentType: string, signal?: AbortSignal): Promise<void> {
    if (body.length > LARGEST_DOCUMENT) throw new StoreError('tooLarge', `${body.length} bytes are no document`);
    await this.write(key, [body], _contentType, signal);
  }

  async write(
    key: string,
    body: AsyncIterable<Buffer> | Iterable<Buffer>,
    _contentType: string,
    signal?: AbortSignal,
  ): Promise<{ size: number; sha256: string }> {
    const target = this.#path(key);
    return inWords(async () => {
      const { path, size, sha256 } = await writeTemporary(this.#temporary, body, signal);
      try {
        await this.#once(key, () => placeOnce(path, target, size, sha256));
      } finally {
        await rm(path, { force: true });
      }
      return { size, sha256 };
    });
  }

  async replace(key: string, body: Buffer, _contentType: string, signal?: AbortSignal): Promise<void> {
    const target = this.#path(key);
    await inWords(async () => {
      const { path } = await writeTemporary(this.#temporary, [body], signal);
      await this.#once(key, () => publish(path, target));
    });
  }

  async get(key: string): Promise<StoredObject | undefined> {
    const path = this.#path(key);
    const found = await inWords(() => statFile(path));
    if (found === undefined) return undefined;
    return {
      size: found.size,
      contentType: contentTypeOf(key),
      open: async (range, signal) => openFile(path, range, signal),
    };
  }

  async *list(prefix: string): AsyncGenerator<{ key: string; size: number; modifiedAt: Date }> {
    if (!isPrefix(prefix)) throw new StoreError('invalidKey', `no prefix: ${prefix}`);
    yield* walk(join(this.#objects, prefix), prefix);
  }

  async remove(prefix: string): Promise<void> {
    const name = prefix.endsWith('/') ? prefix.slice(0, -1) : prefix;
    const path = this.#path(name);
    await inWords(async () => {
      await this.#uploads.removeBelow(prefix);
      // Renamed first: readers see all of it or nothing, however long the deleting takes.
      const gone = join(this.#temporary, randomBytes(16).toString('hex'));
      const moved = await rename(path, gone).then(
        () => true,
        (error: NodeJS.ErrnoException) => {
          if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return false;
          throw error;
        },
      );
      if (moved) await rm(gone, { recursive: true, force: true });
    });
  }

  async initiate(request: UploadRequest, signal?: AbortSignal): Promise<UploadTarget> {
    const path = this.#path(request.key);
    return inWords(async () => {
      const there = await statFile(path);
      if (there !== undefined) {
        await compare(path, there.size, request, signal);
        return { uploadId: 'stored', stored: true, parts: [] };
      }
      return this.#uploads.initiate(request);
    });
  }

  async receive(
    { uploadId, part, size, key }: { key: string; uploadId: string; part: number; size: number },
    body: AsyncIterable<Buffer>,
    signal?: AbortSignal,
  ): Promise<void> {
    await inWords(() => this.#uploads.receive({ key, uploadId, part, size }, body, signal));
  }

  async commit(request: UploadRequest, uploadId: string, signal?: AbortSignal): Promise<void> {
    const target = this.#path(request.key);
    await inWords(() =>
      this.#once(request.key, async () => {
        const there = await statFile(target);
        if (there !== undefined) await compare(target, there.size, request, signal);
        else await publish(await this.#uploads.finish(request, uploadId, signal), target);
        await this.#uploads.remove(uploadId);
      }),
    );
  }

  async abort(_request: UploadRequest, uploadId: string): Promise<void> {
    await inWords(() => this.#uploads.remove(uploadId));
  }

  async presignedGet(): Promise<undefined> {
    return undefined;
  }

  async sweep(olderThanMs: number): Promise<number> {
    const before = Date.now() - olderThanMs;
    return inWords(async () => {
      let swept = await this.#uploads.sweep(before);
      for (const name of await readdir(this.#temporary)) {
        const path = join(this.#temporary, name);
        const found = await stat(path).catch(() => undefined);
        if (found === undefined || found.mtimeMs >= before) continue;
        await rm(path, { recursive: true, force: true });
        swept += 1;
      }
      return swept;
    });
  }

  async check(signal?: AbortSignal): Promise<void> {
    await inWords(async () => {
      const { path } = await writeTemporary(this.#temporary, [Buffer.from('ok')], signal);
      await rm(path);
    });
  }

  #path(key: string): string {
    if (!isKey(key)) throw new StoreError('invalidKey', `no key: ${key.slice(0, 200)}`);
    return join(this.#objects, key);
  }

  /** One writer a key at a time: what is there is looked at and replaced in one step. */
  async #once(key: string, work: () => Promise<void>): Promise<void> {
    const before = this.#writing.get(key);
    const mine = (before ?? Promise.resolve()).catch(() => undefined).then(work);
    this.#writing.set(key, mine);
    try {
      await mine;
    } finally {
      if (this.#writing.get(key) === mine) this.#writing.delete(key);
    }
  }
}

async function placeOnce(temporary: string, target: string, size: number, sha256: string): Promise<void> {
  const there = await statFile(target);
  if (there === undefined) await publish(temporary, target);
  else await compare(target, there.size, { size, sha256 });
}

/** A second write of the same bytes is a success. */
async function compare(
  path: string,
  thereSize: number,
  wanted: { size: number; sha256: string },
  signal?: AbortSignal,
): Promise<void> {
  const same = thereSize === wanted.size && (await hashFile(path, thereSize, signal)).digest('hex') === wanted.sha256;
  if (!same) throw new StoreError('conflict', 'other bytes are already stored there');
}

async function statFile(path: string): Promise<{ size: number } | undefined> {
  try {
    const found = await stat(path);
    return found.isFile() ? found : undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}

async function openFile(path: string, range?: { start: number; end: number }, signal?: AbortSignal): Promise<Readable> {
  const stream = createReadStream(path, { ...range, ...(signal === undefined ? {} : { signal }) });
  await new Promise<void>((resolve, reject) => stream.once('open', () => resolve()).once('error', reject)).catch(
    (error: unknown) => {
      throw fileError(error);
    },
  );
  return stream;
}

/** In the order of the whole key's bytes, as S3 lists: a folder sorts as its name with the slash. */
async function* walk(folder: string, prefix: string): AsyncGenerator<{ key: string; size: number; modifiedAt: Date }> {
  const names: { name: string; isFolder: boolean }[] = [];
  try {
    for await (const entry of await opendir(folder)) {
      names.push(
        entry.isDirectory() ? { name: `${entry.name}/`, isFolder: true } : { name: entry.name, isFolder: false },
      );
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return;
    throw fileError(error);
  }
  names.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name, isFolder } of names) {
    if (isFolder) {
      yield* walk(join(folder, name), `${prefix}${name}`);
      continue;
    }
    const found = await stat(join(folder, name)).catch(() => undefined);
    if (found !== undefined) yield { key: `${prefix}${name}`, size: found.size, modifiedAt: found.mtime };
  }
}

async function inWords<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw fileError(error);
  }
}
