// Makes this host ready for `npm test`, `npm run demo` and the other scripts. It runs on whatever Node is installed, before the project's own is there, so it is
// plain JavaScript without dependencies. What cannot be installed is said and left out; the tests then name what could not run.
import { execFileSync, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const ROOT = join(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '..');
const NODE_MAJOR = 24;

/** A file that shows a Debian package to be installed, and the package. */
const PACKAGES = {
  containerd: 'containerd',
  runc: 'runc',
  buildah: 'buildah',
  mmdebstrap: 'mmdebstrap',
  nft: 'nftables',
  ip: 'iproute2',
  '/usr/lib/cni/ptp': 'containernetworking-plugins',
  '/bin/busybox': 'busybox-static',
  '/usr/share/keyrings/debian-archive-keyring.gpg': 'debian-archive-keyring',
};

/** What each goal needs beside the npm packages; `node`: only those, and the Node among them. */
const GOALS = {
  node: undefined,
  demo: PACKAGES,
  test: PACKAGES,
  peers: { ...PACKAGES, 'clang-19': 'clang-19', bpftool: 'bpftool' },
};

const goal = process.argv[2];
const plan = process.argv.includes('--plan');
if (!Object.hasOwn(GOALS, goal)) {
  console.error(`usage: node scripts/prepare.mjs ${Object.keys(GOALS).join('|')} [--plan]`);
  process.exit(64);
}

const from = Date.now();
installDependencies();
const node = projectNode();
if (GOALS[goal] !== undefined) {
  installPackages(GOALS[goal]);
  provision(node);
}
if (!plan && Date.now() - from > 5000) say(`ready after ${seconds(from)} s`);

/** Compares what is installed with the lockfile by content: file times say nothing after a checkout. */
function installDependencies() {
  const wanted = packagesOf('package-lock.json');
  const installed = packagesOf('node_modules/.package-lock.json');
  const differs = Object.entries(wanted).some(([path, { version, optional, link }]) => {
    if (path === '' || link) return false;
    return installed[path] === undefined ? !optional : installed[path].version !== version;
  });
  if (differs)
    step('install the npm packages of the lockfile', ['npm', 'ci', '--no-audit', '--no-fund', '--loglevel=error']);
}

/** The Node that runs the project: the one among its dependencies, or the one that runs this if it is new enough. */
function projectNode() {
  const own = join(ROOT, 'node_modules', '.bin', 'node');
  for (const candidate of [own, process.execPath]) {
    if (existsSync(candidate) && majorOf(candidate) >= NODE_MAJOR) return candidate;
  }
  if (plan) {
    say(`Node ${NODE_MAJOR} comes with the npm packages`);
    return undefined;
  }
  console.error(
    `prepare: Node ${NODE_MAJOR} or newer is needed; the npm package that carries it does not run on ${process.platform} ${process.arch}`,
  );
  process.exit(1);
}

function installPackages(needed) {
  if (process.env.WORLDFLUX_CLUSTER_PROVIDER === 'kind') return;
  const missing = Object.keys(needed).filter((file) => !isThere(file));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((file) => needed[file]))];
  const reason = whyNoPackages();
  if (reason !== undefined)
    return say(`cannot install ${packages.join(' ')}: ${reason}; tests that need a node will be left out`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const quiet = ['apt-get', '-qq', '-o', 'Dpkg::Use-Pty=0'];
  const install = [...quiet, 'install', '--yes', '--no-install-recommends', ...packages];
  const isDone =
    step('refresh the list of Debian packages', [...quiet, 'update'], { env, optional: true, silent: true }) &&
    step(`install ${packages.join(' ')}`, install, { env, optional: true, silent: true });
  if (!isDone) say('tests that need a node will be left out');
}

function whyNoPackages() {
  if (process.platform !== 'linux') return `this is ${process.platform}`;
  if (!isThere('apt-get')) return 'there is no apt-get';
  if (process.getuid() !== 0) return 'not root';
  return undefined;
}

function provision(node) {
  if (node === undefined) return say('would build what the test clusters are made of, where it is not in the cache');
  const argv = [node, join('test', 'cluster', 'main.ts'), 'provision', ...(plan ? ['--plan'] : [])];
  const path = [join(ROOT, 'node_modules', '.bin'), process.env.PATH].join(delimiter);
  const { status } = spawnSync(argv[0], argv.slice(1), {
    cwd: ROOT,
    stdio: 'inherit',
    env: { ...process.env, PATH: path },
  });
  if (status !== 0) say('the test cluster could not be built; the tests will say what they miss');
}

/** Runs one command. A failure ends everything unless it is optional; then the last lines of what it said are shown. */
function step(what, [file, ...args], { env = process.env, optional = false, silent = false } = {}) {
  if (plan) {
    say(`would ${what}`);
    return true;
  }
  const begun = Date.now();
  say(what);
  const { status, stdout, stderr } = spawnSync(file, args, {
    cwd: ROOT,
    env,
    stdio: silent ? 'pipe' : 'inherit',
    encoding: 'utf8',
  });
  if (status === 0) {
    say(`done after ${seconds(begun)} s`);
    return true;
  }
  if (silent) console.error(`${stdout ?? ''}${stderr ?? ''}`.trim().split('\n').slice(-10).join('\n'));
  say(`could not ${what}`);
  if (!optional) process.exit(1);
  return false;
}

function packagesOf(lockfile) {
  const path = join(ROOT, lockfile);
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).packages : {};
}

function majorOf(binary) {
  try {
    return Number(execFileSync(binary, ['-p', 'process.versions.node'], { encoding: 'utf8' }).split('.')[0]);
  } catch {
    return 0;
  }
}

function isThere(file) {
  const candidates = file.startsWith('/')
    ? [file]
    : (process.env.PATH ?? '').split(delimiter).map((directory) => join(directory, file));
  return candidates.some((candidate) => {
    try {
      accessSync(candidate, constants.R_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function seconds(since) {
  return ((Date.now() - since) / 1000).toFixed(1);
}

function say(line) {
  console.log(`prepare: ${line}`);
}
