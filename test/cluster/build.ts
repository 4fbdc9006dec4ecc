import { createHash, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { link, mkdir, mkdtemp, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { identify, isAlive, run, until, type Started } from './process.ts';
import { cacheRoot } from './paths.ts';

export const KUBERNETES_VERSION = '1.36.3';
const SOURCE = join(import.meta.dirname, 'go');
const BUILD_TIMEOUT_MS = 45 * 60_000;

/** Path of the multi-call Kubernetes binary (`kubernetes kube-apiserver ...`); builds it when this version is not in the cache. */
export async function kubernetesBinary(signal?: AbortSignal): Promise<string> {
  const directory = await cached(await kubernetesKey(), async (into) => {
    const [major, minor] = KUBERNETES_VERSION.split('.');
    const version = 'k8s.io/component-base/version';
    const stamp = [`gitVersion=v${KUBERNETES_VERSION}`, `gitMajor=${major}`, `gitMinor=${minor}`];
    await go(
      ['-ldflags', `-s -w ${stamp.map((s) => `-X ${version}.${s}`).join(' ')}`, '-o', join(into, 'kubernetes'), '.'],
      signal,
    );
  });
  return join(directory, 'kubernetes');
}

/** Path of the static binary that holds a pod's sandbox. */
export async function pauseBinary(signal?: AbortSignal): Promise<string> {
  const source = await readFile(join(SOURCE, 'pause', 'main.go'));
  const directory = await cached(`pause-${digest([source])}`, (into) =>
    go(['-ldflags', '-s -w', '-o', join(into, 'pause'), './pause'], signal),
  );
  return join(directory, 'pause');
}

/** Whether `kubernetesBinary` would return at once. */
export async function isBuilt(): Promise<boolean> {
  return existsSync(join(cacheRoot(), await kubernetesKey()));
}

/**
 * The directory `key` of the cache, filled by `fill` when it is not there. What is filled appears by one rename, so an aborted run leaves
 * nothing half done, and a second process waits for the first instead of doing minutes of work twice.
 */
export async function cached(key: string, fill: (directory: string) => Promise<void>): Promise<string> {
  const final = join(cacheRoot(), key);
  if (existsSync(final)) return final;
  await mkdir(cacheRoot(), { recursive: true });
  const lock = join(cacheRoot(), `${key}.lock`);
  await takeLock(lock);
  try {
    if (existsSync(final)) return final;
    const draft = await mkdtemp(join(cacheRoot(), `.${key}-`));
    try {
      await fill(draft);
      await rename(draft, final);
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
    return final;
  } finally {
    await rm(lock, { force: true });
  }
}

/** First 16 hex digits of the SHA-256 over the parts. */
export function digest(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex').slice(0, 16);
}

async function kubernetesKey(): Promise<string> {
  const files = (await readdir(SOURCE)).filter((file) => /\.go$|^go\.(mod|sum)$/.test(file)).toSorted();
  const contents = await Promise.all(files.map((file) => readFile(join(SOURCE, file))));
  return `kubernetes-${KUBERNETES_VERSION}-${digest(contents)}`;
}

async function go(args: readonly string[], signal: AbortSignal | undefined): Promise<void> {
  const env = { ...process.env, CGO_ENABLED: '0' };
  await run(['go', 'build', '-trimpath', ...args], { cwd: SOURCE, env, timeoutMs: BUILD_TIMEOUT_MS, signal });
}

/** A lock file names its holder from the moment it exists, because it is linked into place: one left by a killed build is recognised. */
async function takeLock(path: string): Promise<void> {
  const mine = `${path}.${randomUUID()}`;
  await writeFile(mine, JSON.stringify(identify(process.pid)));
  try {
    await until(
      `the build that holds ${path}`,
      async () => {
        try {
          await link(mine, path);
          return true;
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
        }
        const holder = await readFile(path, 'utf8').catch(() => undefined);
        if (holder !== undefined && !isAlive(JSON.parse(holder) as Started)) await rm(path, { force: true });
        return undefined;
      },
      { timeoutMs: BUILD_TIMEOUT_MS, intervalMs: 500 },
    );
  } finally {
    await rm(mine, { force: true });
  }
}
