import { parseArgs } from 'node:util';
import { startKwok } from './kwok.ts';
import { attachCluster, listClusters, startCluster, whyNot } from './index.ts';
import { isAlive } from './process.ts';

const USAGE = `usage: npm run cluster -- up|down|status|kubeconfig [--name dev] [--kind api|node|kwok] [--nodes 100]
  up          start a cluster and leave it running; kwok is an API server with a scheduler and simulated nodes
  down        stop it and remove every trace
  status      list the clusters of this host
  kubeconfig  print the path of the administrator's kubeconfig`;
