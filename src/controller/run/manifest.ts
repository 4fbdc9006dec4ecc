import { manifestSchema, digestOf, SECRET_LIKE_KEY, type Manifest } from '../../crds/manifest.ts';
import type { StoredArtifact, StoredLog } from '../../crds/world-run-status.ts';
import type { RuntimeProfileSpec } from '../../crds/runtime-profile.ts';
import type { WorldRunSpec } from '../../crds/world-run.ts';
import type { AttemptStatus } from '../../crds/world-run-status.ts';
import type { CollectedResult } from '../../results/contract.ts';
import { gpusPerNode } from '../../runtime/local/job.ts';
import type { Ending } from './decision.ts';

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

/** Drops the query of anything that looks like a URL: a signed one is a credential. */
function withoutQuery(text: string): string {
  return text.replaceAll(/(\b[a-z][a-z0-9+.-]*:\/\/)([^\s/@]+@)?([^\s?#]*)(\?[^\s#]*)?/gi, '$1$3');
}

/** `--token=x`, `--api-key x`: the value of a secret-like flag does not belong into a record. */
function withoutSecrets(words: readonly string[]): string[] {
  let hideNext = false;
  return words.map((word) => {
    if (hideNext) {
      hideNext = false;
      return '[redacted]';
    }
    const [flag, value] = word.startsWith('-') ? word.split(/=(.*)/s) : [undefined, undefined];
    if (flag !== undefined && SECRET_LIKE_KEY.test(flag.replace(/^-+/, ''))) {
      if (value === undefined) hideNext = true;
      else return `${flag}=[redacted]`;
    }
    return withoutQuery(word).slice(0, 512);
  });
}

export function buildManifest(input: ManifestInput): Manifest {
  const { spec, profile, ending, results } = input;
  const local = profile.spec.local;
  const image = spec.image ?? local?.image;
  const gpus = local === undefined ? 0 : gpusPerNode(spec, local);
  const adapter = profile.spec.adapters?.find((a) => a.id === spec.adapter?.id);
  const head = results.find((r) => r.rank === 0);
  const git = spec.source?.git;
  const provider = new Set(spec.forwardProviderEnv ?? []);
  const manifest: Manifest = {
    schema_version: 'worldflux-operator.run_manifest.v1',
    client_run_id: input.clientRunId,
    run_id: input.runId,
    status: ending.status,
    reason: ending.reason,
    task: spec.task ?? null,
    adapter: spec.adapter === undefined ? null : { id: spec.adapter.id, source: adapter?.source ?? null, revision: adapter?.revision ?? null },
    runtime_name: profile.spec.runtime,
    runtime: input.runtimeFacts,
    metrics: head?.metrics ?? {},
    metrics_omitted: head?.metricsOmitted ?? 0,
    command: withoutSecrets([...(spec.command ?? []), ...(spec.args ?? [])]),
    image: image === undefined ? null : { reference: withoutQuery(image), digest: ending.imageDigest ?? /@(sha256:[0-9a-f]{64})$/.exec(image)?.[1] ?? null },
    source: git === undefined ? null : { url: withoutQuery(git.url), ref: git.ref, commit: ending.sourceCommit ?? null },
    datasets: (spec.datasets ?? []).map((d) => ({ id: d.id, revision: d.revision ?? null })),
    profile: { name: profile.name, digest: profile.digest },
    operator_version: input.operatorVersion,
    nodes: spec.nodes,
    gpu: gpus === 0 ? null : { resource: local!.gpu!.resourceName, per_node: gpus },
    environment: [
      ...(spec.env ?? []).map((e) => ({ name: e.name, source: 'literal' as const })),
      ...[...provider].map((name) => ({ name, source: 'provider' as const })),
    ],
    input_digest: digestOf(spec),
    result_digest: results.length === 0 ? null : digestOf(resultFacts(results)),
    event_count: results.reduce((sum, r) => sum + (r.series?.lines ?? 0), 0),
    attempts: input.attempts.map((a) => ({
      number: a.number,
      started_at: a.startedAt ?? null,
      finished_at: a.finishedAt ?? null,
      exit_code: a.exitCode ?? null,
      reason: a.reason ?? null,
    })),
    attempt_count: input.attemptCount,
    exit_code: ending.exitCode ?? null,
    started_at: ending.attempt?.startedAt ?? null,
    finished_at: input.finishedAt,
    duration_seconds: input.durationSeconds ?? null,
    cost_estimate_usd: input.costUSD === undefined ? null : Number(input.costUSD),
    log_path: input.log?.path ?? null,
    artifacts: results.flatMap((r) => r.artifacts).slice(0, 1024).map(artifactEntry),
  };
  return manifestSchema.parse(manifest);
}

function artifactEntry(a: StoredArtifact): Manifest['artifacts'][number] {
  return {
    name: a.name,
    path: withoutQuery(a.path),
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
    metrics: r.metrics,
    artifacts: r.artifacts.map((a) => ({ name: a.name, path: a.path, digest: a.treeDigest ?? a.sha256 ?? null, state: a.state })),
  }));
}
