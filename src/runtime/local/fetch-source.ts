import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { checkSource, gitAccess } from './git-access.ts';
import { Git } from './git.ts';
import { SOURCE_CONFIG_VARIABLE, type SourceConfig } from './source-config.ts';
import { SourceError } from './source-error.ts';
import { checkSymlinks, sizeOf, tooLarge, TreeReader } from './source-tree.ts';

export interface FetchLimits {
  /** Of what comes over the wire, and again of the files. */
  bytes: number;
  files: number;
  milliseconds: number;
  /** Pauses before a server that could not be reached is tried again. */
  retryMilliseconds: readonly number[];
}

const LIMITS: FetchLimits = {
  bytes: 4 * 2 ** 30,
  files: 500_000,
  milliseconds: 30 * 60_000,
  retryMilliseconds: [1000, 3000, 9000],
};

/**
 * Fills `config.target` with one folder of a repository at one ref, without history, and answers the commit (hex).
 * Throws SourceError; what was begun is removed then.
 */
export async function fetchSource(
  config: SourceConfig,
  signal: AbortSignal,
  limits: FetchLimits = LIMITS,
): Promise<string> {
  const url = checkSource(config);
  const deadline = AbortSignal.timeout(limits.milliseconds);
  const either = AbortSignal.any([signal, deadline]);
  await empty(config.target);
  // Inside the target: the same file system, so that the files arrive by a rename, and the volume's limit holds for all.
  const work = await mkdtemp(join(config.target, '.worldflux-fetch-'));
  try {
    return await fetchInto(config, url, work, limits, either);
  } catch (error) {
    if (error instanceof SourceError) throw error;
    if (deadline.aborted) throw new SourceError('TimedOut', 'Fetching the source took too long.', error);
    if (signal.aborted) throw new SourceError('Stopped', 'Fetching the source was stopped.', error);
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOSPC') throw new SourceError('TooLarge', 'The source does not fit onto its volume.', error);
    throw new SourceError('Unknown', `The source could not be written (${code ?? 'unexpected error'}).`, error);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function fetchInto(
  config: SourceConfig,
  url: URL,
  work: string,
  limits: FetchLimits,
  signal: AbortSignal,
): Promise<string> {
  const dirs = { home: join(work, 'home'), repository: join(work, 'repository'), tree: join(work, 'tree') };
  for (const dir of Object.values(dirs)) await mkdir(dir, { mode: 0o755 });
  const git = new Git(dirs.home, await gitAccess(url, config.credentialsDir, dirs.home));
  const inRepository = ['--git-dir', dirs.repository];

  await git.text(['init', '--quiet', '--bare', '--template=', dirs.repository], signal);
  const fetch = [...inRepository, 'fetch', '--quiet', '--depth=1', '--no-tags', '--no-recurse-submodules'];
  // The address as it was judged, not as it was written: two parsers may see two hosts in one odd string.
  await withRetries(limits.retryMilliseconds, signal, () =>
    bounded(dirs.repository, limits.bytes, signal, (inner) => git.text([...fetch, '--', url.href, config.ref], inner)),
  );
  const commit = await git.text([...inRepository, 'rev-parse', '--verify', '--quiet', 'FETCH_HEAD^{commit}'], signal);

  const folder = config.path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/');
  await checkFolder(git, [...inRepository, 'cat-file', '-t', `${commit}:${folder}`], config.path, signal);
  const reader = new TreeReader(limits);
  const list = [...inRepository, 'ls-tree', '-r', '-l', '-z', '--full-tree', `${commit}:${folder}`];
  await git.stream(list, (chunk) => reader.read(chunk), signal);

  const checkout = ['--work-tree', dirs.tree, 'checkout', '--quiet', '--force', '--no-recurse-submodules', commit];
  // A tree without files has nothing that a pathspec could match.
  if (reader.facts.files > 0) {
    await git.text([...inRepository, ...checkout, '--', folder === '' ? '.' : folder], signal);
  }
  const root = join(dirs.tree, folder);
  await mkdir(root, { recursive: true });
  await checkSymlinks(root, reader.facts.symlinks);
  for (const name of await readdir(root)) await rename(join(root, name), join(config.target, name));
  return commit;
}

async function checkFolder(git: Git, args: readonly string[], path: string, signal: AbortSignal): Promise<void> {
  const kind = await git.text(args, signal).catch((error: unknown) => {
    if (error instanceof SourceError) return undefined;
    throw error;
  });
  if (kind === 'tree') return;
  const message = kind === undefined ? 'is not in the repository' : 'is not a folder';
  throw new SourceError('NotFound', `spec.source.git.path: ${path.slice(0, 200)} ${message} at this ref.`);
}

async function empty(target: string): Promise<void> {
  await mkdir(target, { recursive: true });
  for (const name of await readdir(target)) await rm(join(target, name), { recursive: true, force: true });
}

async function withRetries<T>(pauses: readonly number[], signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
  for (const milliseconds of pauses) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof SourceError) || error.why !== 'Unreachable') throw error;
    }
    await pause(milliseconds, undefined, { signal });
  }
  return attempt();
}

/** Ends the work when the folder grows beyond `bytes`: the server says nowhere how much it is going to send. */
async function bounded<T>(
  directory: string,
  bytes: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = new AbortController();
  const look = async () => {
    if ((await sizeOf(directory)) > bytes) over.abort(tooLarge(bytes));
  };
  const watch = setInterval(() => void look(), 250);
  try {
    const result = await work(AbortSignal.any([signal, over.signal]));
    // A transfer may be shorter than one look.
    if ((await sizeOf(directory)) > bytes) throw tooLarge(bytes);
    return result;
  } finally {
    clearInterval(watch);
  }
}

/** The init container: the commit, or one sentence of what is wrong, becomes its termination message. */
export async function main(): Promise<void> {
  const stopping = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stopping.abort());
  // The user's container may run under another uid.
  process.umask(0o022);
  const given = process.env[SOURCE_CONFIG_VARIABLE];
  if (given === undefined) {
    process.stderr.write(`${SOURCE_CONFIG_VARIABLE} is not set: this mode runs in a pod that the operator made\n`);
    process.exitCode = 2;
    return;
  }
  const config = JSON.parse(given) as SourceConfig;
  let message: string;
  try {
    message = await fetchSource(config, stopping.signal);
    process.stdout.write(`fetched commit ${message}\n`);
  } catch (error) {
    message = error instanceof SourceError ? error.message : 'The source could not be fetched.';
    process.stderr.write(`${message}\n`);
    process.exitCode = 1;
  }
  await writeFile(config.terminationLog ?? '/dev/termination-log', message);
}
