import type { Cluster, ClusterOptions } from './cluster.ts';
import { attachOnHost, startOnHost, whyNotOnHost } from './host-cluster.ts';
import { attachKind, startKind, whyNotKind } from './kind.ts';
import { usesKind } from './provider.ts';
import type { ClusterKind } from './state.ts';

export type { Cluster, ClusterOptions } from './cluster.ts';
export type { ClusterKind } from './state.ts';

/** Starts a cluster and resolves when it is ready for use. */
export function startCluster(options: ClusterOptions): Promise<Cluster> {
  return usesKind ? startKind(options) : startOnHost(options);
}

/** A cluster that is up, by name. */
export async function attachCluster(name: string): Promise<Cluster | undefined> {
  return usesKind ? attachKind(name) : attachOnHost(name);
}

/** Why this host cannot run such a cluster, in words for a person; undefined when it can. */
export function whyNot(kind: ClusterKind): Promise<string | undefined> {
  return usesKind ? whyNotKind() : whyNotOnHost(kind);
}
