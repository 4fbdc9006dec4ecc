import type { IncomingMessage, ServerResponse } from 'node:http';
import type { StoredArtifact } from '../../crds/world-run-status.ts';
import { redactText } from '../../telemetry/redaction.ts';
import type { CollectTask, RunStore, UploadRequest } from '../contract.ts';
import type { ResultsHub } from '../hub.ts';
import { artifactKey, isKey, rankPrefix, seriesKey } from '../keys.ts';
import { LARGEST_SERIES, WHOLE_OUTPUT, type ProgressAnswer, type UploadAnswer, type UploadPost } from '../protocol.ts';
import { answer, readJsonBody, RefusalError } from './http.ts';
import { PASSED_ON, type Leadership, type LeaderLink } from './leader-link.ts';
import { checked, fingerprintPost, progressPost, resultPost, uploadPost } from './requests.ts';

/** One request whose sender is known: a pod of the live attempt. */
export interface Call {
  task: CollectTask;
  rank: number;
  podUid: string;
  /** Path behind the attempt, such as `uploads/commit`. */
  path: string;
  query: URLSearchParams;
  req: IncomingMessage;
  res: ServerResponse;
}

export interface HandlerOptions {
  store: RunStore;
  hub: ResultsHub;
  leadership: Leadership;
  link: LeaderLink;
  /** Collectors that post at present. */
  callers: () => number;
}

const BODY_TIMEOUT = 15_000;
const KIB = 1024;
/** A file store's uploads all pass through this process. */
const MOST_PUTS = 16;
/** Posts a second that all collectors together are asked for. */
const POSTS_PER_SECOND = 100;

/**
 * What the gateway does for each path. Uploads concern the store alone, and every replica serves them. What changes a
 * run's course (progress, fingerprints, the result) is handed on to the replica that leads; where that one does not
 * answer it is taken here, and a leader that has heard nothing looks into the store before it gives a result up.
 */
export class Handlers {
  readonly #store: RunStore;
  readonly #hub: ResultsHub;
  readonly #leadership: Leadership;
  readonly #link: LeaderLink;
  readonly #callers: () => number;
  #puts = 0;

  constructor({ store, hub, leadership, link, callers }: HandlerOptions) {
    this.#store = store;
    this.#hub = hub;
    this.#leadership = leadership;
    this.#link = link;
    this.#callers = callers;
  }

  async handle(call: Call): Promise<void> {
    const part = /^uploads\/([0-9a-f]{32})\/parts\/([1-9]\d{0,2})$/.exec(call.path);
    if (part !== null && call.req.method === 'PUT') return this.#part(call, part[1] ?? '', Number(part[2]));
    if (call.req.method !== 'POST') throw new RefusalError(405, 'invalid', 'POST is what is taken here');
    switch (call.path) {
      case 'progress':
        return this.#progress(call);
      case 'fingerprints':
        return this.#fingerprints(call);
      case 'uploads':
        return this.#initiate(call);
      case 'uploads/commit':
        return this.#commit(call);
      case 'uploads/abort':
        return this.#abort(call);
      case 'result':
        return this.#result(call);
      default:
        throw new RefusalError(404, 'invalid', 'no such path');
    }
  }

