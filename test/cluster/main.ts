import { parseArgs } from 'node:util';
import { attachCluster, startCluster, whyNot } from './index.ts';
import { startKwok } from './kwok.ts';
import { clusterNames } from './paths.ts';
import { provision } from './provision.ts';

const USAGE = `usage: npm run cluster -- up|down|status|kubeconfig|env|provision [--name dev] [--kind api|node|kwok] [--nodes 100] [--plan]
  up          start a cluster and leave it running; kwok is an API server with a scheduler and simulated nodes
  down        stop it and remove every trace
  status      list the clusters of this host and their processes
  kubeconfig  print the path of the administrator's kubeconfig
  env         print KUBECONFIG and HOST_ADDRESS, at which its pods reach this host, for a shell's eval
  provision   build and cache what clusters are made of; --plan only says what that would be`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    name: { type: 'string', default: 'dev' },
    kind: { type: 'string', default: 'node' },
    nodes: { type: 'string', default: '100' },
    plan: { type: 'boolean', default: false },
  },
});

try {
  process.exitCode = await main(positionals[0]);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

async function main(verb: string | undefined): Promise<number> {
  if (verb === 'up') return up();
  if (verb === 'status') return status();
  if (verb === 'provision') {
    await provision({ plan: values.plan });
    return 0;
  }
  if (verb === 'down' || verb === 'kubeconfig' || verb === 'env') {
    const cluster = await attachCluster(values.name);
    if (cluster === undefined) {
      console.error(`no cluster is called ${values.name}`);
      return 1;
    }
    if (verb === 'down') await cluster.down();
    else if (verb === 'env') console.log(`export KUBECONFIG=${cluster.kubeconfig} HOST_ADDRESS=${cluster.hostAddress}`);
    else console.log(cluster.kubeconfig);
    return 0;
  }
  console.error(USAGE);
  return 64;
}

async function up(): Promise<number> {
  const kind = values.kind === 'node' ? 'node' : 'api';
  if (!['api', 'node', 'kwok'].includes(values.kind)) throw new Error(USAGE);
  const reason = await whyNot(kind);
  if (reason !== undefined) throw new Error(`this host cannot run it: ${reason}`);
  const from = performance.now();
  const cluster = await startCluster({
    name: values.name,
    kind,
    audit: true,
    detached: true,
    scheduler: values.kind === 'kwok',
  });
  if (values.kind === 'kwok') await startKwok(cluster, { nodes: Number(values.nodes) });
  console.error(`cluster ${cluster.name} is ready after ${((performance.now() - from) / 1000).toFixed(1)} s`);
  console.log(`export KUBECONFIG=${cluster.kubeconfig}`);
  return 0;
}

async function status(): Promise<number> {
  for (const name of await clusterNames()) {
    const cluster = await attachCluster(name);
    if (cluster === undefined) continue;
    const processes = Object.entries(cluster.pids).map(([part, pid]) => `${part}=${pid}`);
    console.log(`${name}\t${cluster.kind}\t${cluster.apiServer}\t${processes.join(' ')}`);
  }
  return 0;
}
