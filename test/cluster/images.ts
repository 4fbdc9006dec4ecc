import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, rm, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { cached, digest } from './build.ts';
import { cacheRoot } from './paths.ts';
import { run } from './process.ts';
import { usesKind } from './provider.ts';

export type Base = 'python' | 'node';

export interface ImageBuild {
  /** The build context; the Dockerfile's path is relative to it. */
  context: string;
  dockerfile: string;
  tag: string;
  /** What takes the place of the Dockerfile's `ARG BASE` where its public image cannot be pulled. */
  base?: Base;
  buildArgs?: Readonly<Record<string, string>>;
  /** Files, relative to the context, whose content decides whether the image is built anew. By default every file of the context. */
  cacheKeyFiles?: readonly string[];
  signal?: AbortSignal;
}

const TIMEOUT_MS = 30 * 60_000;

/** Builds an image and returns the path of its docker archive; at once when nothing that goes into it has changed. */
export async function buildImage(o: ImageBuild): Promise<string> {
  const files = o.cacheKeyFiles ?? (await filesBelow(o.context));
  const contents = await Promise.all(files.map((file) => readFile(join(o.context, file))));
  const base = o.base === undefined || usesKind ? '' : baseReference(o.base);
  const args = Object.entries(o.buildArgs ?? {}).toSorted();
  const dockerfile = await readFile(join(o.context, o.dockerfile));
  const key = digest([
    usesKind ? 'docker' : 'buildah',
    o.tag,
    base,
    JSON.stringify(args),
    dockerfile,
    ...files,
    ...contents,
  ]);
  const name = o.tag.replaceAll(/[^A-Za-z0-9.-]+/g, '-');
  const directory = await cached(`image-${name}-${key}`, async (into) => {
    const archive = join(into, 'image.tar');
    await (usesKind ? buildWithDocker(o, archive) : buildWithBuildah(o, archive));
    await forgetOlder(`image-${name}-`);
  });
  return join(directory, 'image.tar');
}

/**
 * The reference, in buildah's own store, of a root file system that stands in for a public base image: Debian's Python with pip, or Node
 * with git and ssh, laid out as in the official images. Made from the Debian archive on first use.
 */
export async function baseImage(base: Base, signal?: AbortSignal): Promise<string> {
  const reference = baseReference(base);
  if (await isBaseBuilt(base)) return reference;
  const root = await cached(rootKey(base), async (into) => {
    const hooks = RECIPES[base].hooks.map((hook) => `--customize-hook=${hook}`);
    const trim = RECIPES[base].trim.map((path) => `--dpkgopt=path-exclude=${path}`);
    const include = `--include=${RECIPES[base].packages.join(',')}`;
    const argv = [
      'mmdebstrap',
      '--mode=root',
      `--variant=${RECIPES[base].variant}`,
      include,
      ...trim,
      ...hooks,
      SUITE,
      join(into, 'root.tar'),
    ];
    await run(argv, { timeoutMs: TIMEOUT_MS, signal });
  });
  const container = (await buildah(['from', 'scratch'], signal)).trim();
  try {
    await buildah(['add', container, join(root, 'root.tar'), '/'], signal);
    if (base === 'node')
      await buildah(['copy', '--chmod', '755', container, nodeBinary(), '/usr/local/bin/node'], signal);
    await buildah(['config', '--env', 'PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin', container], signal);
    await buildah(['commit', '--quiet', '--rm', container, reference], signal);
  } catch (error) {
    await buildah(['rm', container], undefined).catch(() => {}); // the first error says more
    throw error;
  }
  return reference;
}

/** Whether `baseImage` would return at once. */
export function isBaseBuilt(base: Base): Promise<boolean> {
  return buildah(['inspect', '--type', 'image', baseReference(base)], undefined).then(
    () => true,
    () => false,
  );
}

const SUITE = 'bookworm';
const TRIM = ['/usr/share/doc/*', '/usr/share/man/*', '/usr/share/locale/*', '/usr/share/info/*'];

/** `extract` unpacks without running the packages' scripts: smaller and quicker, but what those would have written must be written here. */
const RECIPES: Record<
  Base,
  { variant: string; packages: readonly string[]; trim: readonly string[]; hooks: readonly string[] }
