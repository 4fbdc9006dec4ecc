import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import type { ExchangeAnswer, GuardedConnections } from '../net/connections.ts';
import { HttpError } from '../net/http-error.ts';
import { reclaim } from '../net/reclaim.ts';
import type { Watchdog } from '../net/watchdog.ts';
import { holdsCredential, mayCarryCredentials, withoutCredentials, type CredentialScope } from './credential-scope.ts';

/** One attempt: a request, the redirects that it may follow, its answer. */

export interface VendorRequest {
  readonly method: string;
  readonly url: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | Readable | null;
  readonly redirect: Request['redirect'];
  /** It may carry the profile's credentials, where they may go. */
  readonly credentials: boolean;
  /** Asked right before its bytes are written. It then has a connection of its own and follows no redirect. */
  readonly maySend?: () => void;
}

export interface VendorAnswer {
  readonly status: number;
  readonly headers: ExchangeAnswer['headers'];
  /** Decoded; to be read to its end or destroyed. */
  readonly body: Readable;
  /** Where the answer came from, after redirects. */
  readonly url: URL;
  readonly redirected: boolean;
}

const MAX_REDIRECTS = 3;

/** Throws HttpError. */
export async function ask(
  connections: GuardedConnections,
  scope: CredentialScope,
  request: VendorRequest,
  watch: Watchdog,
): Promise<VendorAnswer> {
  const { method, maySend } = request;
  let url = connections.allowed(method, request.url);
  for (let redirects = 0; ; redirects += 1) {
    const answer = await connections.exchange({
      method: method as 'GET',
      url,
      headers: headersFor(scope, request, url),
      body: request.body,
      watch,
      ...(maySend !== undefined && { beforeSend: maySend, ownConnection: true }),
    });
    const next = redirects > 0 || request.redirect !== 'manual' ? locationOf(answer, url) : undefined;
    if (next === undefined) return { ...answer, body: decoded(answer), url, redirected: redirects > 0 };
    answer.body.destroy();
    url = connections.allowed(method, follow(request, answer.status, url, next, redirects));
  }
}

function locationOf({ status, headers }: ExchangeAnswer, url: URL): URL | undefined {
  const { location } = headers;
  if (status < 300 || status >= 400 || status === 304 || typeof location !== 'string') return undefined;
  return URL.canParse(location, url.href) ? new URL(location, url) : undefined;
}

/** The next URL; throws where a redirect must not be followed. */
function follow(request: VendorRequest, status: number, url: URL, next: URL, redirects: number): URL {
  const { method, maySend } = request;
  const refuse = (why: string, inDoubt = false) =>
    new HttpError('refused', `${method} ${url.host}: redirected to ${next.host}${why}`, undefined, inDoubt);
  if (request.redirect === 'error') throw refuse(', which the caller does not follow');
  // 303 means that it is done, and 301 and 302 are used like that; 307 and 308 mean that it is not.
  if (maySend !== undefined) throw refuse('; set the endpoint to where it really is', status <= 303);
  if (redirects === MAX_REDIRECTS) throw new HttpError('answer', `${method} ${url.host}: redirected too often`);
  if (method === 'GET' || method === 'HEAD') return next;
  // A browser would go on with GET; for a write that would pass for success without one.
  if (status <= 303) throw refuse(` with ${status}, which would lose the request's body`);
  if (next.origin !== url.origin) throw refuse(', to which a request with a body is not repeated');
  if (request.body !== null && !Buffer.isBuffer(request.body)) throw refuse(', and its body was sent already');
  return next;
}

/** A client library sets its key on whatever it is told to ask; only here is it known where that is. */
function headersFor(scope: CredentialScope, request: VendorRequest, url: URL): Readonly<Record<string, string>> {
  if (request.credentials && mayCarryCredentials(scope, url)) return request.headers;
  if (holdsCredential(scope, url.href)) {
    throw new HttpError(
      'refused',
      `${request.method} ${url.host}: the URL holds a credential that does not belong there`,
    );
  }
  return withoutCredentials(scope, request.headers);
}

/** Nobody is asked to compress; stores give objects as they were put there. */
function decoded({ headers, body }: ExchangeAnswer): Readable {
  const encoding = typeof headers['content-encoding'] === 'string' ? headers['content-encoding'].toLowerCase() : '';
  const decoder =
    encoding === 'gzip' || encoding === 'x-gzip'
      ? createGunzip()
      : encoding === 'deflate'
        ? createInflate()
        : encoding === 'br'
          ? createBrotliDecompress()
          : undefined;
  // Either end's failure ends the other; the reader of the result sees it.
  return decoder === undefined ? body : pipeline(body, decoder, () => undefined);
}

/** The bytes of an answer, if they are not too many; `moved` hears of each piece that comes and goes. */
export async function* bytesOf(
  { headers, body }: VendorAnswer,
  max: number,
  what: string,
  moved: () => void = () => undefined,
): AsyncGenerator<Buffer> {
  const tooLong = () => new HttpError('answer', `${what}: the answer is longer than ${max} bytes`);
  try {
    // What is announced too long is not begun.
    if (Number(headers['content-length']) > max) throw tooLong();
    let size = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > max) throw tooLong();
      moved();
      yield chunk;
      moved();
      reclaim(chunk.length);
    }
  } finally {
    body.destroy();
  }
}
