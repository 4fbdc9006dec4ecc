import { RESULTS, RESULTS_API_VERSION, RESULTS_GROUP, RESULTS_VERSION } from './protocol.ts';

/** What `kubectl api-resources`, client caches and the API server's own discovery read. */

const version = { groupVersion: RESULTS_API_VERSION, version: RESULTS_VERSION };
const group = { name: RESULTS_GROUP, versions: [version], preferredVersion: version };
const parts = Object.entries(RESULTS);

export const API_GROUP = { kind: 'APIGroup', apiVersion: 'v1', ...group };
export const API_GROUP_LIST = { kind: 'APIGroupList', apiVersion: 'v1', groups: [group] };

/**
 * Subresources alone, without `worldruns` itself: with it `kubectl get worldruns` could mean two things.
 */
export const API_RESOURCE_LIST = {
  kind: 'APIResourceList',
  apiVersion: 'v1',
  groupVersion: RESULTS_API_VERSION,
  resources: parts.map(([part, kind]) => ({
    name: `worldruns/${part}`,
    singularName: '',
    namespaced: true,
    kind,
    verbs: ['get'],
  })),
};

const AGGREGATED = /application\/json;\s*g=apidiscovery\.k8s\.io;\s*v=v2;\s*as=APIGroupDiscoveryList/;
export const AGGREGATED_TYPE = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';

/** Whether the caller reads the whole discovery from `/apis` in one document. */
export const wantsAggregated = (accept: string | undefined): boolean => AGGREGATED.test(accept ?? '');

export const AGGREGATED_DISCOVERY = {
  kind: 'APIGroupDiscoveryList',
  apiVersion: 'apidiscovery.k8s.io/v2',
  metadata: {},
  items: [
    {
      metadata: { name: RESULTS_GROUP, creationTimestamp: null },
      versions: [
        {
          version: RESULTS_VERSION,
          freshness: 'Current',
          resources: [
            {
              resource: 'worldruns',
              scope: 'Namespaced',
              subresources: parts.map(([part, kind]) => ({
                subresource: part,
                responseKind: { group: RESULTS_GROUP, version: RESULTS_VERSION, kind },
                verbs: ['get'],
              })),
            },
          ],
        },
      ],
    },
  ],
};
