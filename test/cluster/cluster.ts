import type { ClusterKind } from './state.ts';

export interface Cluster {
  name: string;
  kind: ClusterKind;
  /** Path of an administrator's kubeconfig. */
  kubeconfig: string;
  /** Everything the cluster writes, logs among it; gone after `down`. */
  dir: string;
  apiServer: string;
  /** Path of the audit log, one JSON event a line, if one was asked for. */
  auditLog: string | undefined;
  caFile: string;
  /** The address at which Pods reach processes of this host that listen on it (or on 0.0.0.0). */
  hostAddress: string;
  /** Host pids of the living components by name. */
  pids: Record<string, number>;
  /** Runs kubectl as the administrator and returns its standard output; rejects with its standard error. */
  kubectl(
    args: readonly string[],
    options?: { input?: string; timeoutMs?: number; signal?: AbortSignal },
  ): Promise<string>;
  /** Loads a docker or OCI archive into the node; Pods then need `imagePullPolicy: IfNotPresent` or `Never`. */
  loadImage(archive: string): Promise<void>;
  /** Gives the node an extended resource such as `nvidia.com/gpu`, as a device plugin would. */
  patchNodeCapacity(resource: string, count: number): Promise<void>;
  /** Path of a kubeconfig whose client certificate names this user; the user has no rights until a binding gives some. */
  userKubeconfig(user: { name: string; groups?: readonly string[] }): Promise<string>;
  /** Stops the kubelet and leaves its Pods running: what the control plane sees of a node that is cut off. */
  stopNode(): Promise<void>;
  startNode(): Promise<void>;
  /** Stops everything and removes every trace. */
  down(): Promise<void>;
}

export interface ClusterOptions {
  /** Lower-case letters, digits and dashes, at most 32. A cluster of the same name that a killed run left is removed first. */
  name: string;
  kind: ClusterKind;
  audit?: boolean;
  /** For `api`, which has none by default; `node` always has one. */
  scheduler?: boolean;
  controllerManagerArgs?: readonly string[];
  apiServerArgs?: readonly string[];
  /** The cluster outlives this process. By default the kernel ends it when this process ends, however that happens. */
  detached?: boolean;
  signal?: AbortSignal;
}
