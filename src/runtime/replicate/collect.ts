import type { StoredArtifact } from '../../crds/world-run-status.ts';
import type { Handle, ResultSink, RuntimeContext, RuntimeIo, RuntimeResult } from '../contract.ts';
import { isRuntimeError, RuntimeError } from '../errors.ts';
import { prediction, type Prediction } from './answers.ts';
import { ask, endpointOf, TOKEN } from './client.ts';
import { isRefused, refusalOf } from './faults.ts';
import { fileOf, mediaType, outputsOf, type OutputPart } from './outputs.ts';

/**
 * Copies what a prediction has left. Files go first, for they are gone an hour after the end; one that cannot be had now
 * keeps no other from being copied, and is told of when all have had their turn.
 */
export async function collect(
  { externalId }: Handle,
  { runId, spec }: RuntimeContext,
  sink: ResultSink,
  io: RuntimeIo,
): Promise<RuntimeResult> {
  const call: Call = { runId, capability: spec.request?.capability ?? 'unknown' };
  const found = await read(externalId, call, io);
  if (found === undefined) {
    return {
      exitCode: 1,
      durationSeconds: 0,
      logPath: undefined,
      artifacts: [],
      costEstimateUSD: undefined,
      metrics: {},
      metadata: { provider: 'replicate', prediction_id: externalId, known_to_vendor: 'false' },
    };
  }
  const artifacts = await copyOutputs(found, call, sink, io);
  const { logs } = found;
  const logPath = logs === undefined || logs === '' ? undefined : await sink.log(one(Buffer.from(logs)));
  return {
    exitCode: found.status === 'succeeded' ? 0 : 1,
    durationSeconds: durationOf(found),
    logPath,
    artifacts,
    costEstimateUSD: undefined,
    metrics: metricsOf(found),
    metadata: metadataOf(found),
  };
}

interface Call {
  readonly runId: string;
  readonly capability: string;
}

async function read(id: string, call: Call, io: RuntimeIo): Promise<Prediction | undefined> {
  try {
    return await ask(
      io,
      { ...call, class: 'polling', name: 'prediction get' },
      (replicate) => replicate.predictions.get(id),
      prediction,
    );
  } catch (error) {
    if (isRefused(error, 404)) return undefined;
    throw error;
  }
}

async function copyOutputs(found: Prediction, call: Call, sink: ResultSink, io: RuntimeIo): Promise<StoredArtifact[]> {
  if (found.dataRemoved && found.status === 'succeeded')
    return [
      notStored('output', 'Missing', 'Replicate had removed it before it was copied; it keeps outputs for an hour'),
    ];
  const { parts, value, left } = outputsOf(found.output, io.profile);
  const artifacts: StoredArtifact[] = [];
  let later: unknown;
  for (const part of parts) {
    try {
      artifacts.push(await copyPart(part, call, sink, io));
    } catch (error) {
      if (!isRuntimeError(error, 'retryable', 'throttled')) throw error;
      later ??= error;
    }
  }
  if (later !== undefined) throw later;
  if (value !== undefined) artifacts.push(await sink.artifact({ ...valueFile(value), name: freeName(parts) }));
  if (left > 0)
    artifacts.push({
      ...notStored('more', 'Skipped', `${left} further files; a run keeps the first ${parts.length}`),
      count: left,
    });
  return artifacts;
}

function valueFile(value: { readonly json: unknown } | { readonly text: string }) {
  return 'text' in value
    ? { path: 'output.txt', contentType: 'text/plain; charset=utf-8', body: one(Buffer.from(value.text)) }
    : {
        path: 'output.json',
        contentType: 'application/json',
        body: one(Buffer.from(`${JSON.stringify(value.json, undefined, 2)}\n`)),
      };
}

const freeName = (parts: readonly OutputPart[]): string =>
  parts.some(({ name }) => name === 'output') ? 'output-value' : 'output';

async function copyPart(part: OutputPart, call: Call, sink: ResultSink, io: RuntimeIo): Promise<StoredArtifact> {
  const { name } = part;
  switch (part.from) {
    case 'nowhere':
      return notStored(name, 'Skipped', part.message);
    case 'data':
      return sink.artifact({ name, ...fileOf(name, part.type, undefined), body: one(part.bytes) });
    case 'url':
      return download(part, call, sink, io);
  }
}

