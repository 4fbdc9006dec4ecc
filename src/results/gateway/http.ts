import type { IncomingMessage, ServerResponse } from 'node:http';
import { StoreError, type StoreErrorKind } from '../store/errors.ts';
import type { Refusal, RefusalCode } from '../protocol.ts';

/** A request that is answered with anything but success. */
export class RefusalError extends Error {
  override readonly name = 'RefusalError';
  readonly status: number;
  readonly code: RefusalCode;
  readonly retryAfterSeconds: number | undefined;

  constructor(status: number, code: RefusalCode, message: string, retryAfterSeconds?: number) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

const FROM_STORE: Record<StoreErrorKind, [number, RefusalCode]> = {
  invalidKey: [400, 'invalid'],
  conflict: [409, 'conflict'],
  tooLarge: [413, 'tooLarge'],
  digestMismatch: [422, 'digestMismatch'],
  noUpload: [409, 'noUpload'],
  full: [507, 'full'],
  unavailable: [503, 'unavailable'],
  aborted: [503, 'unavailable'],
};

/** Undefined for what is no refusal but a fault of ours. */
export function refusalFrom(error: unknown): RefusalError | undefined {
  if (error instanceof RefusalError) return error;
  if (!(error instanceof StoreError)) return undefined;
  const [status, code] = FROM_STORE[error.kind];
  return new RefusalError(status, code, error.message, status >= 500 ? 2 : undefined);
}

export function answer(res: ServerResponse, status: number, body?: object): void {
  if (body === undefined) {
    res.writeHead(status).end();
    return;
  }
  const text = JSON.stringify(body);
  res.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }).end(text);
}

/** Ends the connection too while its body is not read: nobody reads on only to throw it away. */
export function refuse(req: IncomingMessage, res: ServerResponse, refusal: RefusalError): void {
  if (res.headersSent) {
    res.destroy();
    return;
  }
  if (refusal.retryAfterSeconds !== undefined) res.setHeader('retry-after', String(refusal.retryAfterSeconds));
  const unread = !req.complete;
  if (unread) res.setHeader('connection', 'close');
  const body: Refusal = { code: refusal.code, message: refusal.message };
  answer(res, refusal.status, body);
  if (unread) res.once('finish', () => req.destroy());
}

/** The JSON value of a small body. Throws RefusalError for one that is too large, too slow or no JSON. */
export async function readJsonBody(req: IncomingMessage, limit: number, timeoutMs: number): Promise<unknown> {
  try {
    return JSON.parse((await readBody(req, limit, timeoutMs)).toString('utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) throw new RefusalError(400, 'invalid', 'the body is no JSON');
    throw error;
  }
}

/** The raw bytes, at most `limit` of them; throws RefusalError. */
export async function readBody(req: IncomingMessage, limit: number, timeoutMs: number): Promise<Buffer> {
  const timer = setTimeout(() => req.destroy(new RefusalError(408, 'invalid', 'the body came too slowly')), timeoutMs);
  try {
    const chunks: Buffer[] = [];
    let size = 0;
    // Leaving the loop must not destroy the connection: the refusal has to get through.
    for await (const chunk of req.iterator({ destroyOnReturn: false })) {
      size += (chunk as Buffer).length;
      if (size > limit) throw new RefusalError(413, 'tooLarge', `a body of at most ${limit} bytes is taken here`);
      chunks.push(chunk as Buffer);
    }
    return Buffer.concat(chunks);
  } finally {
    clearTimeout(timer);
  }
}
