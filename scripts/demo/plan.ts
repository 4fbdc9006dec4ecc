import { isBuilt, KUBERNETES_VERSION } from '../../test/cluster/build.ts';
import { cacheRoot, clusterDir } from '../../test/cluster/paths.ts';
import { whyNot } from '../../test/cluster/index.ts';
import { usesKind } from '../../test/cluster/provider.ts';
import { HELM_VERSION, helmIsCached } from '../chart/helm.ts';
import { NAMESPACE } from '../chart/install.ts';
import { RUN_NAMESPACE } from './runs.ts';
import { bold, dim, heading, indented, say } from './screen.ts';
import { CLUSTER } from './target.ts';

interface PlannedStep {
  title: string;
  does: string;
  /** On two cores, with nothing cached, and the next time. */
  takes: { first: string; again: string };
  cached?: boolean;
}

/** Prints what the demo would do, and does none of it. */
export async function printPlan(context: string | undefined): Promise<void> {
  const steps =
    context === undefined
      ? [await cluster(), helm(), ...install(), gpu(), ...work()]
      : [helm(), ...install(), ...work()];
  heading('What npm run demo does');
  say(indented(dim('times on two cores: the first time / the next time')));
  for (const [index, { title, does, takes, cached }] of steps.entries()) {
    say();
    const times = `${takes.first} / ${takes.again}${cached === true ? ', and it is built already' : ''}`;
    say(`${String(index + 1).padStart(2)}. ${bold(title)}  ${dim(times)}`);
    say(indented(does, 4));
  }
  heading('Where it writes');
  const places =
    context === undefined
      ? [`${clusterDir(CLUSTER)}   the cluster; gone after npm run demo -- --down`]
      : [
          `context ${context}: the namespaces ${NAMESPACE} and ${RUN_NAMESPACE}, two CRDs, cluster roles; gone after --down`,
        ];
  for (const place of [
    `${cacheRoot()}   what was built, by version; delete it whenever you like`,
    `node_modules   of this checkout`,
    ...places,
  ])
    say(indented(place));
  if (context === undefined) {
    say(indented('Your own kubeconfig and its contexts are neither read nor changed.'));
    const reason = await whyNot('node');
    if (reason !== undefined) say(`\nOn this host it would stop at the cluster: ${reason}`);
  }
}

async function cluster(): Promise<PlannedStep> {
  if (usesKind) {
    return {
      title: 'A cluster: kind',
      does: `kind create cluster --name ${CLUSTER}, with a kubeconfig of its own. Docker pulls the node's image (about 1 GB).`,
      takes: { first: '2 min', again: 'at once, it is left up' },
    };
  }
  return {
    title: `A cluster: Kubernetes ${KUBERNETES_VERSION}, built from its Go modules`,
    does: `API server, controllers, scheduler, kubelet, proxy and etcd in one binary of 150 MB, and containerd from this host, as processes of
this host in namespaces of their own. Needs root. One node, with DNS and a default StorageClass.`,
    takes: { first: '8 min', again: '15 s, or at once when it is still up' },
    cached: await isBuilt(),
  };
}

const helm = (): PlannedStep => ({
  title: `helm ${HELM_VERSION}`,
  does: 'Built from its Go module into the cache; a helm that you have is not used or changed.',
  takes: { first: '2 min', again: 'at once' },
  cached: helmIsCached(),
});

const install = (): PlannedStep[] => [
  {
    title: 'Images',
    does: `The operator (this checkout, bundled, beside Node) and the two workloads cpu and dreamer-style-light (Python, numpy, MuJoCo), from their
Dockerfiles. ${usesKind ? 'Docker pulls the two public base images.' : 'Without a registry the base systems come from Debian packages, the wheels from PyPI.'}`,
    takes: { first: '3 min', again: '2 s when nothing changed' },
  },
  {
    title: 'The operator, as you would install it',
    does: `helm upgrade --install worldflux-operator charts/worldflux-operator --namespace ${NAMESPACE}
helm upgrade --install worldflux-profiles charts/worldflux-profiles --namespace ${NAMESPACE} --values scripts/demo/profiles.yaml`,
    takes: { first: '15 s', again: '3 s' },
  },
];

const gpu = (): PlannedStep => ({
  title: 'A simulated GPU',
  does: `The node is made to announce one nvidia.com/gpu that does not exist. The scheduler places and refuses pods by it as by a real one; nothing
computes on it. Every number that the workloads report comes from the CPU.`,
  takes: { first: '1 s', again: '1 s' },
});

const work = (): PlannedStep[] => [
  {
    title: 'Three WorldRuns',
    does: `kubectl apply -f manifests/samples/{cpu,gpu,dreamer-style-light}.yaml, in namespace ${RUN_NAMESPACE}. The last one collects trajectories in
MuJoCo, trains a latent world model on them and scores its predictions on episodes that it has not seen.`,
    takes: { first: '60 s', again: '60 s' },
  },
  {
    title: 'What came back',
    does: 'The runs, conditions, the manifest, metrics, the stored log, and the artifacts with their digests, after the pods are gone.',
    takes: { first: '5 s', again: '5 s' },
  },
];
