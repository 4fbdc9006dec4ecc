import { RuntimeSink } from '../results/runtime-sink.ts';
import type { KubeClient } from '../kube/client.ts';
import type { OperatorOptions } from '../options.ts';
import type { CollectedResult, RunAttempt, RunStore } from '../results/contract.ts';
import { ResultsHub } from '../results/hub.ts';
import { LogCapture } from '../results/logs/log-capture.ts';
import { getPurchase, getRecord, putPurchase, putRecord, type RunRecord } from '../results/records.ts';
import type { Usage } from '../results/usage.ts';
import { USER_CONTAINER, type PodView } from '../runtime/local/pod-state.ts';
import type { Results } from './run/ports.ts';

/** Opens the run store that the settings name. The S3 client is loaded only where it is used: it is large. */
export async function openStore(options: OperatorOptions, installationId: string): Promise<RunStore> {
  if (options.store === 'files') {
    const { FileStore } = await import('../results/store/files.ts');
    return FileStore.open({ folder: options['store-dir'], installationId });
  }
  const { S3Store } = await import('../results/store/s3.ts');
  return new S3Store({
    bucket: options['s3-bucket']!,
    installationId,
    region: options['s3-region'],
    ...(options['s3-endpoint'] !== undefined && { endpoint: options['s3-endpoint'] }),
    forcePathStyle: options['s3-path-style'],
  });
}

export interface ResultsPortOptions {
  store: RunStore;
  hub: ResultsHub;
  usage: Usage;
  client: KubeClient;
  logLimitBytes: number;
  /** Throws where this process does not lead: what a run leaves in the store is the leader's to write. */
  assertLeader(): unknown;
  /** A finished run's record is stored. */
  onRecorded(record: RunRecord): Promise<void>;
  onError(message: string, cause: unknown): void;
}

const CALL_MS = 30_000;

/** The run store, the hub and the log reader as the run controller sees them. */
export class ResultsPort implements Results {
  readonly #store: RunStore;
  readonly #hub: ResultsHub;
  readonly #logs: LogCapture;
  readonly #onRecorded: ResultsPortOptions['onRecorded'];
  readonly #usage: Usage;
  readonly #assertLeader: () => unknown;

  constructor({ store, hub, usage, client, logLimitBytes, assertLeader, onRecorded, onError }: ResultsPortOptions) {
    this.#store = store;
    this.#assertLeader = assertLeader;
    this.#onRecorded = onRecorded;
    this.#usage = usage;
    this.#hub = hub;
    this.#logs = new LogCapture({
      store,
      hub,
      limitBytes: logLimitBytes,
      onError,
      readLog: ({ namespace, pod, container, sinceTime, limitBytes, signal }) =>
        client.podLogStream(
          { namespace, name: pod },
          {
            container,
            timestamps: true,
            signal,
            ...(sinceTime !== undefined && { sinceTime }),
            ...(limitBytes !== undefined && { limitBytes }),
          },
        ),
    });
  }

  of(key: Parameters<Results['of']>[0]): ReturnType<Results['of']> {
    return this.#hub.get(key);
  }

  async load(key: RunAttempt, nodes: number): Promise<void> {
    await this.#hub.load(key, nodes, AbortSignal.timeout(CALL_MS));
  }

  trackLog(key: RunAttempt, pod: PodView, secrets: boolean): void {
    const startedAt = pod.user.is === 'waiting' ? undefined : pod.user.startedAt;
    this.#logs.track(key, {
      namespace: pod.namespace,
      name: pod.name,
      uid: pod.uid,
      container: USER_CONTAINER,
      rank: pod.rank,
      ...(startedAt !== undefined && { startedAt }),
      secrets,
    });
  }

  async finishLog(key: RunAttempt, pod: PodView, secrets: boolean): Promise<void> {
    this.#assertLeader();
    this.trackLog(key, pod, secrets);
    await this.#logs.finish(key, pod.rank);
  }

  forget(clientRunId: string): void {
    this.#hub.forget(clientRunId);
    this.#logs.drop(clientRunId);
  }

  async putRecord(record: RunRecord, purchase?: string): Promise<void> {
    this.#assertLeader();
    await putRecord(this.#store, record, AbortSignal.timeout(CALL_MS));
    if (purchase !== undefined) await putPurchase(this.#store, purchase, record, AbortSignal.timeout(CALL_MS));
    await this.#usage.add(record, AbortSignal.timeout(CALL_MS));
    await this.#onRecorded(record);
  }

  sink(
    attempt: RunAttempt,
    options: { maxArtifactBytes: number; committed: ReadonlySet<string>; signal: AbortSignal },
  ): RuntimeSink {
    return new RuntimeSink({ store: this.#store, hub: this.#hub, attempt, ...options });
  }

  async storeResult(key: RunAttempt, result: CollectedResult): Promise<void> {
    await this.#hub.accept(key, result, AbortSignal.timeout(CALL_MS));
  }

  async getPurchase(purchase: string): Promise<RunRecord | undefined> {
    return getPurchase(this.#store, purchase, AbortSignal.timeout(CALL_MS));
  }

  async getRecord(clientRunId: string): Promise<RunRecord | undefined> {
    return getRecord(this.#store, clientRunId, AbortSignal.timeout(CALL_MS));
  }

  usage(namespace: string): number {
    return this.#usage.of(namespace);
  }

  async close(): Promise<void> {
    await this.#logs.close();
  }
}
