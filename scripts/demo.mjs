// `npm run demo`. It runs on whatever Node is installed, before the project's own is there, so it is plain JavaScript without dependencies:
// prepares the host, then starts the demo with the project's Node. Not a `pre` script, because npm gives those no arguments, and --plan must
// be able to speak before anything is installed.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { printPlan } from './demo/plan.mjs';

const USAGE = `usage: npm run demo [-- OPTIONS]
  --plan            say what would be done, what it installs and how long it takes, and do nothing
  --down            remove everything that the demo made, but for the cache of built things
  --context NAME    use this context of your kubeconfig instead of a cluster of its own
  --registry REF    with --context: where to push the images to, such as registry.example/team (not needed for kind)`;

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const BIN = join(ROOT, 'node_modules', '.bin');
const args = process.argv.slice(2);
const has = (flag) => args.some((argument) => argument === flag || argument.startsWith(`${flag}=`));

if (has('--help')) console.log(USAGE);
else {
  chooseProvider();
  if (has('--plan')) {
    prepare('--plan');
    printPlan({ ownCluster: !has('--context') });
  } else {
    if (!has('--down') || !existsSync(join(BIN, 'node'))) prepare();
    process.exitCode = run('node', [join('scripts', 'demo', 'cli.ts'), ...args]);
  }
}

/**
 * kind where Docker answers and kind is installed, and for the images of a cluster of the user's; else Kubernetes from source on this host.
 * Said through the variable that every script of the clusters reads, unless the user has said it already.
 */
function chooseProvider() {
  if (process.env.WORLDFLUX_CLUSTER_PROVIDER !== undefined) return;
  if (has('--context') || hasKind()) process.env.WORLDFLUX_CLUSTER_PROVIDER = 'kind';
}

function hasKind() {
  return works('kind', 'version') && works('kubectl', 'version', '--client') && works('docker', 'info');
}

function works(command, ...rest) {
  return spawnSync(command, rest, { stdio: 'ignore', timeout: 20_000 }).status === 0;
}

function prepare(...more) {
  const status = run(process.execPath, [join('scripts', 'prepare.mjs'), 'demo', ...more]);
  if (status !== 0) process.exit(status);
}

function run(command, rest) {
  const path = [BIN, process.env.PATH].join(process.platform === 'win32' ? ';' : ':');
  // Ctrl-C reaches the child as well, which ends in its own way; this process waits for it.
  for (const name of ['SIGINT', 'SIGTERM']) process.once(name, () => {});
  const { status, error } = spawnSync(command, rest, {
    cwd: ROOT,
    stdio: 'inherit',
    env: { ...process.env, PATH: path },
  });
  if (error !== undefined) console.error(error.message);
  return status ?? 1;
}
