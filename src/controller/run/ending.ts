import { digestOf, SECRET_LIKE_KEY, type Manifest } from '../../crds/manifest.ts';
import { publicText } from './public-text.ts';
import type { AttemptStatus, StoredArtifact, StoredLog, WorldRunStatus } from '../../crds/world-run-status.ts';
import type { CollectedResult } from '../../results/contract.ts';
import { actualCostUSD, requestsSent } from '../cost.ts';
import { VERSION } from '../../version.ts';
import type { Ending } from './decision.ts';
import { buildManifest } from './manifest.ts';
import type { RunRecord } from '../../results/records.ts';
import type { ResultsVerdict } from './situation.ts';
import type { World } from './world.ts';
import { recordKey } from '../../results/keys.ts';

/** The last word on a run: its manifest, its record in the store, and the status that holds both. Pure. */

/** What stands in the terminal status beside the conditions. */
export interface LastWords {
  manifest: Manifest;
  artifacts: StoredArtifact[];
  log: StoredLog | undefined;
  /** Key of the record that holds the whole manifest; absent where there is none. */
  manifestPath?: string | undefined;
}

export function recordOf(
  world: World,
  ending: Ending,
  ids: { runId: string; clientRunId: string },
): { verdict: ResultsVerdict; keeps: boolean; words: LastWords } {
  const { run, pinned, profile } = world;
  const own = ending.attempt?.number === ending.resultsOf;
  const results = own ? world.results : world.resultsOf(ending.resultsOf);
  const from = pinned ?? (profile && { name: profile.name, digest: profile.digest, spec: profile.spec });
  const collected = [...results.results.values()].toSorted((a, b) => a.rank - b.rank);
  const log = results.logs.get(0);
  // A node costs while it starts; a vendor's queue costs nothing.
  const held = (from?.spec.local === undefined ? 0 : ending.clocks.startupSeconds) + ending.clocks.runSeconds;
  const { attempt } = ending;
  // NaN where there is none, and where somebody wrote nonsense into the status.
  const startedMs = Date.parse(attempt?.startedAt ?? '');
  const finishedMs = Date.parse(attempt?.finishedAt ?? '') || world.now;
  const durationSeconds = Number.isNaN(startedMs) ? undefined : Math.max(0, (finishedMs - startedMs) / 1000);
  const attempts = [
    ...(run.status.attempts ?? []).filter((a) => a.number !== attempt?.number),
    ...(attempt === undefined ? [] : [attempt]),
  ];
  const attemptCount = Math.max(run.status.attemptCount ?? 0, attempt?.number ?? 0);
  const requests = requestsSent({ attempts, attemptCount });
  const told = collected[0]?.runtime;
  const reported =
    told?.costEstimateUSD === undefined
      ? {}
      : { reported: { usd: told.costEstimateUSD, seconds: told.durationSeconds } };
  const costUSD =
    from === undefined
      ? undefined
      : actualCostUSD(run.spec, from.spec, { seconds: held, requests }, { ...reported, elsewhere: world.elsewhere });
  const manifest = buildManifest({
    ...ids,
    spec: run.spec,
    profile: from ?? { name: run.spec.runtimeProfileRef?.name ?? '', digest: '', spec: { runtime: 'local' } as never },
    ending,
    attempts: attempts.slice(-16),
    attemptCount,
    results: collected,
    log,
    durationSeconds,
    costUSD,
    runtimeFacts: runtimeFacts(world, attempt, collected[0]),
    operatorVersion: VERSION,
    finishedAt: new Date(finishedMs).toISOString(),
  });
  const artifacts = collected.flatMap((r) => r.artifacts);
  const collects = from !== undefined && from.spec.local?.collect !== 'Disabled';
  const started = attempts.some((a) => a.number === ending.resultsOf && a.startedAt !== undefined);
  const verdict = verdictOf(world, collects, collected, { started, log: log !== undefined });
  // A runKey promises that the run is found again, and a manifest too large for the status must be whole somewhere; a
  // run without results, key and such a manifest needs no record.
  const keeps = collects || run.spec.runKey !== undefined || bytes(manifest) > MANIFEST_INLINE_BYTES;
  return {
    verdict,
    keeps,
    words: { manifest, artifacts, log, manifestPath: keeps ? recordKey(ids.clientRunId) : undefined },
  };
}

/** What the store keeps of the run when its object is gone; `status` is the one that is about to be written. */
export function recordFor(
  world: World,
  clientRunId: string,
  status: WorldRunStatus,
  { manifest, artifacts, log }: LastWords,
): RunRecord {
  const { run } = world;
  return {
    version: 1,
    clientRunId,
    namespace: run.namespace,
    ...(world.namespace !== undefined && { namespaceUid: world.namespace.uid }),
    name: run.name,
    uid: run.uid,
    ...(run.spec.runKey !== undefined && { runKey: run.spec.runKey }),
    specDigest: manifest.input_digest,
    state: 'Finished',
    status,
    manifest,
    finishedAt: manifest.finished_at,
    ...removal(world, manifest.finished_at),
    bytes: artifacts.reduce((sum, a) => sum + (a.state === 'Stored' ? (a.sizeBytes ?? 0) : 0), log?.bytes ?? 0),
  };
}

/** When the profile wants what is stored of the run to be gone. */
function removal(world: World, finishedAt: string): { removeAt?: string } {
  const seconds = (world.pinned?.spec ?? world.profile?.spec)?.retention.expireSeconds;
  return seconds === undefined ? {} : { removeAt: new Date(Date.parse(finishedAt) + seconds * 1000).toISOString() };
}

