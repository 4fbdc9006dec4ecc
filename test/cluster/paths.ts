import { readdir } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

/** Where built binaries and images are kept between checkouts. Deleting it costs a rebuild and nothing else. */
export function cacheRoot(): string {
  return process.env['WORLDFLUX_CACHE'] ?? join(homedir(), '.cache', 'worldflux-operator');
}

const PREFIX = 'worldflux-cluster-';

/** Everything that one cluster writes lies below this directory. */
export function clusterDir(name: string): string {
  if (!/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/.test(name))
    throw new Error(`not a cluster name: ${JSON.stringify(name)}`);
  return join(tmpdir(), PREFIX + name);
}

/** Names of the clusters that have files on this host. */
export async function clusterNames(): Promise<string[]> {
  const entries = await readdir(tmpdir());
  return entries.filter((entry) => entry.startsWith(PREFIX)).map((entry) => entry.slice(PREFIX.length));
}