async function download(
  { url, name, extension }: Extract<OutputPart, { from: 'url' }>,
  call: Call,
  sink: ResultSink,
  io: RuntimeIo,
): Promise<StoredArtifact> {
  // Some outputs are files of the API itself; nothing else is ever shown the token.
  const own = url.origin === new URL(endpointOf(io.profile)).origin;
  const operation = { ...call, class: 'download', name: 'output download', credentials: own } as const;
  let body: Watched | undefined;
  try {
    const response = await io.http.fetch(operation)(url, {
      headers: own ? { authorization: `Bearer ${io.credentials[TOKEN]}` } : {},
      signal: io.signal,
    });
    if (!response.ok || response.body === null) return await missing(name, response, io);
    const file = fileOf(name, mediaType(response.headers.get('content-type')), extension);
    body = new Watched(response.body);
    return await sink.artifact({ name, ...file, body: body.bytes() });
  } catch (error) {
    // What the store throws is the store's; what the vendor's bytes throw comes back through it in any wrapping.
    const cause = body?.problem ?? error;
    if (isRuntimeError(cause, 'refused', 'terminal')) return notStored(name, 'Refused', cause.message);
    // The profile's own word: another try would have a budget of its own.
    if (isRuntimeError(cause, 'budget')) return notStored(name, 'Failed', cause.message);
    throw cause;
  } finally {
    await body?.cancel();
  }
}

/** Gone, or not served for now. */
async function missing(name: string, response: Response, io: RuntimeIo): Promise<StoredArtifact> {
  const { status } = response;
  if (status === 404 || status === 410 || status === 403)
    return notStored(name, 'Missing', `Replicate no longer serves it (${status}); it keeps outputs for an hour`);
  const refusal = await refusalOf(response, 'output download', { creates: false, now: io.now() });
  if (refusal.kind === 'retryable' || refusal.kind === 'throttled') throw refusal;
  return notStored(name, 'Failed', refusal.message);
}

/** Bytes on their way to the store, and what became of them on this side. */
class Watched {
  problem: RuntimeError | undefined;
  readonly #body: ReadableStream<Uint8Array>;

  constructor(body: ReadableStream<Uint8Array>) {
    this.#body = body;
  }

  async *bytes(): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of this.#body) yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    } catch (cause) {
      this.problem = isRuntimeError(cause)
        ? cause
        : new RuntimeError({ kind: 'retryable' }, 'replicate output download: the bytes stopped coming', cause);
      throw this.problem;
    }
  }

  /** A store that has it already reads nothing: the connection would wait for it. Nothing where it has ended. */
  async cancel(): Promise<void> {
    if (!this.#body.locked) await this.#body.cancel().catch(() => undefined);
  }
}

function notStored(name: string, state: 'Missing' | 'Refused' | 'Failed' | 'Skipped', message: string): StoredArtifact {
  return { name, path: name, commit: false, state, message: message.slice(0, 512) };
}

/** What is billed where the vendor tells it, else the time between start and end. Seconds. */
function durationOf({ metrics, startedAt, completedAt }: Prediction): number {
  const { predict_time: billed } = metrics;
  if (typeof billed === 'number' && Number.isFinite(billed) && billed >= 0) return billed;
  return startedAt === undefined || completedAt === undefined ? 0 : Math.max(0, (completedAt - startedAt) / 1000);
}

const MOST_METRICS = 64;

function metricsOf({ metrics }: Prediction): Record<string, number> {
  const numbers = Object.entries(metrics).filter(
    (entry): entry is [string, number] => Number.isFinite(entry[1]) && /^[A-Za-z0-9_.:/-]{1,128}$/.test(entry[0]),
  );
  return Object.fromEntries(numbers.slice(0, MOST_METRICS));
}

function metadataOf(found: Prediction): Record<string, string> {
  const facts: Record<string, string | undefined> = {
    provider: 'replicate',
    prediction_id: found.id,
    prediction_status: found.status,
    model: found.model,
    version: found.version,
    deployment: found.deployment,
    data_removed: String(found.dataRemoved),
  };
  return Object.fromEntries(
    Object.entries(facts).flatMap(([key, value]) =>
      value !== undefined && /^[A-Za-z0-9._:/-]{1,256}$/.test(value) ? [[key, value]] : [],
    ),
  );
}

async function* one(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
