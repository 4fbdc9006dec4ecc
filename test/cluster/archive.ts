import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { pack } from 'tar-stream';

export interface Entry {
  path: string;
  mode: number;
  /** A file's bytes; a directory has none, a link names its target. */
  content?: Uint8Array;
  link?: string;
}

export interface ImageConfig {
  Entrypoint?: readonly string[];
  Cmd?: readonly string[];
  Env?: readonly string[];
  User?: string;
  WorkingDir?: string;
}

/** Writes an image of one layer as a docker archive, which containerd, Docker, buildah and kind all load. */
export async function writeImage(
  target: string,
  o: { tag: string; entries: readonly Entry[]; config: ImageConfig },
): Promise<void> {
  const layer = await tar(o.entries);
  const diffId = `sha256:${createHash('sha256').update(layer).digest('hex')}`;
  const config = Buffer.from(
    JSON.stringify({
      architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
      os: 'linux',
      created: '2024-01-01T00:00:00Z',
      config: o.config,
      rootfs: { type: 'layers', diff_ids: [diffId] },
      history: [{ created: '2024-01-01T00:00:00Z' }],
    }),
  );
  const configName = `${createHash('sha256').update(config).digest('hex')}.json`;
  const manifest = Buffer.from(JSON.stringify([{ Config: configName, RepoTags: [o.tag], Layers: ['layer.tar'] }]));
  const archive = pack();
  for (const [name, content] of [
    ['manifest.json', manifest],
    [configName, config],
    ['layer.tar', layer],
  ] as const) {
    archive.entry({ name, mode: 0o644 }, content);
  }
  archive.finalize();
  await pipeline(archive, createWriteStream(target));
}

export async function fileEntry(path: string, source: string, mode = 0o755): Promise<Entry> {
  return { path, mode, content: await readFile(source) };
}

async function tar(entries: readonly Entry[]): Promise<Buffer> {
  const archive = pack();
  for (const { path, mode, content, link } of entries) {
    const mtime = new Date(0);
    if (link !== undefined) archive.entry({ name: path, mode, mtime, type: 'symlink', linkname: link });
    else if (content === undefined) archive.entry({ name: path, mode, mtime, type: 'directory' });
    else archive.entry({ name: path, mode, mtime }, Buffer.from(content));
  }
  archive.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of archive) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
