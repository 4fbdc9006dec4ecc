import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What the demo would do, step by step. Plain JavaScript: it is read before anything is installed. */

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CACHE = process.env.WORLDFLUX_CACHE ?? join(homedir(), '.cache', 'worldflux-operator');
const usesKind = process.env.WORLDFLUX_CLUSTER_PROVIDER === 'kind';
const KUBERNETES = versionIn('test/cluster/build.ts', 'KUBERNETES_VERSION');
const HELM = versionIn('scripts/chart/helm.ts', 'HELM_VERSION');

const KIND_CLUSTER = {
  title: 'A cluster: kind',
  takes: ['2 min', 'at once, it is left up'],
  does: ["kind create cluster --name demo, with a kubeconfig of its own. Docker pulls the node's image (about 1 GB)."],
};
const SOURCE_CLUSTER = {
  title: `A cluster: Kubernetes ${KUBERNETES}, built from its Go modules`,
  takes: ['8 min', '5 s, at once when it is still up'],
  isBuilt: isCached(`kubernetes-${KUBERNETES}-`),
  does: [
    'API server, controllers, scheduler, kubelet, proxy and etcd in one binary of 150 MB, and containerd from this host, as processes',
    'in namespaces of their own. One node, with DNS and a default StorageClass. Needs root.',
  ],
};
const TOOLS = {
  title: `helm ${HELM}`,
  takes: ['2 min', 'at once'],
  isBuilt: isCached(`helm-${HELM}`),
  does: ['Built from its Go module into the cache; where there is no Go, the helm of this host is used.'],
};
const IMAGES = {
  title: 'Images',
  takes: ['2 min', '1 s when nothing changed'],
  does: [
    'The operator (this checkout, bundled, beside Node) and two workloads (Python; one with numpy and MuJoCo), from their Dockerfiles.',
    usesKind
      ? 'Docker pulls the two public base images, and pip the wheels from PyPI.'
      : 'Without a registry: the base systems are put together from Debian packages, the wheels come from PyPI.',
  ],
};
const INSTALL = {
  title: 'The operator, as you would install it',
  takes: ['15 s', '2 s'],
  does: [
    'helm upgrade --install worldflux-operator charts/worldflux-operator --namespace worldflux-system',
    'helm upgrade --install worldflux-profiles charts/worldflux-profiles --namespace worldflux-system -f scripts/demo/profiles.yaml',
  ],
};
const UPSTREAM = {
  title: 'A stand-in for WorldFlux',
  takes: ['10 s', '2 s'],
  does: [
    'A small HTTP server in namespace worldflux-demo that takes finished runs as WorldFlux is documented to; what is not documented is',
    'inferred. Its key lies in a Secret there, which the operator alone may read.',
  ],
};
const GPU = {
  title: 'A simulated GPU',
  takes: ['1 s', '1 s'],
  does: [
    'The node is made to announce one nvidia.com/gpu that does not exist. The scheduler places and refuses pods by it as by a real one;',
    'nothing computes on it. Every number that a workload reports comes from the CPU.',
  ],
};
const RUNS = {
  title: 'Three WorldRuns',
  takes: ['40 s', '40 s'],
  does: [
    'kubectl apply -f manifests/samples/{cpu,gpu,dreamer-style-light}.yaml, in namespace worldflux-demo. The last one collects',
    'trajectories in MuJoCo, trains a latent world model on them and scores its predictions on episodes that it has not seen.',
  ],
};
const RESULTS = {
  title: 'What came back',
  takes: ['2 s', '2 s'],
  does: [
    'The runs, conditions, one manifest, the metrics, the stored log, and the artifacts with their digests, after the pods are gone;',
    'then what arrived at the stand-in for WorldFlux.',
    'The cluster is left up, and the commands to go on are printed.',
  ],
};

/** Prints the plan. On a cluster of the user's no GPU is simulated: its nodes are left alone. */
export function printPlan({ ownCluster }) {
  const cluster = usesKind ? KIND_CLUSTER : SOURCE_CLUSTER;
  const steps = [
    ...(ownCluster ? [cluster] : []),
    TOOLS,
    IMAGES,
    INSTALL,
    ...(ownCluster ? [GPU] : []),
    UPSTREAM,
    RUNS,
    RESULTS,
  ];
  console.log('\nnpm run demo does this. Times on two cores: the first time / the next time.');
  for (const [index, { title, takes, isBuilt, does }] of steps.entries()) {
    console.log(`\n${index + 1}. ${title}  (${takes.join(' / ')}${isBuilt === true ? '; built already' : ''})`);
    for (const line of does) console.log(`   ${line}`);
  }
  const places = [
    [CACHE, 'what was built, by version; delete it whenever you like'],
    [join(ROOT, 'node_modules'), 'the npm packages of the lockfile, with Node 24'],
    ownCluster
      ? ['/tmp/worldflux-cluster-demo', 'the cluster; gone after npm run demo -- --down']
      : ['your cluster', 'namespaces worldflux-system and worldflux-demo, two CRDs, cluster roles; gone after --down'],
  ];
  console.log('\nIt writes to:');
  for (const [place, what] of places) console.log(`   ${place.padEnd(44)} ${what}`);
  if (ownCluster) console.log('\nYour own kubeconfig is neither read nor changed.');
}

function isCached(prefix) {
  return existsSync(CACHE) && readdirSync(CACHE).some((name) => name.startsWith(prefix) && !name.endsWith('.lock'));
}

/** The one place where a version stands is the code that uses it. */
function versionIn(file, name) {
  return new RegExp(`${name} = '([^']+)'`).exec(readFileSync(join(ROOT, file), 'utf8'))?.[1] ?? '';
}
