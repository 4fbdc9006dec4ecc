import { copyFile, mkdir, readFile, readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { cached, digest } from '../../test/cluster/build.ts';
import { run } from '../../test/cluster/process.ts';

/** Programs and files of other projects, by the Go module that carries them: one version each, whatever the host has. */

interface GoTool {
  readonly module: string;
  readonly version: string;
  /** Folder of its main package inside the module. */
  readonly folder: string;
}

const TOOLS = {
  /** Reads and tests alerting rules as Prometheus does. */
  promtool: { module: 'github.com/prometheus/prometheus', version: 'v0.315.0', folder: 'cmd/promtool' },
  /** Checks workflow files. */
  actionlint: { module: 'github.com/rhysd/actionlint', version: 'v1.7.12', folder: 'cmd/actionlint' },
  /** Checks manifests against JSON schemas. */
  kubeconform: { module: 'github.com/yannh/kubeconform', version: 'v0.8.0', folder: 'cmd/kubeconform' },
  /** Copies images between archives and registries; serves as a registry too. */
  crane: { module: 'github.com/google/go-containerregistry', version: 'v0.22.1', folder: 'cmd/crane' },
  /** The Lua that Argo CD runs health checks in. */
  glua: { module: 'github.com/yuin/gopher-lua', version: 'v1.1.2', folder: 'cmd/glua' },
  /** Kueue's controller. */
  kueue: { module: 'sigs.k8s.io/kueue', version: 'v0.18.4', folder: 'cmd/kueue' },
} as const satisfies Record<string, GoTool>;

export type ToolName = keyof typeof TOOLS;

/** The largest takes some minutes on two cores. */
export const BUILD_TIMEOUT_MS = 30 * 60_000;

/** Path of the program in the cache; built there first if need be, which takes Go and up to some minutes. */
export async function goTool(name: ToolName, signal?: AbortSignal): Promise<string> {
  const { module, version, folder } = TOOLS[name];
  const directory = await cached(`${name}-${version}`, async (into) => {
    const source = await moduleDirectory(`${module}@${version}`, signal);
    // In the module's own tree, by its own go.sum: `go install` refuses modules whose go.mod replaces something.
    const env = { ...process.env, CGO_ENABLED: '0', GOWORK: 'off' };
    const argv = ['go', 'build', '-C', source, '-trimpath', '-ldflags', '-s -w', '-o', join(into, name), `./${folder}`];
    await run(argv, { env, timeoutMs: BUILD_TIMEOUT_MS, signal });
  });
  return join(directory, name);
}

export function toolVersion(name: ToolName): string {
  return TOOLS[name].version;
}

/** The texts of these files of a Go module (`path@version`), kept in the cache: a module may be a hundred times as large. */
export async function moduleFiles(module: string, files: readonly string[], signal?: AbortSignal): Promise<string[]> {
  const directory = await cached(`files-${digest([module, ...files])}`, async (into) => {
    const source = await moduleDirectory(module, signal);
    for (const file of files) await copyFile(join(source, file), join(into, basename(file)));
  });
  return Promise.all(files.map((file) => readFile(join(directory, basename(file)), 'utf8')));
}

/** A folder of the module that carries the program, such as its chart, kept in the cache. */
export async function toolFolder(name: ToolName, folder: string, signal?: AbortSignal): Promise<string> {
  const module = `${TOOLS[name].module}@${TOOLS[name].version}`;
  return cached(`folder-${digest([module, folder])}`, async (into) => {
    const source = join(await moduleDirectory(module, signal), folder);
    // File by file: the directories of Go's module cache are read-only, and a copy of them would stay so.
    for (const entry of await readdir(source, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      const target = join(into, path.slice(source.length));
      await mkdir(dirname(target), { recursive: true });
      await copyFile(path, target);
    }
  });
}

export async function moduleDirectory(module: string, signal: AbortSignal | undefined): Promise<string> {
  const text = await run(['go', 'mod', 'download', '-json', module], { timeoutMs: 10 * 60_000, signal });
  return (JSON.parse(text) as { Dir: string }).Dir;
}
