import { podState } from '../../runtime/local/pod-state.ts';
import type { SeenPod } from './attempt.ts';
import type { World } from './world.ts';

/** Pods on nodes that do not answer any more. Pure. */

/** Milliseconds until the pod counts as lost; Infinity where its node answers, or nobody is to act on it. */
function untilLost(world: World, pod: SeenPod): number {
  const profile = world.pinned?.spec ?? world.profile?.spec;
  if (profile?.onNodeLost !== 'Fail' || pod.gone || pod.node === undefined || podState(pod).at === 'ended')
    return Infinity;
  const node = world.nodes(pod.node);
  if (node === undefined || node.ready) return Infinity;
  return node.readyChangedAt + profile.nodeLostSeconds * 1000 - world.now;
}

export function lostPods(world: World, pods: readonly SeenPod[]): { pod: SeenPod; message: string }[] {
  const seconds = (world.pinned?.spec ?? world.profile?.spec)?.nodeLostSeconds;
  return pods
    .filter((pod) => untilLost(world, pod) <= 0)
    .map((pod) => ({ pod, message: `Node ${pod.node} has not answered for ${seconds} s.` }));
}

/** Milliseconds until the next pod counts as lost. */
export function nextNodeLoss(world: World, pods: readonly SeenPod[]): number {
  return Math.min(Infinity, ...pods.map((pod) => untilLost(world, pod)).filter((left) => left > 0));
}
