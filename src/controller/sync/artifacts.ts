import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { StreamBody } from '../../net/http.ts';
import type { ArtifactRequest, ProjectRef, Upstream } from '../../upstream/client.ts';
import { UpstreamError } from '../../upstream/errors.ts';
import { SyncFailure } from './failure.ts';
import { MissingBytes } from './prepare.ts';
import { isOpen, type SyncArtifact } from './record.ts';

/** One run's artifact channel: initiate → put → commit, or abort. Each step is on disk before it is taken. */
export interface ArtifactChannel {
  readonly upstream: Upstream;
  readonly clientRunId: string;
  readonly cloudRunId: string | undefined;
  readonly project: ProjectRef;
  open(artifact: SyncArtifact, signal: AbortSignal): Promise<Readable>;
  /** Writes the record, with what is about to be asked. */
  before(request: string, artifact: SyncArtifact): Promise<void>;
  uploaded(bytes: number): void;
  readonly signal: AbortSignal;
}

/** Upload URLs that expire while they are used are asked for again this often in one try. */
const MAX_INITIATES = 3;

/**
 * Takes one artifact as far as it goes. Ends in `Committed` or `Skipped`; throws SyncFailure or UpstreamError when it has
 * to be tried again, with the state reached in `artifact`.
 */
export async function sendArtifact(channel: ArtifactChannel, artifact: SyncArtifact): Promise<void> {
  for (let initiates = 0; !isOver(artifact);) {
    if (artifact.state === 'Uploaded' && artifact.artifactId !== undefined) {
      await commit(channel, artifact);
      continue;
    }
    // Begun by an operator that died: its upload URL died with it.
    if (isOpen(artifact)) {
      await giveUp(channel, artifact);
      continue;
    }
    if (initiates === MAX_INITIATES) {
      throw new SyncFailure({
        scope: 'Run',
        reason: 'UploadFailed',
        message: `${artifact.name}: the upload was not accepted ${MAX_INITIATES} times in a row`,
        retry: 'Backoff',
      });
    }
    initiates += 1;
    await initiateAndPut(channel, artifact);
  }
}

/** Takes back what was begun. A success when there is nothing to take back. */
export async function giveUp(channel: ArtifactChannel, artifact: SyncArtifact): Promise<void> {
  if (!isOpen(artifact) || artifact.artifactId === undefined) return;
  await channel.before('abort', artifact);
  try {
    await channel.upstream.abort(requestOf(channel, artifact), artifact.artifactId, channel.signal);
  } catch (error) {
    if (!(error instanceof UpstreamError)) throw error;
    // Not there: fine. A conflict: it was committed by a request whose answer was lost.
    if (error.fault.kind === 'conflict' && (await isThere(channel, artifact, artifact.artifactId))) return;
    if (error.fault.kind !== 'notFound' && error.fault.kind !== 'conflict') throw error;
  }
  artifact.state = 'Aborted';
}

const isOver = ({ state }: SyncArtifact): boolean => state === 'Committed' || state === 'Skipped';

/** What upstream is told of an artifact: its file's name, not where our store keeps it. Ranks above 0 say so. */
function requestOf({ cloudRunId, clientRunId, project }: ArtifactChannel, artifact: SyncArtifact): ArtifactRequest {
  const { name, path, rank, sizeBytes, sha256, contentType } = artifact;
  const many = (rank ?? 0) > 0;
  const file = path.split('/').at(-1) ?? name;
  return {
    cloudRunId,
    clientRunId,
    project,
    name: many ? `${name}.rank-${rank}` : name,
    path: many ? `rank-${rank}/${file}` : file,
    sizeBytes,
    sha256,
    contentType,
  };
}

/** Reads back whether upstream holds these very bytes; then the artifact is committed. */
async function isThere(channel: ArtifactChannel, artifact: SyncArtifact, artifactId: string): Promise<boolean> {
  const there = await channel.upstream.readArtifact(artifactId, channel.signal);
  if (there?.committed !== true || there.sha256 !== artifact.sha256) return false;
  Object.assign(artifact, { state: 'Committed', artifactId });
  return true;
}

