import { open, stat } from 'node:fs/promises';
import type { StoredArtifact } from '../../crds/world-run-status.ts';
import type { ResultPost, UploadPost } from '../protocol.ts';
import { ended, planArtifact, type ArtifactLimits, type ArtifactSpec, type PlannedArtifact } from './artifact.ts';
import { RefusedError, type GatewayClient } from './http.ts';
import { OutputError, type OutputTree } from './output-tree.ts';
import { filterSeries } from './series.ts';
import type { Clean } from './words.ts';
import { digest, type Source } from './source.ts';
import type { CollectorState } from './state.ts';
import { upload } from './upload.ts';

export interface StoringContext {
  client: GatewayClient;
  tree: OutputTree;
  state: CollectorState;
  limits: ArtifactLimits;
  uploadSeconds: number;
  clean: Clean;
  /** Aborts when only the result can still be posted. */
  signal: AbortSignal;
}

/** A file that is written while it is read gets a second chance. */
const TRIES = 2;

/** Brings an artifact into the store, or says why not. Rejects only when nothing of this run is taken any more. */
export async function storeArtifact(context: StoringContext, spec: ArtifactSpec): Promise<StoredArtifact> {
  const before = context.state.stored(spec.name);
  let outcome = await tryStore(context, spec);
  for (let tries = 1; tries < TRIES && outcome.state === 'Failed' && !context.signal.aborted; tries++) {
    outcome = await tryStore(context, spec);
  }
  if (outcome.state !== 'Failed' || before === undefined) return outcome;
  return {
    ...before.artifact,
    message: `an earlier state of it: the last one ${outcome.message ?? 'failed'}`.slice(0, 512),
  };
}

async function tryStore(context: StoringContext, spec: ArtifactSpec): Promise<StoredArtifact> {
  const { client, tree, state, limits, signal } = context;
  try {
    const plan = await planArtifact(tree, spec, limits);
    if ('state' in plan) return plan;
    const known = state.stored(spec.name);
    if (known?.signature === plan.signature) return known.artifact;
    const digests = await digest(plan.source, plan.entries, signal);
    const { sha256, partSha256, treeDigest } = digests;
    const post: UploadPost = {
      kind: 'artifact',
      name: spec.name,
      extension: plan.extension,
      size: plan.source.size,
      sha256,
      contentType: plan.contentType,
      ...(partSha256 === undefined ? {} : { partSha256 }),
    };
    const path = await upload(client, plan.source, post, signal);
    const artifact = describe(plan, path, `sha256:${sha256}`, treeDigest);
    await state.setStored(spec.name, plan.signature, artifact);
    return artifact;
  } catch (error) {
    return failed(context, spec, error);
  }
}

function describe(plan: PlannedArtifact, path: string, sha256: string, treeDigest: string | undefined): StoredArtifact {
  const { spec, source, contentType, entries, message } = plan;
  return {
    name: spec.name,
    path,
    count: entries?.length ?? 1,
    sizeBytes: source.size,
    sha256,
    ...(treeDigest === undefined ? {} : { treeDigest }),
    contentType,
    commit: spec.commit,
    state: 'Stored',
    ...(message === undefined ? {} : { message }),
  };
}

function failed({ signal, uploadSeconds }: StoringContext, spec: ArtifactSpec, error: unknown): StoredArtifact {
  if (signal.aborted) return ended(spec, 'Failed', `was not stored within the ${uploadSeconds} s for uploads`);
  if (error instanceof OutputError) return ended(spec, 'Failed', error.message);
  // Whatever happens to one artifact, the others and the metrics still get through.
  if (!(error instanceof RefusedError)) return ended(spec, 'Failed', `could not be read (${codeOf(error)})`);
  if (error.code === 'over') throw error;
  return ended(spec, error.code === 'tooLarge' ? 'Refused' : 'Failed', error.message);
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? (error instanceof Error ? error.name : 'unknown');
}

/** The good lines of the series, in the store; undefined when there is no series, or it could not be stored. */
export async function storeSeries(context: StoringContext, path: string, copy: string): Promise<ResultPost['series']> {
  try {
    const series = await filterSeries(context.tree, path, copy, context);
    if (series === undefined) return undefined;
    const { size } = await stat(copy);
    const source = ownFile(copy, size);
    const { sha256, partSha256 } = await digest(source, undefined, context.signal);
    const post: UploadPost = {
      kind: 'series',
      name: 'series',
      extension: 'jsonl',
      size,
      sha256,
      contentType: 'application/x-ndjson',
      ...(partSha256 === undefined ? {} : { partSha256 }),
    };
    return { path: await upload(context.client, source, post, context.signal), ...series };
  } catch (error) {
    if (error instanceof RefusedError && error.code === 'over') throw error;
    return undefined;
  }
}

/** A file in the collector's own folder, where nobody else writes. */
function ownFile(path: string, size: number): Source {
  return {
    size,
    async *read(from, to) {
      const handle = await open(path);
      try {
        for (let at = from; at < to;) {
          const buffer = Buffer.allocUnsafe(Math.min(256 * 1024, to - at));
          const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
          if (bytesRead === 0) throw new Error('the copy of the series was cut off');
          yield buffer.subarray(0, bytesRead);
          at += bytesRead;
        }
      } finally {
        await handle.close();
      }
    },
  };
}
