import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

/** Where built binaries and images are kept between checkouts. Deleting it costs a rebuild and nothing else. */
export function cacheRoot(): string {
  return process.env['WORLDFLUX_CACHE'] ?? join(homedir(), '.cache', 'worldflux-operator');
}

/** Everything that one cluster writes lies below this directory. */
export function clusterDir(name: string): string {
  if (!/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/.test(name))
    throw new Error(`not a cluster name: ${JSON.stringify(name)}`);
  return join(tmpdir(), `worldflux-cluster-${name}`);
}
