import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cached, digest } from '../cluster/build.ts';
import { run } from '../cluster/process.ts';

const FILES = ['go.mod', 'go.sum', 'main.go'];
const BUILD_TIMEOUT_MS = 45 * 60_000;

/**
 * The folder in the cache with the programs of these packages, by a Go module of ours that lies in `source`; built there first if need be.
 * For projects that cannot be built in their own module: theirs replace parts by folders that no release carries.
 */
export async function goPrograms(name: string, source: string, packages: readonly string[]): Promise<string> {
  const files = FILES.map((file) => join(source, file)).filter((file) => existsSync(file));
  const contents = await Promise.all(files.map((file) => readFile(file)));
  return cached(`${name}-${digest([...packages, ...contents])}`, async (into) => {
    const env = { ...process.env, CGO_ENABLED: '0', GOWORK: 'off' };
    const argv = ['go', 'build', '-trimpath', '-buildvcs=false', '-ldflags', '-s -w', '-o', `${into}/`, ...packages];
    await run(argv, { cwd: source, env, timeoutMs: BUILD_TIMEOUT_MS });
  });
}