function skip(artifact: SyncArtifact, message: string): void {
  Object.assign(artifact, { state: 'Skipped', message });
}

async function initiateAndPut(channel: ArtifactChannel, artifact: SyncArtifact): Promise<void> {
  const { upstream, signal } = channel;
  const request = requestOf(channel, artifact);
  delete artifact.artifactId;
  artifact.state = 'Pending';
  await channel.before('initiate', artifact);
  let begun: Awaited<ReturnType<Upstream['initiate']>>;
  try {
    begun = await upstream.initiate(request, signal);
  } catch (error) {
    if (!(error instanceof UpstreamError)) throw error;
    if (error.fault.kind === 'tooLarge') return skip(artifact, 'larger than the target takes');
    if (error.fault.kind !== 'conflict') throw error;
    if (error.fault.id !== undefined && (await isThere(channel, artifact, error.fault.id))) return undefined;
    return skip(artifact, 'the target holds something else under this name');
  }
  artifact.artifactId = begun.artifactId;
  artifact.state = 'Initiated';
  // On disk with the id, so that it can be taken back whatever happens next.
  await channel.before('put', artifact);
  if (begun.upload === undefined) {
    throw new SyncFailure({
      scope: 'Run',
      reason: 'ContractMismatch',
      message: 'initiate an artifact: the answer holds no URL to upload to',
      retry: 'Backoff',
      reprobe: true,
    });
  }
  // Of what really goes by; a redirect asks for the bytes once more.
  let hash = createHash('sha256');
  let sent = 0;
  const body: StreamBody = {
    size: artifact.sizeBytes,
    open: (ends) => {
      hash = createHash('sha256');
      sent = 0;
      return channel.open(artifact, ends);
    },
    passing: (chunk) => {
      hash.update(chunk);
      sent += chunk.length;
    },
  };
  try {
    await upstream.upload(begun.upload, body, artifact.contentType, signal);
  } catch (error) {
    return uploadFailed(channel, artifact, error);
  }
  if (sent < artifact.sizeBytes) {
    throw new SyncFailure({
      scope: 'Run',
      reason: 'UploadFailed',
      message: `${artifact.name}: the upload host answered before it had all the bytes`,
      retry: 'Backoff',
    });
  }
  if (hash.digest('hex') !== artifact.sha256) {
    await giveUp(channel, artifact);
    return skip(artifact, 'the stored bytes are not those that were recorded');
  }
  channel.uploaded(artifact.sizeBytes);
  artifact.state = 'Uploaded';
  return undefined;
}

async function uploadFailed(channel: ArtifactChannel, artifact: SyncArtifact, error: unknown): Promise<void> {
  if (!(error instanceof UpstreamError)) throw error;
  if (error.fault.kind === 'expired') return giveUp(channel, artifact);
  const gone = causeOf(error, MissingBytes);
  if (gone !== undefined || error.fault.kind === 'tooLarge') {
    await giveUp(channel, artifact);
    return skip(artifact, gone?.message ?? 'larger than the target takes in one upload');
  }
  throw error;
}

async function commit(channel: ArtifactChannel, artifact: SyncArtifact): Promise<void> {
  const artifactId = artifact.artifactId ?? '';
  await channel.before('commit', artifact);
  try {
    await channel.upstream.commit(requestOf(channel, artifact), artifactId, channel.signal);
    artifact.state = 'Committed';
  } catch (error) {
    if (!(error instanceof UpstreamError)) throw error;
    const { kind } = error.fault;
    // Perhaps committed by a request whose answer was lost.
    if (kind === 'conflict' && (await isThere(channel, artifact, artifactId))) return;
    // The upload is not there any more, or not as announced: once more from the start.
    if (kind !== 'conflict' && kind !== 'notFound' && kind !== 'invalid') throw error;
    artifact.state = 'Initiated';
    await giveUp(channel, artifact);
  }
}

function causeOf<T extends Error>(error: unknown, type: new (...args: never[]) => T): T | undefined {
  for (let current: unknown = error; current instanceof Error; current = current.cause)
    if (current instanceof type) return current;
  return undefined;
}
