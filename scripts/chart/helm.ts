import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cached } from '../../test/cluster/build.ts';
import { cacheRoot } from '../../test/cluster/paths.ts';
import { run } from '../../test/cluster/process.ts';

/** One version for the demo, the tests and install.yaml: other versions render the same chart with other white space. */
export const HELM_VERSION = '3.22.0';
const KEY = `helm-${HELM_VERSION}`;

/** Whether {@link findHelm} would have nothing to build. */
export function helmIsCached(): boolean {
  return existsSync(join(cacheRoot(), KEY));
}

/** Path of helm from the cache. With `install` it is built there first if need be (Go, about two minutes). */
export async function findHelm(options: { install: true; signal?: AbortSignal }): Promise<string>;
export async function findHelm(options: { install: boolean; signal?: AbortSignal }): Promise<string | undefined>;
export async function findHelm({
  install,
  signal,
}: {
  install: boolean;
  signal?: AbortSignal;
}): Promise<string | undefined> {
  if (!install && !helmIsCached()) return undefined;
  const directory = await cached(KEY, async (into) => {
    const env = { ...process.env, GOBIN: into, CGO_ENABLED: '0' };
    await run(['go', 'install', '-trimpath', '-ldflags', '-s -w', `helm.sh/helm/v3/cmd/helm@v${HELM_VERSION}`], {
      env,
      timeoutMs: 30 * 60_000,
      signal,
    });
  });
  return join(directory, 'helm');
}
