import { parseQuantity } from '../../kube/quantity.ts';
import type { CollectTask } from '../../results/contract.ts';
import type { PodView } from '../../runtime/local/pod-state.ts';
import { podsOf } from './attempt.ts';
import { currentAttempt, jobUidOf, type World } from './world.ts';

/** What the gateway may accept from the pods of a run's present attempt; undefined while there is nothing to accept. */
export function collectTaskOf(world: World, clientRunId: string): CollectTask | undefined {
  const { run } = world;
  const { number } = currentAttempt(world);
  // Also of a Job that was deleted: its pods have their grace period to bring what they have.
  const uid = jobUidOf(world);
  const profile = world.pinned?.spec ?? world.profile?.spec;
  if (uid === undefined || profile === undefined) return undefined;
  const { outputs, timeouts } = run.spec;
  const pods = podsOf(world, { uid });
  return {
    clientRunId,
    attempt: number,
    namespace: run.namespace,
    runName: run.name,
    runUid: run.uid,
    nodes: run.spec.nodes,
    rankOf: (podUid) => pods.find((pod) => pod.uid === podUid)?.rank,
    outputs: {
      metricsFile: outputs.metricsFile,
      seriesFile: outputs.seriesFile,
      artifacts: outputs.artifacts ?? [],
      ranks: outputs.ranks,
    },
    maxArtifactBytes: parseQuantity(profile.limits.maxArtifactBytes),
    uploadSeconds: timeouts.uploadSeconds,
    // A collector that was still starting when the command ended never heard its SIGTERM: this is how it learns of it.
    collectNow: world.memory.collectSince !== undefined || everyCommandEnded(pods),
    stopping: pods.some((pod) => pod.deleting && !pod.gone),
  };
}

function everyCommandEnded(pods: readonly PodView[]): boolean {
  return pods.length > 0 && pods.every((pod) => pod.user.is === 'terminated');
}
