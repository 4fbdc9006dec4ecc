import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { StoreError } from './errors.ts';

/** Files that are there wholly or not at all, also after a power cut. */

/** Makes a folder and its parents; each new name is on disk before the next is made. */
export async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made));
}

/** Without it a crash may lose the name of a file whose bytes are safe. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Moves a synced file to where readers see it. */
export async function publish(temporary: string, target: string): Promise<void> {
  await makeFolder(dirname(target));
  await rename(temporary, target).catch(async (error: NodeJS.ErrnoException) => {
    // Somebody removed the run between the two calls.
    if (error.code !== 'ENOENT') throw error;
    await makeFolder(dirname(target));
    await rename(temporary, target);
  });
  await syncFolder(dirname(target));
}

/** Streams into a new file below `folder` and syncs it; leaves nothing behind when the stream fails. */
export async function writeTemporary(
  folder: string,
  body: AsyncIterable<Buffer> | Iterable<Buffer>,
  signal?: AbortSignal,
): Promise<{ path: string; size: number; sha256: string }> {
  const path = join(folder, randomBytes(16).toString('hex'));
  const hash = createHash('sha256');
  let size = 0;
  const handle = await open(path, 'wx', 0o640);
  try {
    for await (const chunk of body) {
      signal?.throwIfAborted();
      hash.update(chunk);
      await writeFully(handle, chunk, size);
      size += chunk.length;
    }
    await handle.sync();
  } catch (error) {
    await handle.close();
    await rm(path, { force: true });
    throw error;
  }
  await handle.close();
  return { path, size, sha256: hash.digest('hex') };
}

/** `write` may take fewer bytes than it is given. */
export async function writeFully(
  handle: Awaited<ReturnType<typeof open>>,
  chunk: Buffer,
  position: number,
): Promise<void> {
  for (let done = 0; done < chunk.length;) {
    const { bytesWritten } = await handle.write(chunk, done, chunk.length - done, position + done);
    done += bytesWritten;
  }
}

/** Hash state after the first `length` bytes of a file. Throws when it is shorter. */
export async function hashFile(
  path: string,
  length: number,
  signal?: AbortSignal,
): Promise<ReturnType<typeof createHash>> {
  const hash = createHash('sha256');
  if (length === 0) return hash;
  let seen = 0;
  const options = { end: length - 1, highWaterMark: 1 << 18, ...(signal === undefined ? {} : { signal }) };
  for await (const chunk of createReadStream(path, options)) {
    hash.update(chunk as Buffer);
    seen += (chunk as Buffer).length;
  }
  if (seen < length) throw new StoreError('noUpload', `only ${seen} of ${length} bytes are there`);
  return hash;
}

/** Names what the file system said in the store's own words. */
export function fileError(error: unknown): unknown {
  if (error instanceof StoreError || !(error instanceof Error)) return error;
  const { code } = error as NodeJS.ErrnoException;
  if (error.name === 'AbortError') return new StoreError('aborted', 'ended by the caller', error);
  if (code === 'ENOSPC' || code === 'EDQUOT') return new StoreError('full', 'no space left in the run store', error);
  if (code !== undefined && code.startsWith('E')) return new StoreError('unavailable', `run store: ${code}`, error);
  return error;
}
