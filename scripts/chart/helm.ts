import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cached } from '../../test/cluster/build.ts';
import { cacheRoot } from '../../test/cluster/paths.ts';
import { run } from '../../test/cluster/process.ts';

/** One version for the demo, the tests and install.yaml, whatever the host has. */
export const HELM_VERSION = '3.22.0';
const KEY = `helm-${HELM_VERSION}`;

/**
 * Path of helm in the cache. With `install` it is built there first if need be (Go, about two minutes); a host without Go uses the helm
 * that it has. Throws when there is neither.
 */
export async function findHelm(options: { install: true; signal?: AbortSignal }): Promise<string>;
export async function findHelm(options: { install: boolean; signal?: AbortSignal }): Promise<string | undefined>;
export async function findHelm(options: { install: boolean; signal?: AbortSignal }): Promise<string | undefined> {
  const { install, signal } = options;
  const built = join(cacheRoot(), KEY, 'helm');
  if (existsSync(built)) return built;
  if (!install) return undefined;
  if (await answers('go', 'version')) return join(await cached(KEY, (into) => build(into, signal)), 'helm');
  if (await answers('helm', 'version', '--short')) return 'helm';
  throw new Error('helm is not installed, and there is no Go to build it with: install either');
}

async function build(into: string, signal: AbortSignal | undefined): Promise<void> {
  const env = { ...process.env, GOBIN: into, CGO_ENABLED: '0' };
  const what = `helm.sh/helm/v3/cmd/helm@v${HELM_VERSION}`;
  await run(['go', 'install', '-trimpath', '-ldflags', '-s -w', what], { env, timeoutMs: 30 * 60_000, signal });
}

async function answers(...argv: string[]): Promise<boolean> {
  return run(argv, { timeoutMs: 20_000 }).then(
    () => true,
    () => false,
  );
}
