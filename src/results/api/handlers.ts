import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import canonicalize from 'canonicalize';
import type { KubeClient } from '../../kube/client.ts';
import { isKubeError } from '../../kube/errors.ts';
import { contentTypeOf } from '../content-type.ts';
import type { RunStore, StoredObject } from '../contract.ts';
import { EVENTS_TYPE } from '../event-log.ts';
import type { AccessReviews, Wanted } from './access.ts';
import { byteRange } from './byte-range.ts';
import type { RequestUser } from './front-proxy.ts';
import { LOCATION_TYPE, RESULTS_API_VERSION, type ArtifactLocation } from './protocol.ts';
import { answerJson, ApiRefusal, badRequest, notFound } from './refusal.ts';
import { RunResults, type ClientRunIdOf, type FoundArtifact } from './run-results.ts';
import { WORLD_RUNS, type WorldRun } from './world-run.ts';

/** A request for one part of one run, by a user whom the front proxy named. */
export interface ResultsCall {
  user: RequestUser;
  wanted: Wanted;
  query: URLSearchParams;
  req: IncomingMessage;
  res: ServerResponse;
  /** Ends everything when the caller is gone or its time is up. */
  signal: AbortSignal;
}

export interface HandlerOptions {
  client: Pick<KubeClient, 'get'>;
  access: AccessReviews;
  store: RunStore;
  clientRunIdOf: ClientRunIdOf;
}

const READ_MS = 10_000;
/** As long as the store signs for; a little less, so that nobody begins with a URL that has just expired. */
const LOCATION_SECONDS = 290;

/** What the results API does for each part of a run. */
export class ResultsHandlers {
  readonly #options: HandlerOptions;

  constructor(options: HandlerOptions) {
    this.#options = options;
  }

  async handle(call: ResultsCall): Promise<void> {
    const { user, wanted } = call;
    const { namespace, name, part } = wanted;
    if (!(await this.#options.access.allows(user, wanted))) {
      throw new ApiRefusal(
        403,
        'Forbidden',
        `User "${user.username}" cannot get worldruns/${part} "${name}" in API group "results.worldflux.ai" in the namespace "${namespace}"`,
      );
    }
    const run = await this.#run(wanted, call.signal);
    const results = await RunResults.of(this.#options.store, run, this.#options.clientRunIdOf, call.signal);
    switch (part) {
      case 'log':
        return this.#log(call, results);
      case 'manifest':
        return manifest(call, results);
      case 'events':
        return events(call, results);
      case 'artifacts':
        return call.query.has('name') ? this.#artifact(call, results) : answerJson(call.res, 200, results.artifacts());
    }
  }

  /** Asked of the API server each time: a cache may still hold a run that was deleted, or not yet its successor. */
  async #run({ namespace, name }: Wanted, signal: AbortSignal): Promise<WorldRun> {
    try {
      return await this.#options.client.get(WORLD_RUNS, { namespace, name }, { timeoutMs: READ_MS, signal });
    } catch (error) {
      if (isKubeError(error, 'notFound')) throw notFound(`worldruns.worldflux.ai "${name}" not found`);
      throw error;
    }
  }

  async #log(call: ResultsCall, results: RunResults): Promise<void> {
    const rank = whole(call.query, 'rank') ?? 0;
    const log = await results.log(rank, whole(call.query, 'attempt'), call.signal);
    const headers = { 'content-type': 'text/plain; charset=utf-8' };
    if (!(log instanceof Readable)) return sendObject(call, log, headers);
    call.res.writeHead(200, { ...headers, ...SAFE });
    return pipeline(log, call.res, { signal: call.signal });
  }

  async #artifact(call: ResultsCall, results: RunResults): Promise<void> {
    const found = results.artifact(call.query.get('name') ?? '', whole(call.query, 'rank'));
    const location = await this.#locationOf(found);
    if (location !== undefined) return answerJson(call.res, 200, location, LOCATION_TYPE);
    const object = await this.#options.store.get(found.key, call.signal);
    if (object === undefined) throw notFound(`the bytes of artifact ${found.item.name} are no longer in the run store`);
    const fileName = found.item.fileName ?? 'artifact';
    return sendObject(call, object, {
      'content-type': contentTypeOf(fileName),
      'content-disposition': `attachment; filename="${fileName}"`,
      ...(found.item.sha256 !== undefined && { etag: `"${found.item.sha256}"` }),
    });
  }

  async #locationOf({ key, item }: FoundArtifact & { key: string }): Promise<ArtifactLocation | undefined> {
    const url = await this.#options.store.presignedGet(key);
    if (url === undefined) return undefined;
    return {
      apiVersion: RESULTS_API_VERSION,
      kind: 'WorldRunArtifactLocation',
      url,
      expiresAt: new Date(Date.now() + LOCATION_SECONDS * 1000).toISOString(),
      fileName: item.fileName ?? 'artifact',
      sizeBytes: item.sizeBytes ?? 0,
      ...(item.sha256 !== undefined && { sha256: item.sha256 }),
    };
  }
}

/** Users' bytes: no browser may guess that they are a page, nor keep them. */
const SAFE = { 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' };

function manifest({ res }: ResultsCall, results: RunResults): void {
  // The very bytes that the digest is over.
  const text = Buffer.from(canonicalize(results.manifest()) ?? '');
  res.writeHead(200, { 'content-type': 'application/json', 'content-length': text.length, ...SAFE }).end(text);
}

async function events({ res, signal }: ResultsCall, results: RunResults): Promise<void> {
  const lines = Buffer.from(await results.events(signal));
  res.writeHead(200, { 'content-type': EVENTS_TYPE, 'content-length': lines.length, ...SAFE }).end(lines);
}

async function sendObject(
  { req, res, signal }: ResultsCall,
  object: StoredObject,
  headers: Record<string, string>,
): Promise<void> {
  const { size } = object;
  const range = byteRange(req.headers.range, size);
  const all = { ...headers, ...SAFE, 'accept-ranges': 'bytes' };
  if (range === 'none') {
    res.writeHead(416, { ...all, 'content-range': `bytes */${size}`, 'content-length': 0 }).end();
    return;
  }
  const length = range === undefined ? size : range.end - range.start + 1;
  const status = range === undefined ? 200 : 206;
  const where = range === undefined ? {} : { 'content-range': `bytes ${range.start}-${range.end}/${size}` };
  if (req.method === 'HEAD' || length === 0) {
    res.writeHead(status, { ...all, ...where, 'content-length': length }).end();
    return;
  }
  // Opened first: a store that cannot be read is a refusal, not half an answer.
  const stream = await object.open(range, signal);
  res.writeHead(status, { ...all, ...where, 'content-length': length });
  await pipeline(stream, res, { signal });
}

/** A whole number out of the query. Throws ApiRefusal for anything else. */
function whole(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  if (!/^\d{1,6}$/.test(text)) throw badRequest(`${name}: must be a whole number, such as 0`);
  return Number(text);
}
