import { createHash, randomUUID } from 'node:crypto';
import { clientRunId, runId } from '../../../src/controller/identity.ts';
import { terminalStatus } from '../../../src/controller/run/ending.ts';
import { WORLD_RUNS, type WorldRun } from '../../../src/controller/run/view.ts';
import { digestOf, manifestSchema, type Manifest } from '../../../src/crds/manifest.ts';
import type { StoredArtifact, StoredLog, WorldRunStatus } from '../../../src/crds/world-run-status.ts';
import type { KubeClient } from '../../../src/kube/client.ts';
import type { RunStore } from '../../../src/results/contract.ts';
import { finishRunEvents } from '../../../src/results/event-log.ts';
import { artifactKey, logKey, recordKey } from '../../../src/results/keys.ts';
import { putRecord } from '../../../src/results/records.ts';

/** A run that has ended, as the operator leaves it: bytes and record in the store, and one terminal status. */

export const INSTALLATION = randomUUID();

export const idOf = (run: { namespace: string; uid: string; runKey?: string | undefined }): string =>
  clientRunId(INSTALLATION, run);

export interface Left {
  log?: string;
  /** By artifact name; the file name in the store is this name. */
  artifacts?: Record<string, Buffer>;
  metrics?: Record<string, number>;
  /** Calls to vendors, as stored. */
  events?: object[];
}

export async function createRun(
  client: KubeClient,
  ref: { namespace: string; name: string },
  spec: object = {},
): Promise<WorldRun> {
  const wanted = { runtimeProfileRef: { name: 'p' }, image: 'busybox', command: ['true'], ...spec };
  return client.create(WORLD_RUNS, { metadata: ref, spec: wanted as unknown as WorldRun['spec'] });
}

export async function finishRun(client: KubeClient, store: RunStore, run: WorldRun, left: Left): Promise<WorldRun> {
  const { namespace = '', name = '', uid = '', creationTimestamp = '' } = run.metadata ?? {};
  const id = idOf({ namespace, uid, runKey: run.spec.runKey });
  const attempt = { clientRunId: id, runUid: uid, attempt: 1 };

  let log: StoredLog | undefined;
  if (left.log !== undefined) {
    const path = logKey(attempt, 0);
    await store.put(path, Buffer.from(left.log), 'text/plain');
    log = { path, bytes: Buffer.byteLength(left.log), complete: true, headLost: false, gaps: 0, redacted: 0 };
  }
  await finishRunEvents(
    store,
    attempt,
    (left.events ?? []).map((event) => JSON.stringify(event)),
  );
  const artifacts: StoredArtifact[] = [];
  for (const [name, body] of Object.entries(left.artifacts ?? {})) {
    const sha256 = createHash('sha256').update(body).digest('hex');
    const path = artifactKey(attempt, 0, sha256, name);
    await store.put(path, body, 'application/octet-stream');
    artifacts.push({
      name: name.split('.')[0] ?? name,
      path,
      rank: 0,
      sizeBytes: body.length,
      sha256,
      commit: false,
      state: 'Stored',
    });
  }
  const ids = { runId: runId(creationTimestamp, uid), clientRunId: id };
  const manifest = manifestOf(ids, run, artifacts, log, left.metrics ?? {});
  const status = terminalStatus(
    { ...base(ids) },
    {
      manifest,
      artifacts,
      log,
      manifestPath: recordKey(id),
    },
  );
  await putRecord(store, {
    version: 1,
    clientRunId: id,
    namespace,
    name,
    uid,
    state: 'Finished',
    status,
    manifest,
    finishedAt: manifest.finished_at,
  });
  return writeStatus(client, run, status);
}

export async function writeStatus(client: KubeClient, run: WorldRun, status: WorldRunStatus): Promise<WorldRun> {
  const { namespace, name } = run.metadata ?? {};
  const body = { metadata: { namespace, name }, status } as unknown as WorldRun;
  return client.apply(WORLD_RUNS, body, { subresource: 'status', fieldManager: 'test', force: true });
}

const NOW = '2026-11-20T10:15:00.000Z';

function base(ids: { runId: string; clientRunId: string }): WorldRunStatus {
  const at = { lastTransitionTime: NOW, message: 'The command exited with 0.', reason: 'Completed' };
  return {
    ...ids,
    epoch: 1,
    phase: 'Succeeded',
    attemptCount: 1,
    conditions: [
      { type: 'Ready', status: 'True', ...at },
      { type: 'Reconciling', status: 'False', ...at },
      { type: 'Finished', status: 'True', ...at },
      { type: 'Succeeded', status: 'True', ...at },
    ],
  };
}

function manifestOf(
  ids: { runId: string; clientRunId: string },
  run: WorldRun,
  artifacts: readonly StoredArtifact[],
  log: StoredLog | undefined,
  metrics: Record<string, number>,
): Manifest {
  return manifestSchema.parse({
    schema_version: 'worldflux-operator.run_manifest.v1',
    client_run_id: ids.clientRunId,
    run_id: ids.runId,
    status: 'succeeded',
    reason: 'Completed',
    task: null,
    adapter: null,
    runtime_name: 'local',
    runtime: {},
    metrics,
    metrics_omitted: 0,
    command: ['true'],
    image: { reference: 'busybox', digest: null },
    source: null,
    datasets: [],
    profile: { name: 'p', digest: 'sha256:0' },
    operator_version: '0.0.0',
    nodes: 1,
    gpu: null,
    environment: [],
    input_digest: digestOf(run.spec),
    result_digest: null,
    event_count: 0,
    attempts: [{ number: 1, started_at: NOW, finished_at: NOW, exit_code: 0, reason: 'Completed' }],
    attempt_count: 1,
    exit_code: 0,
    started_at: NOW,
    finished_at: NOW,
    duration_seconds: 0.5,
    cost_estimate_usd: null,
    log_path: log?.path ?? null,
    artifacts: artifacts.map((a) => ({
      name: a.name,
      path: a.path,
      rank: a.rank ?? null,
      size_bytes: a.sizeBytes ?? null,
      count: null,
      sha256: a.sha256 ?? null,
      tree_digest: null,
      content_type: null,
      commit: a.commit,
      state: a.state,
    })),
  });
}
