import { createHash, type Hash } from 'node:crypto';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { request } from 'undici';
import { pause } from '../kube/pause.ts';
import { LOCATION_TYPE, type ArtifactItem, type ArtifactLocation } from '../results/api/protocol.ts';
import { CliError } from './errors.ts';
import { openResult } from './results-reader.ts';
import type { Session } from './session.ts';

/** Tries in a row that brought no byte. */
const MOST_EMPTY_TRIES = 4;
const IDLE_MS = 60_000;

interface Chunks {
  chunks: AsyncIterable<Uint8Array>;
  /** False when the answer begins at byte 0, whatever was asked for. */
  partial: boolean;
}

/**
 * Downloads one artifact to `file`, which appears only when its length and SHA-256 are right. Goes on where it was cut
 * off: API servers end every plain request after a minute. Answers the digest.
 */
export async function download(
  session: Session,
  run: { namespace: string; name: string },
  item: ArtifactItem,
  file: string,
): Promise<string> {
  const part = `${file}.part`;
  const handle = await open(part, 'w').catch((cause: unknown) => {
    throw new CliError('failed', `${part} cannot be written: ${(cause as Error).message}`, undefined, cause);
  });
  try {
    const found = await fill(handle, item, (offset) => openAt(session, run, item, offset), session);
    if (item.sha256 !== undefined && item.sha256 !== found) {
      throw new CliError(
        'notVerified',
        `artifact ${item.name} has the digest ${found} and not the recorded ${item.sha256}; nothing was kept`,
        `kubectl worldflux artifacts list ${run.name} -n ${run.namespace}`,
      );
    }
    await handle.sync();
    await handle.close();
    await rename(part, file);
    return found;
  } finally {
    await handle.close().catch(() => {});
    await rm(part, { force: true });
  }
}

async function fill(
  handle: FileHandle,
  item: ArtifactItem,
  openFrom: (offset: number) => Promise<Chunks>,
  { signal }: Session,
): Promise<string> {
  const size = item.sizeBytes ?? 0;
  let hash: Hash = createHash('sha256');
  let written = 0;
  for (let empty = 0; written < size;) {
    const before = written;
    try {
      const { chunks, partial } = await openFrom(written);
      if (!partial && written > 0) {
        hash = createHash('sha256');
        written = 0;
      }
      for await (const chunk of chunks) {
        if (written + chunk.length > size)
          throw new CliError('notVerified', `artifact ${item.name} is longer than its recorded ${size} bytes`);
        await handle.write(chunk, 0, chunk.length, written);
        hash.update(chunk);
        written += chunk.length;
      }
    } catch (error) {
      if (error instanceof CliError) throw error;
      if (signal.aborted) throw new CliError('interrupted', 'interrupted', undefined, error);
      if (written > before) empty = 0;
      else if ((empty += 1) >= MOST_EMPTY_TRIES) throw error;
      await pause(500 * empty, signal);
      continue;
    }
    if (written === before)
      throw new CliError('notVerified', `artifact ${item.name} ended after ${written} of ${size} bytes`);
  }
  return `sha256:${hash.digest('hex')}`;
}

async function openAt(
  session: Session,
  run: { namespace: string; name: string },
  item: ArtifactItem,
  offset: number,
): Promise<Chunks> {
  const headers: Record<string, string> = offset === 0 ? {} : { range: `bytes=${offset}-` };
  const {
    body,
    headers: got = {},
    status,
  } = await openResult(session, run, 'artifacts', { name: item.name, rank: item.rank }, headers);
  if (got['content-type'] !== LOCATION_TYPE) return { chunks: body, partial: status === 206 };
  const parts: Buffer[] = [];
  for await (const chunk of body) parts.push(chunk as Buffer);
  const { url } = JSON.parse(Buffer.concat(parts).toString('utf8')) as ArtifactLocation;
  const answer = await request(url, {
    headers,
    signal: session.signal,
    headersTimeout: IDLE_MS,
    bodyTimeout: IDLE_MS,
  }).catch((cause: unknown) => {
    // The URL is a credential: it is not shown.
    throw new CliError(
      'unreachable',
      `${new URL(url).host}, where the cluster keeps its results, did not answer from here`,
      undefined,
      cause,
    );
  });
  if (answer.statusCode >= 400) {
    await answer.body.dump();
    throw new CliError('failed', `${new URL(url).host} answered ${answer.statusCode} for artifact ${item.name}`);
  }
  return { chunks: answer.body, partial: answer.statusCode === 206 };
}
