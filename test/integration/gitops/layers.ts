import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { Cluster } from '../../cluster/index.ts';
import type { KubeObject } from '../chart/helm.ts';

export const GITOPS = join(import.meta.dirname, '..', '..', '..', 'manifests', 'gitops');

export const LAYERS = ['operator', 'profiles', 'runs'] as const;
export type Layer = (typeof LAYERS)[number];

/** What a GitOps tool would apply for a layer, with the label by which Flux finds it again. */
export async function built(cluster: Pick<Cluster, 'kubectl'>, layer: Layer): Promise<KubeObject[]> {
  // Flux lets a layer refer to the whole repository.
  const text = await cluster.kubectl(['kustomize', '--load-restrictor=LoadRestrictionsNone', join(GITOPS, layer)]);
  return parseAllDocuments(text).map((document) => {
    const object = document.toJS() as KubeObject;
    object.metadata.labels = { ...object.metadata.labels, 'kustomize.toolkit.fluxcd.io/name': `worldflux-${layer}` };
    return object;
  });
}
