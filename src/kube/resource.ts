import type {
  V1ConfigMap,
  V1Job,
  V1Lease,
  V1Namespace,
  V1Node,
  V1ObjectMeta,
  V1PersistentVolumeClaim,
  V1Pod,
  V1Secret,
  V1Service,
  V1ServiceAccount,
  V1SubjectAccessReview,
  V1TokenReview,
} from '@kubernetes/client-node';

/**
 * A client-node model as it really is on the wire: dates are strings, and names that the generator had to escape
 * (`_continue`, `_from`) have their own spelling.
 */
export type Wire<T> = T extends Date
  ? string
  : T extends readonly (infer U)[]
    ? Wire<U>[]
    : T extends object
      ? { [K in keyof T as K extends `_${infer Name}` ? Name : K]: Wire<T[K]> }
      : T;

export type ObjectMeta = Wire<V1ObjectMeta>;

/** The least that every Kubernetes object has. */
export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
}

/** Which REST resource, and (by its type parameter) what its objects look like. */
export interface ResourceType<T extends KubeObject = KubeObject> {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly namespaced: boolean;
  readonly kind: string;
  /** Never set: carries `T` through inference. */
  readonly object?: T;
}

/** Which object. `namespace` is required for a namespaced type and refused for a cluster-scoped one. */
export interface ObjectRef {
  readonly namespace?: string | undefined;
  readonly name: string;
}

export function resourceType<T extends KubeObject>(type: Omit<ResourceType<T>, 'object'>): ResourceType<T> {
  return type;
}

/** `apiVersion` as objects of this type carry it. */
export function apiVersionOf(type: ResourceType): string {
  return type.group === '' ? type.version : `${type.group}/${type.version}`;
}

/** The URL path of a collection; `namespace` undefined means every namespace. */
export function collectionPath(type: ResourceType, namespace: string | undefined): string {
  const root = type.group === '' ? `/api/${type.version}` : `/apis/${type.group}/${type.version}`;
  if (namespace === undefined) return `${root}/${type.plural}`;
  if (!type.namespaced) throw new TypeError(`${type.kind} is cluster-scoped, but namespace ${namespace} was given`);
  return `${root}/namespaces/${encodeURIComponent(namespace)}/${type.plural}`;
}

/** The URL path of one object or of one of its subresources. */
export function objectPath(type: ResourceType, ref: ObjectRef, subresource?: string): string {
  // An empty name would address the whole collection: a DELETE there deletes everything.
  if (ref.name === '') throw new TypeError(`${type.kind} without a name`);
  if (type.namespaced && ref.namespace === undefined)
    throw new TypeError(`${type.kind} ${ref.name} without a namespace`);
  const path = `${collectionPath(type, ref.namespace)}/${encodeURIComponent(ref.name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}

const core = { group: '', version: 'v1' };

export const PODS = resourceType<Wire<V1Pod>>({ ...core, plural: 'pods', namespaced: true, kind: 'Pod' });
export const NODES = resourceType<Wire<V1Node>>({ ...core, plural: 'nodes', namespaced: false, kind: 'Node' });
export const SECRETS = resourceType<Wire<V1Secret>>({ ...core, plural: 'secrets', namespaced: true, kind: 'Secret' });
export const SERVICES = resourceType<Wire<V1Service>>({
  ...core,
  plural: 'services',
  namespaced: true,
  kind: 'Service',
});
export const NAMESPACES = resourceType<Wire<V1Namespace>>({
  ...core,
  plural: 'namespaces',
  namespaced: false,
  kind: 'Namespace',
});
export const CONFIG_MAPS = resourceType<Wire<V1ConfigMap>>({
  ...core,
  plural: 'configmaps',
  namespaced: true,
  kind: 'ConfigMap',
});
export const SERVICE_ACCOUNTS = resourceType<Wire<V1ServiceAccount>>({
  ...core,
  plural: 'serviceaccounts',
  namespaced: true,
  kind: 'ServiceAccount',
});
export const PERSISTENT_VOLUME_CLAIMS = resourceType<Wire<V1PersistentVolumeClaim>>({
  ...core,
  plural: 'persistentvolumeclaims',
  namespaced: true,
  kind: 'PersistentVolumeClaim',
});
export const JOBS = resourceType<Wire<V1Job>>({
  group: 'batch',
  version: 'v1',
  plural: 'jobs',
  namespaced: true,
  kind: 'Job',
});
export const LEASES = resourceType<Wire<V1Lease>>({
  group: 'coordination.k8s.io',
  version: 'v1',
  plural: 'leases',
  namespaced: true,
  kind: 'Lease',
});
export const TOKEN_REVIEWS = resourceType<Wire<V1TokenReview>>({
  group: 'authentication.k8s.io',
  version: 'v1',
  plural: 'tokenreviews',
  namespaced: false,
  kind: 'TokenReview',
});
export const SUBJECT_ACCESS_REVIEWS = resourceType<Wire<V1SubjectAccessReview>>({
  group: 'authorization.k8s.io',
  version: 'v1',
  plural: 'subjectaccessreviews',
  namespaced: false,
  kind: 'SubjectAccessReview',
});
