import type { V1ConfigMap } from '@kubernetes/client-node';
import type { Wire } from '../../kube/resource.ts';
import type { WorldRunStatus } from '../../crds/world-run-status.ts';
import type { AttemptKey, AttemptResults, CollectedResult, RunAttempt } from '../../results/contract.ts';
import type { JobCluster } from '../../runtime/local/cluster.ts';
import type { PodView } from '../../runtime/local/pod-state.ts';
import type { ResultSink } from '../../runtime/contract.ts';
import type { RunRecord } from '../../results/records.ts';
import type { WorldRun } from './view.ts';

/** Everything that a run's controller does to the outside. Faults are injected here. */

export interface Ref {
  namespace: string;
  name: string;
}

/**
 * The API server, one call a method. Every write first asks whether this process still leads. All methods throw
 * KubeErrors (src/kube/errors.ts).
 */
export interface Cluster extends JobCluster {
  /** Server-side apply of the status; `uid` guards against another object of the same name. */
  applyRunStatus(run: Ref & { uid: string }, status: WorldRunStatus): Promise<WorldRun>;
  deleteRun(run: Ref & { uid: string }): Promise<void>;
  /** Puts {@link FINALIZER} on a run, or takes it away; a run that is gone has none, which is a success. */
  setFinalizer(run: Ref & { uid: string }, present: boolean): Promise<WorldRun>;
  readConfigMap(ref: Ref): Promise<Wire<V1ConfigMap>>;
  /** Without grace: the kubelet that should confirm is not there. */
  forceDeletePod(pod: Ref & { uid: string }): Promise<void>;
  createPin(pin: Wire<V1ConfigMap>): Promise<Wire<V1ConfigMap>>;
  deletePin(ref: Ref & { uid: string }): Promise<void>;
  /** What the Job controller last complained of; empty when it did not. */
  jobTrouble(job: Ref & { uid: string }): Promise<string>;
  /** What the kubelet last complained of while it prepares a pod (a volume, a Secret); empty when it did not. */
  podTrouble(pod: Ref & { uid: string }): Promise<string>;
}

/** Results as the controller uses them: the hub, the log reader and the run store behind one face. */
export interface Results {
  of(key: AttemptKey): AttemptResults;
  /** Reads back from the store what an earlier process received. */
  load(key: RunAttempt, nodes: number): Promise<void>;
  /** Starts to read a container's log as it grows; a second call for the same pod changes nothing. */
  trackLog(key: RunAttempt, pod: PodView, secrets: boolean): void;
  /** Reads the log to its end and stores it; its facts are then in `of(key).logs`. */
  finishLog(key: RunAttempt, pod: PodView, secrets: boolean): Promise<void>;
  /** Drops what is kept in memory of a run that is over. */
  forget(clientRunId: string): void;
  /** `purchase`: the id under which a paid run without a `runKey` is found again. */
  putRecord(record: RunRecord, purchase?: string): Promise<void>;
  getPurchase(purchase: string): Promise<RunRecord | undefined>;
  /** Where a vendor's results go. */
  sink(
    key: RunAttempt,
    options: { maxArtifactBytes: number; committed: ReadonlySet<string>; signal: AbortSignal },
  ): ResultSink;
  /** Stores what a vendor's work came to; its facts are then in `of(key).results`. */
  storeResult(key: RunAttempt, result: CollectedResult): Promise<void>;
  getRecord(clientRunId: string): Promise<RunRecord | undefined>;
  /** A namespace's bytes in the store. */
  usage(namespace: string): number;
}
