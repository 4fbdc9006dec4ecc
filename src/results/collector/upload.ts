import { backoffMs } from '../../kube/backoff.ts';
import { pause } from '../../kube/pause.ts';
import type { UploadTarget } from '../contract.ts';
import type { UploadAnswer, UploadPost } from '../protocol.ts';
import { RefusedError, type GatewayClient } from './http.ts';
import { OutputError } from './output-tree.ts';
import type { Source } from './source.ts';

/** Parts of one object that are under way at once, where the store takes them in any order. */
const PARALLEL = 4;
const TRIES = 5;
/** Times that an upload is begun again without a single new part. */
const ROUNDS = 5;
const BACKOFF = { baseMs: 250, maxMs: 5_000 };

type Part = UploadTarget['parts'][number];

/**
 * Brings a source's bytes into the run store and answers their key. Goes on where it was broken off: every new round
 * asks the store which parts are missing. Rejects with RefusedError, with OutputError when the bytes changed, or with the
 * signal's reason.
 */
export async function upload(
  client: GatewayClient,
  source: Source,
  post: UploadPost,
  signal: AbortSignal,
): Promise<string> {
  let uploadId: string | undefined;
  let stale = 0;
  for (let round = 0; stale < ROUNDS; round++) {
    const body = uploadId === undefined ? post : { ...post, uploadId };
    const { key, target } = await client.postUntil<UploadAnswer>('uploads', body, signal);
    uploadId = target.uploadId;
    const put = target.stored === true ? 0 : await putParts(client, source, target, signal);
    stale = put > 0 ? 0 : stale + 1;
    if (put < target.parts.length || target.more === true) continue;
    try {
      await client.postUntil('uploads/commit', { ...post, uploadId }, signal);
      return key;
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      // What was put is not what was announced: the file is another one now.
      if (error.code === 'digestMismatch' || error.code === 'conflict')
        throw new OutputError('changed', 'changed while it was uploaded', error);
      if (error.code !== 'noUpload') throw error;
      uploadId = undefined;
    }
  }
  throw new RefusedError('unreachable', 'the run store took none of its bytes');
}

/** How many of the target's parts were put. */
async function putParts(
  client: GatewayClient,
  source: Source,
  target: UploadTarget,
  signal: AbortSignal,
): Promise<number> {
  const waiting = [...target.parts];
  let put = 0;
  const worker = async (): Promise<void> => {
    for (let part = waiting.shift(); part !== undefined; part = waiting.shift()) {
      if (await putPart(client, source, part, signal)) put += 1;
      // The store knows better what it has: ask it again.
      else waiting.length = 0;
    }
  };
  const workers = target.inOrder === true ? 1 : PARALLEL;
  await Promise.all(Array.from({ length: workers }, worker));
  return put;
}

/** False when the part must be asked for again: its URL has expired, or it does not follow. */
async function putPart(client: GatewayClient, source: Source, part: Part, signal: AbortSignal): Promise<boolean> {
  const { url, headers, offset, size } = part;
  for (let failures = 1; failures <= TRIES; failures++) {
    signal.throwIfAborted();
    try {
      const { status, retryAfterMs } = await client.put(url, headers, size, source.read(offset, offset + size), signal);
      // 412: it is there already; whether with these bytes, the commit says.
      if (status < 300 || status === 412) return true;
      if (status === 403 || status === 404 || status === 409 || status === 410) return false;
      await pause(Math.max(retryAfterMs, backoffMs(failures, BACKOFF)), signal);
    } catch (error) {
      if (error instanceof OutputError) throw error;
      if (error instanceof Error && error.cause instanceof OutputError) throw error.cause;
      signal.throwIfAborted();
      await pause(backoffMs(failures, BACKOFF), signal);
    }
  }
  return false;
}
