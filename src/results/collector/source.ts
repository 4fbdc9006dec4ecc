import { createHash, type Hash } from 'node:crypto';
import { partsOf, partSize } from '../keys.ts';
import { OutputError, type OutputTree } from './output-tree.ts';
import { paddedSize, tarHeader, TRAILER, type TarEntry } from './tar.ts';

/** Bytes that can be read again, from any place: a retried part begins where it began. */
export interface Source {
  size: number;
  /** Bytes `from` (inclusive) to `to` (exclusive). Throws OutputError `changed` when they are not there any more. */
  read(from: number, to: number): AsyncGenerator<Buffer>;
}

export interface Digests {
  /** Lower-case hex. */
  sha256: string;
  partSha256?: string[];
  /** `sha256:<hex>` over a line `<sha256> <size> <path>` for each file, and ` link` behind that of a link; only of a tar. */
  treeDigest?: string;
}

const CHUNK = 256 * 1024;

export function fileSource(tree: OutputTree, path: string, size: number): Source {
  return { size, read: (from, to) => readRange(tree, path, from, to) };
}

/** The entries in the order they are given, as one tar. */
export function tarSource(tree: OutputTree, entries: readonly TarEntry[]): Source {
  const size = entries.reduce((sum, entry) => sum + tarHeader(entry).length + paddedSize(entry.size), TRAILER);
  return { size, read: (from, to) => readTar(tree, entries, from, to) };
}

/** Reads everything once. */
export async function digest(
  source: Source,
  tar: readonly TarEntry[] | undefined,
  signal: AbortSignal,
): Promise<Digests> {
  const whole = createHash('sha256');
  const parts = partsOf(source.size).length > 1 ? new PartHashes(partSize(source.size)) : undefined;
  const tree = tar === undefined ? undefined : new TreeDigest(tar);
  for await (const chunk of source.read(0, source.size)) {
    signal.throwIfAborted();
    whole.update(chunk);
    parts?.update(chunk);
    tree?.update(chunk);
  }
  return {
    sha256: whole.digest('hex'),
    ...(parts === undefined ? {} : { partSha256: parts.digests() }),
    ...(tree === undefined ? {} : { treeDigest: tree.digest() }),
  };
}

class PartHashes {
  readonly #size: number;
  #hash: Hash = createHash('sha256');
  #filled = 0;
  readonly #done: string[] = [];

  constructor(size: number) {
    this.#size = size;
  }

  update(chunk: Buffer): void {
    for (let at = 0; at < chunk.length;) {
      const taken = Math.min(chunk.length - at, this.#size - this.#filled);
      this.#hash.update(chunk.subarray(at, at + taken));
      this.#filled += taken;
      at += taken;
      if (this.#filled === this.#size) this.#next();
    }
  }

  digests(): string[] {
    if (this.#filled > 0) this.#next();
    return this.#done;
  }

  #next(): void {
    this.#done.push(this.#hash.digest('hex'));
    this.#hash = createHash('sha256');
    this.#filled = 0;
  }
}

/** Follows the tar's bytes and hashes each file's content on the way, so that nothing is read twice for it. */
class TreeDigest {
  readonly #entries: readonly TarEntry[];
  readonly #tree = createHash('sha256');
  #index = -1;
  #hash: Hash = createHash('sha256');
  /** Bytes still to come of the present header, content and padding. */
  #left: [number, number, number] = [0, 0, 0];

  constructor(entries: readonly TarEntry[]) {
    this.#entries = entries;
    this.#next();
  }

  update(chunk: Buffer): void {
    for (let at = 0; at < chunk.length && this.#index < this.#entries.length;) {
      const stage = this.#left.findIndex((left) => left > 0) as 0 | 1 | 2;
      const taken = Math.min(chunk.length - at, this.#left[stage]);
      if (stage === 1) this.#hash.update(chunk.subarray(at, at + taken));
      this.#left[stage] -= taken;
      at += taken;
      if (this.#left.every((left) => left === 0)) this.#finish();
    }
  }

  digest(): string {
    return `sha256:${this.#tree.digest('hex')}`;
  }

  #finish(): void {
    const entry = this.#entries[this.#index];
    if (entry === undefined) return;
    if (entry.link !== undefined) this.#hash.update(entry.link);
    const kind = entry.link === undefined ? '' : ' link';
    this.#tree.update(`${this.#hash.digest('hex')} ${entry.size} ${entry.path}${kind}\n`);
    this.#next();
  }

  #next(): void {
    this.#index += 1;
    const entry = this.#entries[this.#index];
    if (entry === undefined) return;
    this.#hash = createHash('sha256');
    this.#left = [tarHeader(entry).length, entry.size, paddedSize(entry.size) - entry.size];
  }
}

async function* readRange(tree: OutputTree, path: string, from: number, to: number): AsyncGenerator<Buffer> {
  if (from >= to) return;
  const { handle } = await tree.openFile(path);
  try {
    for (let at = from; at < to;) {
      const buffer = Buffer.allocUnsafe(Math.min(CHUNK, to - at));
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) throw new OutputError('changed', `${path} became shorter while it was read`);
      yield buffer.subarray(0, bytesRead);
      at += bytesRead;
    }
  } finally {
    await handle.close();
  }
}

async function* readTar(
  tree: OutputTree,
  entries: readonly TarEntry[],
  from: number,
  to: number,
): AsyncGenerator<Buffer> {
  let origin = 0;
  /** The wanted piece of bytes that begin at `origin`; moves on. */
  const piece = (bytes: Buffer): Buffer => {
    const wanted = bytes.subarray(Math.max(0, from - origin), Math.max(0, Math.min(bytes.length, to - origin)));
    origin += bytes.length;
    return wanted;
  };
  for (const entry of entries) {
    if (origin >= to) return;
    const header = tarHeader(entry);
    const padded = paddedSize(entry.size);
    if (origin + header.length + padded <= from) {
      origin += header.length + padded;
      continue;
    }
    const wanted = piece(header);
    if (wanted.length > 0) yield wanted;
    yield* readEntry(tree, entry, Math.max(0, from - origin), Math.min(entry.size, to - origin));
    origin += entry.size;
    const padding = piece(Buffer.alloc(padded - entry.size));
    if (padding.length > 0) yield padding;
  }
  const end = piece(Buffer.alloc(TRAILER));
  if (end.length > 0) yield end;
}

async function* readEntry(tree: OutputTree, entry: TarEntry, from: number, to: number): AsyncGenerator<Buffer> {
  if (entry.link !== undefined) return;
  try {
    yield* readRange(tree, entry.path, from, to);
  } catch (error) {
    // It was there when the archive's list was made.
    if (error instanceof OutputError && error.kind !== 'changed') {
      throw new OutputError('changed', `${entry.path} changed while it was read: it ${error.message}`, error);
    }
    throw error;
  }
}
