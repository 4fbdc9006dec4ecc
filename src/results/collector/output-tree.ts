import { constants } from 'node:fs';
import { lstat, open, readdir, readlink, realpath, type FileHandle } from 'node:fs/promises';
import { dirname, isAbsolute, join, normalize, posix, relative, resolve } from 'node:path';

/** Why something below the output folder cannot be taken. */
export class OutputError extends Error {
  override readonly name = 'OutputError';
  readonly kind: 'missing' | 'outside' | 'special' | 'unreadable' | 'changed';
  constructor(kind: OutputError['kind'], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.kind = kind;
  }
}

export interface TreeEntry {
  /** Below the output folder, with `/`. */
  path: string;
  kind: 'file' | 'link' | 'special';
}

/**
 * The output folder as seen from outside of the user's container, which shares it and may be hostile: it can put a link
 * in the place of any folder at any moment. So nothing is trusted by its path: every file is opened first, without
 * following a link and without blocking on a pipe, and the kernel is asked where the opened thing really lies.
 */
export class OutputTree {
  readonly #root: string;

  private constructor(root: string) {
    this.#root = root;
  }

  /** Throws when the folder is not there. */
  static async open(folder: string): Promise<OutputTree> {
    return new OutputTree(await realpath(folder));
  }

  /** A regular file, opened. Throws OutputError. */
  async openFile(path: string): Promise<{ handle: FileHandle; size: number }> {
    const handle = await this.#open(path, constants.O_RDONLY);
    try {
      const { size } = await this.#inside(handle, path, (stat) => stat.isFile());
      return { handle, size };
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** The first `limit` bytes of a regular file, and its size. Throws OutputError. */
  async readFile(path: string, limit: number): Promise<{ bytes: Buffer; size: number }> {
    const { handle, size } = await this.openFile(path);
    try {
      const wanted = Math.min(size, limit);
      const bytes = Buffer.alloc(wanted);
      let done = 0;
      while (done < wanted) {
        const { bytesRead } = await handle.read(bytes, done, wanted - done, done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      return { bytes: bytes.subarray(0, done), size };
    } finally {
      await handle.close();
    }
  }

  /**
   * Everything below a folder but folders, in the order of the whole path's bytes. `path` is empty for the output
   * folder itself. Folders that vanish or cannot be read are left out, by name in `skipped`.
   */
  async *walk(path: string, skipped: string[]): AsyncGenerator<TreeEntry> {
    let names;
    try {
      names = await this.#readFolder(path);
    } catch (error) {
      if (!(error instanceof OutputError) || path === '') throw error;
      if (error.kind !== 'missing') skipped.push(`${path} (${error.message})`);
      return;
    }
    for (const { name, kind } of names) {
      const below = path === '' ? name : `${path}/${name}`;
      if (kind === 'folder') yield* this.walk(below.slice(0, -1), skipped);
      else yield { path: below, kind };
    }
  }

  /** Size and what tells that a file was written again. */
  async look(path: string): Promise<{ size: number; mtimeMs: number; inode: number; executable: boolean } | undefined> {
    const found = await lstat(join(this.#root, path)).catch(() => undefined);
    if (found === undefined || !found.isFile()) return undefined;
    return { size: found.size, mtimeMs: found.mtimeMs, inode: found.ino, executable: (found.mode & 0o100) !== 0 };
  }

  /** What a path is once its links are followed. Throws OutputError for one that leads out, or nowhere. */
  async resolve(path: string): Promise<{ path: string; kind: 'file' | 'folder' }> {
    if (isAbsolute(path) || path.split('/').includes('..'))
      throw new OutputError('outside', 'must stay below the output folder');
    const real = await realpath(join(this.#root, path)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ELOOP') throw new OutputError('outside', 'is a link that leads in a circle');
      throw new OutputError('missing', 'nothing is there');
    });
    const below = relative(this.#root, real);
    if (below === '..' || below.startsWith('../'))
      throw new OutputError('outside', 'is a link that leads out of the output folder');
    const found = await lstat(real).catch(() => undefined);
    if (found === undefined) throw new OutputError('missing', 'nothing is there');
    if (!found.isFile() && !found.isDirectory())
      throw new OutputError('special', `is ${specialName(found)}, not a file`);
    return { path: below, kind: found.isFile() ? 'file' : 'folder' };
  }

  /** Where a link points, relative to its own place; undefined when that is outside of the output folder. */
  async linkTarget(path: string): Promise<string | undefined> {
    const target = await readlink(join(this.#root, path)).catch(() => undefined);
    if (target === undefined || target === '') return undefined;
    const place = dirname(join(this.#root, path));
    const below = relative(this.#root, resolve(place, target));
    if (below === '..' || below.startsWith('../')) return undefined;
    return posix.relative(posix.dirname(path), below) || '.';
  }

  async #readFolder(path: string): Promise<{ name: string; kind: TreeEntry['kind'] | 'folder' }[]> {
    const handle = await this.#open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await this.#inside(handle, path, (stat) => stat.isDirectory());
      const found = await readdir(`/proc/self/fd/${handle.fd}`, { withFileTypes: true });
      return found
        .map((entry) => {
          if (entry.isDirectory()) return { name: `${entry.name}/`, kind: 'folder' as const };
          const kind = entry.isFile() ? 'file' : entry.isSymbolicLink() ? 'link' : 'special';
          return { name: entry.name, kind: kind as TreeEntry['kind'] };
        })
        .toSorted((a, b) => (a.name < b.name ? -1 : 1));
    } finally {
      await handle.close();
    }
  }

  async #open(path: string, flags: number): Promise<FileHandle> {
    try {
      return await open(join(this.#root, path), flags | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR') throw new OutputError('missing', 'nothing is there', error);
      if (code === 'ELOOP') throw new OutputError('outside', 'is a link', error);
      if (code === 'ENXIO') throw new OutputError('special', 'is a socket or a pipe, not a file', error);
      throw new OutputError('unreadable', `cannot be read (${code ?? 'unknown'})`, error);
    }
  }

  async #inside(
    handle: FileHandle,
    path: string,
    wanted: (stat: { isFile(): boolean; isDirectory(): boolean }) => boolean,
  ): Promise<{ size: number }> {
    const stat = await handle.stat();
    if (!wanted(stat)) throw new OutputError('special', `is ${specialName(stat)}, not a file`);
    const really = await readlink(`/proc/self/fd/${handle.fd}`);
    if (really === normalize(join(this.#root, path)).replace(/(?<=.)\/$/, '')) return stat;
    if (really.endsWith(' (deleted)')) throw new OutputError('changed', 'was removed while it was read');
    throw new OutputError('outside', 'is reached through a link');
  }
}

interface Kinds {
  isDirectory(): boolean;
  isSocket?(): boolean;
  isFIFO?(): boolean;
}

function specialName(stat: Kinds): string {
  if (stat.isDirectory()) return 'a folder';
  if (stat.isSocket?.() === true) return 'a socket';
  return stat.isFIFO?.() === true ? 'a pipe' : 'a device';
}
