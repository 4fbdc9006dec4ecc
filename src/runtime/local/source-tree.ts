import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { SourceError } from './source-error.ts';

/** What git says of a tree, before a byte of it is written. */
export interface TreeFacts {
  bytes: number;
  files: number;
  /** Paths below the folder. */
  symlinks: string[];
}

/** Takes `git ls-tree -r -l -z` piece by piece and stops as soon as the tree is too large: an entry can be a bomb. */
export class TreeReader {
  readonly #limits: { bytes: number; files: number };
  readonly facts: TreeFacts = { bytes: 0, files: 0, symlinks: [] };
  #rest = '';

  constructor(limits: { bytes: number; files: number }) {
    this.#limits = limits;
  }

  read(chunk: Buffer): void {
    // Latin-1 keeps every byte of a name, also where a piece ends inside a character.
    const entries = (this.#rest + chunk.toString('latin1')).split('\0');
    this.#rest = entries.pop()!;
    for (const entry of entries) this.#take(entry);
  }

  #take(entry: string): void {
    const tab = entry.indexOf('\t');
    const [mode, , , size] = entry.slice(0, tab).split(/ +/);
    this.facts.files += 1;
    this.facts.bytes += Number(size) || 0;
    if (mode === '120000') this.facts.symlinks.push(utf8(Buffer.from(entry.slice(tab + 1), 'latin1')));
    if (this.facts.files > this.#limits.files) {
      throw new SourceError('TooLarge', `The source has more than ${this.#limits.files} files.`);
    }
    if (this.facts.bytes > this.#limits.bytes) throw tooLarge(this.#limits.bytes);
  }
}

/** A link that cannot be named cannot be checked. */
function utf8(name: Buffer): string {
  const text = name.toString('utf8');
  if (Buffer.from(text).equals(name)) return text;
  throw new SourceError('Unsafe', `The source holds a symbolic link whose name is not UTF-8: ${text.slice(0, 200)}`);
}

export function tooLarge(bytes: number): SourceError {
  return new SourceError(
    'TooLarge',
    `The source is larger than ${Math.floor(bytes / 2 ** 20)} MiB, the most that is fetched.`,
  );
}

/** Throws when one of the links leads out of `root`, over however many others. A link to nothing inside is no harm. */
export async function checkSymlinks(root: string, links: readonly string[]): Promise<void> {
  for (const link of links) {
    if (await leadsOut(root, link)) {
      throw new SourceError(
        'Unsafe',
        `The source holds a symbolic link that leads out of its folder: ${link.slice(0, 200)}`,
      );
    }
  }
}

/** Far beyond what the kernel follows. */
const MOST_HOPS = 64;

async function leadsOut(root: string, link: string): Promise<boolean> {
  const at: string[] = [];
  const todo = link.split('/').toReversed();
  for (let hops = 0; todo.length > 0;) {
    const part = todo.pop()!;
    if (part === '' || part === '.') continue;
    if (part === '..') {
      if (at.pop() === undefined) return true;
      continue;
    }
    const path = join(root, ...at, part);
    const found = await lstat(path).catch(() => undefined);
    if (found?.isSymbolicLink() !== true) {
      at.push(part);
      continue;
    }
    if (++hops > MOST_HOPS) return true;
    const target = await readlink(path);
    if (target.startsWith('/')) return true;
    todo.push(...target.split('/').toReversed());
  }
  return false;
}

/** Bytes of the files in a folder and below, as far as they can be seen while something else works in it. */
export async function sizeOf(directory: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(directory, { withFileTypes: true }).catch(() => [])) {
    const path = join(directory, entry.name);
    bytes += entry.isDirectory() ? await sizeOf(path) : ((await lstat(path).catch(() => undefined))?.size ?? 0);
  }
  return bytes;
}
