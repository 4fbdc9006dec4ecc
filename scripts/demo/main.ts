import { attachCluster } from '../../test/cluster/index.ts';
import { findHelm } from '../chart/helm.ts';
import { NAMESPACE } from '../chart/install.ts';
import { RUN_NAMESPACE, watchRuns } from './runs.ts';
import { dim, green, heading, indented, red, say, seconds, step } from './screen.ts';
import { failures, showResults } from './show.ts';
import {
  applyRuns,
  hasGpu,
  installOperator,
  installProfiles,
  provideImages,
  refuseForeign,
  removeFrom,
} from './steps.ts';
import { artifactPath } from './stored.ts';
import { CLUSTER, contextTarget, ownTarget, type Target } from './target.ts';
import { installUpstream, showUpstream } from './upstream.ts';

export interface DemoOptions {
  context?: string | undefined;
  registry?: string | undefined;
}

/** Brings everything up, waits for the runs and shows what came back. Answers the exit code. */
export async function up({ context, registry }: DemoOptions, signal: AbortSignal): Promise<number> {
  const since = performance.now();
  say(dim('What follows is explained by: npm run demo -- --plan'));
  const target = await step(context === undefined ? 'A cluster of its own' : `Context ${context}`, () =>
    context === undefined ? ownTarget(signal) : contextTarget(context, registry),
  );
  if (!target.own) await refuseForeign(target);
  const helm = await step('helm', () => findHelm({ install: true, signal }));
  const images = await step('Images: the operator, and two workloads', () => provideImages(target, signal));
  await step('The operator: chart worldflux-operator', () => installOperator(target, helm, images));
  if (target.simulateGpus !== undefined) {
    await step('A simulated GPU: the node announces one nvidia.com/gpu that does not exist', () =>
      target.simulateGpus!(1),
    );
  }
  await step('A stand-in for WorldFlux, beside the operator', () => installUpstream(target, signal));
  await step('RuntimeProfiles cpu and gpu: chart worldflux-profiles', () => installProfiles(target, helm));
  const gpu = await hasGpu(target);
  const names = await step('WorldRuns from manifests/samples', () => applyRuns(target, images, gpu));
  if (!gpu) say(dim('  no node of this cluster has a GPU: the sample gpu is left out'));

  heading(`Until they have ended: ${names.join(', ')}`);
  const runs = await watchRuns(target, signal);
  await showResults(target, runs);
  await showUpstream(target);
  if (target.simulateGpus !== undefined) {
    say(
      dim(
        '\nThe GPU was simulated: it placed a pod, and nothing was computed on it. All numbers above were computed on the CPU.',
      ),
    );
  }
  const failed = failures(runs);
  say();
  if (failed.length > 0) {
    say(red('Not every run succeeded:'));
    for (const line of failed) say(indented(line));
    say(`The operator's own log: kubectl -n ${NAMESPACE} logs deploy/worldflux-operator`);
  } else say(`${green('Done')} in ${seconds(since)}.`);
  goOn(target, context);
  return failed.length > 0 ? 1 : 0;
}

function goOn(target: Target, context: string | undefined): void {
  heading('Go on from here');
  const down = context === undefined ? 'npm run demo -- --down' : `npm run demo -- --down --context ${context}`;
  const lines = [
    target.shellLine,
    `kubectl -n ${RUN_NAMESPACE} get worldruns -o wide`,
    `kubectl -n ${RUN_NAMESPACE} get worldrun dreamer-style-light -o yaml`,
    `kubectl get --raw '${artifactPath('dreamer-style-light', 'prediction')}' > prediction.png`,
    'kubectl explain worldrun.spec',
    `kubectl -n ${NAMESPACE} logs deploy/worldflux-operator`,
    down.padEnd(52) + dim('# removes everything that the demo made'),
  ];
  for (const line of lines) say(indented(line));
}

/** Removes what {@link up} made. */
export async function down({ context, registry }: DemoOptions): Promise<number> {
  if (context !== undefined) {
    const target = await contextTarget(context, registry);
    const helm = await findHelm({ install: true });
    await step(`Removing the demo from context ${context}`, () => removeFrom(target, helm));
    return 0;
  }
  const cluster = await attachCluster(CLUSTER);
  if (cluster === undefined) {
    say('There is no demo to remove.');
    return 0;
  }
  await step('Removing the cluster of the demo', () => cluster.down());
  return 0;
}