  /** True when the replica that leads has answered in our place. */
  async #answeredByLeader({ req, res }: Call, post: object): Promise<boolean> {
    if (this.#leadership.leads()) return false;
    if (req.headers[PASSED_ON] !== undefined)
      throw new RefusalError(503, 'unavailable', 'this replica does not lead', 1);
    const said = await this.#link.pass(req.url ?? '', req.headers.authorization ?? '', post);
    if (said === undefined) return false;
    if (said.retryAfter !== undefined) res.setHeader('retry-after', said.retryAfter);
    res.writeHead(said.status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(said.body) });
    res.end(said.body);
    return true;
  }

  async #progress(call: Call): Promise<void> {
    const { task, rank, req, res } = call;
    const post = checked(progressPost, await readJsonBody(req, 4 * KIB, BODY_TIMEOUT));
    if (await this.#answeredByLeader(call, post)) return;
    const { percent, etaSeconds, step } = post;
    const said = [percent, etaSeconds, step].some((value) => value !== undefined);
    if (rank === 0 && said) {
      this.#hub.setProgress(task, {
        ...(percent === undefined ? {} : { percent }),
        ...(etaSeconds === undefined ? {} : { etaSeconds }),
        ...(step === undefined ? {} : { step }),
        updatedAt: new Date().toISOString(),
      });
    }
    const body: ProgressAnswer = {
      collectNow: task.collectNow,
      stopping: task.stopping ?? false,
      fingerprintsWanted: this.#hub.fingerprints(task, rank) === undefined,
      nextPostSeconds: Math.min(60, Math.max(5, Math.ceil(this.#callers() / POSTS_PER_SECOND))),
    };
    answer(res, 200, body);
  }

  async #fingerprints(call: Call): Promise<void> {
    const { task, rank, req, res } = call;
    const set = checked(fingerprintPost, await readJsonBody(req, 1024 * KIB, BODY_TIMEOUT));
    if (await this.#answeredByLeader(call, set)) return;
    this.#hub.setFingerprints(task, rank, set);
    answer(res, 204);
  }

  async #initiate(call: Call): Promise<void> {
    const post = await readUpload(call);
    const key = keyOf(call, post);
    const request = requestOf(key, post);
    const target = await this.#store.initiate(request);
    const { clientRunId, attempt } = call.task;
    const own = `/v1/runs/${clientRunId}/attempts/${attempt}/uploads/${target.uploadId}/parts/`;
    const query = `?key=${encodeURIComponent(key)}`;
    const parts = target.parts.map((part) =>
      part.url === '' ? { ...part, url: `${own}${part.number}${query}` } : part,
    );
    const body: UploadAnswer = { key, target: { ...target, parts } };
    answer(call.res, 200, body);
  }

  async #part({ task, rank, req, res, query }: Call, uploadId: string, part: number): Promise<void> {
    const key = query.get('key') ?? '';
    const size = Number(req.headers['content-length']);
    if (!isKey(key) || !key.startsWith(rankPrefix(task, rank)))
      throw new RefusalError(403, 'invalid', 'not a key of this pod');
    if (!Number.isSafeInteger(size)) throw new RefusalError(411, 'invalid', 'a Content-Length is needed');
    if (this.#store.receive === undefined) throw new RefusalError(405, 'invalid', 'bytes go to the bucket');
    if (this.#puts >= MOST_PUTS) throw new RefusalError(503, 'busy', 'too many uploads at once', 2);
    this.#puts += 1;
    try {
      await this.#store.receive({ key, uploadId, part, size }, req);
    } finally {
      this.#puts -= 1;
    }
    answer(res, 204);
  }

  async #commit(call: Call): Promise<void> {
    const post = await readUpload(call);
    const key = keyOf(call, post);
    await this.#store.commit(requestOf(key, post), uploadIdOf(post));
    answer(call.res, 200, { key });
  }

  async #abort(call: Call): Promise<void> {
    const post = await readUpload(call);
    await this.#store.abort(requestOf(keyOf(call, post), post), uploadIdOf(post));
    answer(call.res, 204);
  }

  /** The result lies in the store before it is acknowledged. */
  async #result(call: Call): Promise<void> {
    const { task, rank, podUid, req, res } = call;
    const post = checked(resultPost, await readJsonBody(req, 1024 * KIB, BODY_TIMEOUT));
    if (await this.#answeredByLeader(call, post)) return;
    const { metrics, metricsOmitted, metricsProblem, series } = post;
    const artifacts = await Promise.all(
      post.artifacts.map((artifact) => this.#verified(task, rank, artifact as StoredArtifact)),
    );
    const seriesThere = series !== undefined && (await this.#isStored(task, rank, series.path, series.bytes));
    await this.#hub.accept(task, {
      rank,
      podUid,
      metrics,
      metricsOmitted,
      ...(metricsProblem === undefined ? {} : { metricsProblem: redactText(metricsProblem).text }),
      ...(seriesThere ? { series } : {}),
      artifacts,
      via: 'Gateway',
      collectedAt: new Date().toISOString(),
    });
    answer(res, 200, {});
  }

  /**
   * A path that a manifest names is read for whoever may read the run. So it must lie in this pod's part of the store,
   * whatever the collector says, and hold what it is said to hold.
   */
  async #verified(task: CollectTask, rank: number, artifact: StoredArtifact): Promise<StoredArtifact> {
    const wanted = task.outputs.artifacts.find(({ name }) => name === artifact.name);
    const whole = task.outputs.artifacts.length === 0 && artifact.name === WHOLE_OUTPUT;
    if (wanted === undefined && !whole)
      throw new RefusalError(400, 'invalid', `the run names no artifact ${artifact.name}`);
    const message = artifact.message === undefined ? {} : { message: redactText(artifact.message).text.slice(0, 512) };
    const own = { ...artifact, ...message, rank, commit: wanted?.commit ?? false };
    if (artifact.state !== 'Stored') return { ...own, path: wanted?.path ?? '**' };
    if (await this.#isStored(task, rank, artifact.path, artifact.sizeBytes)) return own;
    return { ...own, path: wanted?.path ?? '**', state: 'Failed', message: 'its bytes are not in the run store' };
  }

  async #isStored(task: CollectTask, rank: number, path: string, size: number | undefined): Promise<boolean> {
    if (!isKey(path) || !path.startsWith(rankPrefix(task, rank))) return false;
    return (await this.#store.get(path))?.size === size;
  }
}

async function readUpload({ req, task }: Call): Promise<UploadPost> {
  const post = checked(uploadPost, await readJsonBody(req, 64 * KIB, BODY_TIMEOUT)) as UploadPost;
  const limit = post.kind === 'series' ? LARGEST_SERIES : task.maxArtifactBytes;
  if (post.size > limit) throw new RefusalError(413, 'tooLarge', `${post.size} bytes are over the limit of ${limit}`);
  return post;
}

function keyOf({ task, rank }: Call, { kind, name, extension, sha256 }: UploadPost): string {
  if (kind === 'series') return seriesKey(task, rank, sha256);
  const { artifacts } = task.outputs;
  const named = artifacts.length === 0 ? name === WHOLE_OUTPUT : artifacts.some((artifact) => artifact.name === name);
  if (!named) throw new RefusalError(400, 'invalid', `the run names no artifact ${name}`);
  return artifactKey(task, rank, sha256, extension === '' ? name : `${name}.${extension}`);
}

function requestOf(key: string, { size, sha256, contentType, partSha256, uploadId }: UploadPost): UploadRequest {
  return {
    key,
    size,
    sha256,
    contentType,
    ...(partSha256 === undefined ? {} : { partSha256 }),
    ...(uploadId === undefined ? {} : { uploadId }),
  };
}

function uploadIdOf({ uploadId }: UploadPost): string {
  if (uploadId === undefined) throw new RefusalError(400, 'invalid', 'uploadId: is needed');
  return uploadId;
}
