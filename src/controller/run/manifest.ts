import { manifestSchema, digestOf, type Manifest } from '../../crds/manifest.ts';
import type { StoredArtifact, StoredLog } from '../../crds/world-run-status.ts';
import type { RuntimeProfileSpec } from '../../crds/runtime-profile.ts';
import type { WorldRunSpec } from '../../crds/world-run.ts';
import type { AttemptStatus } from '../../crds/world-run-status.ts';
import type { CollectedResult } from '../../results/contract.ts';
import { inputDigest } from '../identity.ts';
import { gpusPerNode } from '../../runtime/local/job.ts';
import type { Ending } from './decision.ts';
import { redact, secretsInUse } from '../../telemetry/secrets-in-use.ts';
import { publicCommand, publicText } from './public-text.ts';

/** Everything that a manifest is made of; the same input gives the same bytes. */
export interface ManifestInput {
  clientRunId: string;
  runId: string;
  spec: WorldRunSpec;
  profile: { name: string; digest: string; spec: RuntimeProfileSpec };
  ending: Ending;
  attempts: readonly AttemptStatus[];
  attemptCount: number;
  results: readonly CollectedResult[];
  log: StoredLog | undefined;
  durationSeconds: number | undefined;
  costUSD: string | undefined;
  /** Leaves that the runtime reports, documented upstream as `manifest.runtime`. */
  runtimeFacts: Record<string, string>;
  operatorVersion: string;
  /** RFC 3339. */
  finishedAt: string;
}

/** As the manifest writes times; null for what is none, such as a status that was edited by hand. */
function time(text: string | undefined): string | null {
  const ms = Date.parse(text ?? '');
  return ms >= 0 && ms < Date.parse('9999-12-31T00:00:00Z') ? new Date(ms).toISOString() : null;
}

/** What the schema takes: the gateway has refused the rest, and a stray one must not keep the run from ending. */
const isMetric = ([name, value]: [string, number]): boolean =>
  name.length > 0 && name.length <= 128 && name.isWellFormed() && Number.isFinite(value);

const MOST_WORDS = 256;
const MOST_ARTIFACTS = 1024;

export function buildManifest(input: ManifestInput): Manifest {
  const { spec, profile, ending, results } = input;
  const local = profile.spec.local;
  const image = spec.image ?? local?.image;
  const gpus = local === undefined ? 0 : gpusPerNode(spec, local);
  const adapter = profile.spec.adapters?.find((a) => a.id === spec.adapter?.id);
  const head = results.find((r) => r.rank === 0);
  const git = spec.source?.git;
  const provider = new Set(spec.forwardProviderEnv ?? []);
  const metrics = Object.entries(head?.metrics ?? {});
  const kept = metrics.filter(isMetric);
  const manifest: Manifest = {
    schema_version: 'worldflux-operator.run_manifest.v1',
    client_run_id: input.clientRunId,
    run_id: input.runId,
    status: ending.status,
    reason: ending.reason,
    task: spec.task ?? null,
    adapter:
      spec.adapter === undefined
        ? null
        : {
            id: spec.adapter.id,
            source: adapter?.source === undefined ? null : publicText(adapter.source),
            revision: adapter?.revision ?? null,
          },
    runtime_name: profile.spec.runtime,
    runtime: Object.fromEntries(Object.entries(input.runtimeFacts).map(([name, fact]) => [name, publicText(fact)])),
    // The names are the words of the run's own code.
    metrics: Object.fromEntries(kept.map(([name, value]) => [redact(name), value])),
    metrics_omitted: (head?.metricsOmitted ?? 0) + metrics.length - kept.length,
    command: publicCommand([...(spec.command ?? []), ...(spec.args ?? [])].slice(0, MOST_WORDS)),
    image:
      image === undefined
        ? null
        : {
            reference: publicText(image),
            digest: ending.imageDigest ?? /@(sha256:[0-9a-f]{64})$/.exec(image)?.[1] ?? null,
          },
    source: git === undefined ? null : { url: publicText(git.url), ref: git.ref, commit: ending.sourceCommit ?? null },
    datasets: (spec.datasets ?? []).map((d) => ({ id: d.id, revision: d.revision ?? null })),
    profile: { name: profile.name, digest: profile.digest },
    operator_version: input.operatorVersion,
    nodes: spec.nodes,
    gpu: gpus === 0 ? null : { resource: local!.gpu!.resourceName, per_node: gpus },
    environment: [
      ...(spec.env ?? []).map((e) => ({ name: e.name, source: 'literal' as const })),
      ...[...provider].map((name) => ({ name, source: 'provider' as const })),
    ],
    input_digest: inputDigest(spec),
    result_digest: results.length === 0 ? null : digestOf(resultFacts(results)),
    event_count: results.reduce((sum, r) => sum + (r.series?.lines ?? 0), 0),
    attempts: input.attempts.map((a) => ({
      number: a.number,
      started_at: time(a.startedAt),
      finished_at: time(a.finishedAt),
      exit_code: a.exitCode ?? null,
      reason: a.reason ?? null,
    })),
    attempt_count: input.attemptCount,
    exit_code: ending.exitCode ?? null,
    started_at: time(ending.attempt?.startedAt),
    finished_at: input.finishedAt,
    duration_seconds: input.durationSeconds ?? null,
    cost_estimate_usd: input.costUSD === undefined ? null : Number(input.costUSD),
    log_path: input.log?.path ?? null,
    artifacts: results
      .flatMap((r) => r.artifacts)
      .slice(0, MOST_ARTIFACTS)
      .map(artifactEntry),
  };
  // The value of a Secret may have come as anything: as the id of a data set, or as a path.
  return manifestSchema.parse(JSON.parse(secretsInUse.mask(JSON.stringify(manifest))));
}

function artifactEntry(a: StoredArtifact): Manifest['artifacts'][number] {
  return {
    name: a.name,
    path: publicText(a.path),
    rank: a.rank ?? null,
    size_bytes: a.sizeBytes ?? null,
    count: a.count ?? null,
    sha256: a.sha256 ?? null,
    tree_digest: a.treeDigest ?? null,
    content_type: a.contentType ?? null,
    commit: a.commit,
    state: a.state,
  };
}

/** What of the results decides whether two runs gave the same: no times, no pod. */
function resultFacts(results: readonly CollectedResult[]): unknown {
  return results.map((r) => ({
    rank: r.rank,
    metrics: Object.fromEntries(Object.entries(r.metrics).filter(isMetric)),
    artifacts: r.artifacts.map((a) => ({
      name: a.name.toWellFormed(),
      path: a.path.toWellFormed(),
      digest: a.treeDigest ?? a.sha256 ?? null,
      state: a.state,
    })),
  }));
}