function runtimeFacts(
  world: World,
  attempt: AttemptStatus | undefined,
  result: CollectedResult | undefined,
): Record<string, string> {
  const node = attempt?.node;
  if (world.vendor !== undefined) {
    const { capability } = world.run.spec.request ?? {};
    const said = Object.entries(result?.runtime?.metadata ?? {})
      .filter(([key]) => key.length > 0 && key.length <= 128 && !SECRET_LIKE_KEY.test(key))
      .slice(0, 64)
      .map(([key, value]) => [key, publicText(value)] as const);
    return {
      ...Object.fromEntries(said),
      kind: 'Vendor',
      ...(capability !== undefined && { capability }),
      ...(attempt?.externalId !== undefined && { external_id: attempt.externalId }),
    };
  }
  const arch = node === undefined ? undefined : world.nodes(node)?.labels['kubernetes.io/arch'];
  return { kind: 'Job', ...(arch !== undefined && { arch }) };
}

function verdictOf(
  world: World,
  collects: boolean,
  results: readonly CollectedResult[],
  left: { started: boolean; log: boolean },
): ResultsVerdict {
  if (!collects) return { stored: false, reason: 'CollectionDisabled', message: 'The profile says collect: Disabled.' };
  if (!left.started && results.length === 0)
    return { stored: false, reason: 'NothingProduced', message: 'The run ended before its container started.' };
  const wanted = world.run.spec.outputs.ranks === 'All' ? world.run.spec.nodes : 1;
  if (results.length < wanted) {
    return world.vendor === undefined
      ? { stored: false, reason: 'CollectionCutShort', message: 'The pod ended before its results were uploaded.' }
      : { stored: false, reason: 'CollectionCutShort', message: 'The vendor’s results could not be copied in time.' };
  }
  if (results.some((r) => r.via === 'TerminationMessage')) {
    return {
      stored: false,
      reason: 'GatewayUnreachable',
      message:
        'The collector could not reach the gateway; the metrics came through the termination message, artifacts are lost.',
    };
  }
  const lost = results.flatMap((r) => r.artifacts).filter((a) => a.state !== 'Stored');
  // A vendor need not have one.
  const hasLog = left.log || results.every((r) => r.via === 'Runtime');
  const problem = results.find((r) => r.rank === 0)?.metricsProblem;
  const words = [
    ...lost.slice(0, 5).map((a) => `${a.name}: ${a.state}${a.message === undefined ? '' : ` (${a.message})`}`),
    ...(lost.length > 5 ? [`${lost.length - 5} more`] : []),
    ...(hasLog ? [] : ['the log could not be read']),
    ...(problem === undefined ? [] : [problem]),
  ].join('; ');
  // What is wrong with the metrics is the run's own doing: everything that it left is stored.
  if (lost.length > 0 || !hasLog)
    return { stored: false, reason: 'PartlyStored', message: `Not everything was stored: ${words}` };
  return {
    stored: true,
    reason: 'Stored',
    message: words === '' ? 'Metrics, log and artifacts are in the run store.' : `Stored, but: ${words}`,
  };
}

const MANIFEST_INLINE_BYTES = 8 * 1024;
const STATUS_BYTES = 24 * 1024;
const INLINE_METRICS = 32;
const INLINE_ARTIFACTS = 64;

const bytes = (value: unknown): number => Buffer.byteLength(JSON.stringify(value));

/** Adds the last words to a terminal status, as much as fits: what is too large never keeps a run from ending. */
export function terminalStatus(base: WorldRunStatus, words: LastWords): WorldRunStatus {
  const { manifest, artifacts, log, manifestPath } = words;
  const { exit_code: exitCode, duration_seconds: duration, cost_estimate_usd: cost } = manifest;
  const status: WorldRunStatus = {
    ...base,
    result: {
      ...(exitCode !== null && { exitCode }),
      ...(duration !== null && { durationSeconds: duration }),
      ...(cost !== null && { costEstimateUSD: cost.toFixed(4) }),
      ...(log !== undefined && { log }),
    },
    manifest: inline(manifest),
    manifestDigest: digestOf(manifest),
    ...(manifestPath !== undefined && { manifestPath }),
    ...(artifacts.length > 0 && { artifacts: artifacts.slice(0, INLINE_ARTIFACTS), artifactCount: artifacts.length }),
  };
  let listed = INLINE_ARTIFACTS;
  while (bytes(status) > STATUS_BYTES && listed > 0) {
    listed = Math.floor(listed / 2);
    if (listed === 0) delete status.artifacts;
    else status.artifacts = artifacts.slice(0, listed);
  }
  // What is left is bounded by itself: conditions and attempts hold clipped messages.
  if (bytes(status) > STATUS_BYTES) status.manifest = excerpt(manifest, 0);
  return status;
}

function inline(manifest: Manifest): Record<string, unknown> {
  if (bytes(manifest) <= MANIFEST_INLINE_BYTES) return manifest;
  let metrics = INLINE_METRICS;
  while (metrics > 0 && bytes(excerpt(manifest, metrics)) > MANIFEST_INLINE_BYTES) metrics -= 1;
  return excerpt(manifest, metrics);
}

/** The head of a manifest that is too large for the status; the whole is at `manifestPath`, its digest beside it. */
function excerpt(manifest: Manifest, metrics: number): Record<string, unknown> {
  const {
    schema_version,
    client_run_id,
    run_id,
    status,
    reason,
    exit_code,
    started_at,
    finished_at,
    duration_seconds,
  } = manifest;
  return {
    schema_version,
    client_run_id,
    run_id,
    status,
    reason,
    exit_code,
    started_at,
    finished_at,
    duration_seconds,
    excerpt: true,
    metrics: Object.fromEntries(Object.entries(manifest.metrics).slice(0, metrics)),
  };
}
