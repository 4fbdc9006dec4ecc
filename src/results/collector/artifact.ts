import { createHash } from 'node:crypto';
import type { StoredArtifact } from '../../crds/world-run-status.ts';
import { contentTypeOf, extensionOf } from '../content-type.ts';
import { globBase, globMatcher, isGlob } from './glob.ts';
import { OutputError, type OutputTree } from './output-tree.ts';
import { fileSource, tarSource, type Source } from './source.ts';
import type { TarEntry } from './tar.ts';

export interface ArtifactSpec {
  name: string;
  /** Below the output folder: a file, a folder, a pattern, or `.` for everything. */
  path: string;
  commit: boolean;
}

/** An artifact that can be uploaded: what it holds is known, nothing of it is read yet. */
export interface PlannedArtifact {
  spec: ArtifactSpec;
  source: Source;
  /** Of the file in the store, without the dot; empty for none. */
  extension: string;
  contentType: string;
  /** Files and links; absent for a single file. */
  entries: TarEntry[] | undefined;
  /** Changes when a file is written again. */
  signature: string;
  /** What was left out, in words. */
  message: string | undefined;
}

const MOST_FILES = 100_000;
const MARKERS = '.final';

export interface ArtifactLimits {
  /** Bytes. */
  maxArtifactBytes: number;
  /** Files that are no artifacts: metrics, series, progress; left out of the whole output. */
  reserved: readonly string[];
}

/** What an artifact will be, or how it ends without an upload. */
export async function planArtifact(
  tree: OutputTree,
  spec: ArtifactSpec,
  limits: ArtifactLimits,
): Promise<PlannedArtifact | StoredArtifact> {
  try {
    const plan = await planAny(tree, spec, limits);
    if ('state' in plan || plan.source.size <= limits.maxArtifactBytes) return plan;
    return ended(spec, 'Refused', `holds ${plan.source.size} bytes, the limit is ${limits.maxArtifactBytes}`);
  } catch (error) {
    if (!(error instanceof OutputError)) throw error;
    if (error.kind === 'missing') return ended(spec, 'Missing', error.message);
    if (error.kind === 'changed' || error.kind === 'unreadable') return ended(spec, 'Failed', error.message);
    return ended(spec, 'Refused', error.message);
  }
}

export function ended(spec: ArtifactSpec, state: StoredArtifact['state'], message: string): StoredArtifact {
  return { name: spec.name, path: spec.path, commit: spec.commit, state, message: message.slice(0, 512) };
}

async function planAny(
  tree: OutputTree,
  spec: ArtifactSpec,
  limits: ArtifactLimits,
): Promise<PlannedArtifact | StoredArtifact> {
  if (spec.path === '.') {
    const taken = (path: string): boolean => !limits.reserved.includes(path) && !path.startsWith(`${MARKERS}/`);
    return planTar(tree, spec, '', taken);
  }
  if (isGlob(spec.path)) {
    const base = globBase(spec.path);
    const folder = base === '' ? '' : (await tree.resolve(base)).path;
    const matches = globMatcher(spec.path);
    // The pattern speaks of the path as the user wrote it; a link on the way to it has another.
    return planTar(tree, spec, folder, (path) => matches(base + path.slice(folder.length)));
  }
  const { path, kind } = await tree.resolve(spec.path);
  if (kind === 'folder') return planTar(tree, spec, path, () => true);
  const found = await tree.look(path);
  if (found === undefined) throw new OutputError('changed', 'changed while it was looked at');
  const extension = extensionOf(path);
  return {
    spec,
    source: fileSource(tree, path, found.size),
    extension: spec.name.toLowerCase().endsWith(`.${extension}`) ? '' : extension,
    contentType: contentTypeOf(path),
    entries: undefined,
    signature: signatureOf([[path, found.size, found.mtimeMs, found.inode]]),
    message: undefined,
  };
}

async function planTar(
  tree: OutputTree,
  spec: ArtifactSpec,
  folder: string,
  taken: (path: string) => boolean,
): Promise<PlannedArtifact | StoredArtifact> {
  const entries: TarEntry[] = [];
  const seen: [string, number, number, number][] = [];
  const leftOut: string[] = [];
  for await (const { path, kind } of tree.walk(folder, leftOut)) {
    if (!taken(path)) continue;
    if (entries.length >= MOST_FILES) return ended(spec, 'Refused', `holds more than ${MOST_FILES} files`);
    if (kind === 'special') leftOut.push(`${path} (no file)`);
    else if (kind === 'link') {
      const link = await tree.linkTarget(path);
      if (link === undefined) leftOut.push(`${path} (a link out of the output folder)`);
      else {
        entries.push({ path, size: 0, executable: false, link });
        seen.push([path, 0, 0, 0]);
      }
    } else {
      const found = await tree.look(path);
      if (found === undefined) leftOut.push(`${path} (vanished)`);
      else {
        entries.push({ path, size: found.size, executable: found.executable });
        seen.push([path, found.size, found.mtimeMs, found.inode]);
      }
    }
  }
  const message = describeLeftOut(leftOut);
  if (entries.length === 0) return ended(spec, 'Missing', message ?? 'no file is there');
  return {
    spec,
    source: tarSource(tree, entries),
    extension: 'tar',
    contentType: contentTypeOf('.tar'),
    entries,
    signature: signatureOf(seen),
    message,
  };
}

function describeLeftOut(leftOut: string[]): string | undefined {
  if (leftOut.length === 0) return undefined;
  const more = leftOut.length > 5 ? ` and ${leftOut.length - 5} more` : '';
  return `left out: ${leftOut.slice(0, 5).join(', ')}${more}`.slice(0, 512);
}

function signatureOf(seen: [string, number, number, number][]): string {
  const hash = createHash('sha256');
  for (const one of seen) hash.update(`${JSON.stringify(one)}\n`);
  return hash.digest('hex');
}