> = {
  python: {
    variant: 'essential',
    trim: TRIM,
    packages: ['python3-minimal', 'python3-venv', 'python3-pip', 'libstdc++6', 'ca-certificates'],
    hooks: ['rm -rf "$1"/var/cache/apt "$1"/var/lib/apt/lists/*'],
  },
  node: {
    variant: 'extract',
    // git fetches without the parts of it that are written in Perl.
    trim: [...TRIM, '/usr/share/perl*', '/usr/lib/*/perl*', '/usr/lib/*/libperl*', '/usr/lib/*/gconv/*'],
    packages: ['base-files', 'dash', 'coreutils', 'grep', 'libstdc++6', 'ca-certificates', 'git', 'openssh-client'],
    hooks: [
      'ln -sf dash "$1/bin/sh"',
      'mkdir -p "$1/etc/ssl/certs" && cat "$1"/usr/share/ca-certificates/mozilla/*.crt > "$1/etc/ssl/certs/ca-certificates.crt"',
      'printf "root:x:0:0:root:/root:/bin/sh\\nnobody:x:65534:65534::/nonexistent:/bin/false\\n" > "$1/etc/passwd"',
      'printf "root:x:0:\\nnogroup:x:65534:\\n" > "$1/etc/group"',
      'rm -rf "$1"/var/cache/apt "$1"/var/lib/apt/lists/*',
    ],
  },
};

function rootKey(base: Base): string {
  return `base-${base}-${SUITE}-${digest([JSON.stringify(RECIPES[base])])}`;
}

function baseReference(base: Base): string {
  const version = base === 'node' ? process.versions.node : '';
  return `localhost/worldflux/base-${base}:${digest([rootKey(base), version])}`;
}

/** The npm package's binary needs no library that the base lacks; the one that runs this may come from a distribution and need some. */
function nodeBinary(): string {
  const packaged = join(import.meta.dirname, `../../node_modules/node-linux-${process.arch}/bin/node`);
  return existsSync(packaged) ? packaged : process.execPath;
}

async function buildWithBuildah(o: ImageBuild, archive: string): Promise<void> {
  const args = { ...o.buildArgs, ...(o.base && { BASE: await baseImage(o.base, o.signal) }) };
  const certificates = '/etc/ssl/certs/ca-certificates.crt';
  await buildah(
    [
      'build',
      '--isolation=chroot',
      '--pull-never',
      // A host behind an intercepting proxy has its authority here; without it no package index answers inside the build.
      ...(existsSync(certificates) ? [`--volume=${certificates}:${certificates}:ro`] : []),
      ...Object.entries(args).map(([name, value]) => `--build-arg=${name}=${value}`),
      `--file=${join(o.context, o.dockerfile)}`,
      `--tag=${o.tag}`,
      o.context,
    ],
    o.signal,
  );
  await buildah(['push', '--quiet', o.tag, `docker-archive:${archive}:${o.tag}`], o.signal);
  await buildah(['rmi', o.tag], o.signal); // the archive is what is kept
}

const KEPT = 3;

/** An image of the operator has the size of a base system, and every change of the code makes one. */
async function forgetOlder(prefix: string): Promise<void> {
  const names = (await readdir(cacheRoot())).filter(
    (name) => name.startsWith(prefix) && /^[0-9a-f]{16}$/.test(name.slice(prefix.length)),
  );
  const dated = await Promise.all(
    names.map(async (name) => ({ name, at: (await stat(join(cacheRoot(), name))).mtimeMs })),
  );
  const old = dated.toSorted((a, b) => b.at - a.at).slice(KEPT);
  await Promise.all(old.map(({ name }) => rm(join(cacheRoot(), name), { recursive: true, force: true })));
}

async function buildWithDocker(o: ImageBuild, archive: string): Promise<void> {
  const args = Object.entries(o.buildArgs ?? {}).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]);
  const argv = ['docker', 'build', '--file', join(o.context, o.dockerfile), '--tag', o.tag, ...args, o.context];
  await run(argv, { timeoutMs: TIMEOUT_MS, signal: o.signal });
  await run(['docker', 'save', '--output', archive, o.tag], { timeoutMs: TIMEOUT_MS, signal: o.signal });
}

/** A store of our own, so that nothing is mixed with what the user keeps in buildah or podman. */
async function buildah(args: readonly string[], signal: AbortSignal | undefined): Promise<string> {
  const store = join(cacheRoot(), 'buildah');
  await mkdir(store, { recursive: true });
  const where = ['--root', join(store, 'root'), '--runroot', join(store, 'run'), '--storage-driver', 'overlay'];
  return run(['buildah', ...where, ...args], { timeoutMs: TIMEOUT_MS, signal });
}

async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)));
  return files.filter((file) => !/(^|\/)(node_modules|\.git)\//.test(file)).toSorted();
}
