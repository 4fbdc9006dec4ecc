import type { IncomingMessage, ServerResponse } from 'node:http';
import { isKubeError } from '../../kube/errors.ts';
import { isStoreError } from '../store/errors.ts';

/** A request that is answered with a Kubernetes `Status`; its message is read by people. */
export class ApiRefusal extends Error {
  override readonly name = 'ApiRefusal';
  readonly code: number;
  readonly reason: string;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: number, reason: string, message: string, retryAfterSeconds?: number) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

export const notFound = (message: string): ApiRefusal => new ApiRefusal(404, 'NotFound', message);
export const badRequest = (message: string): ApiRefusal => new ApiRefusal(400, 'BadRequest', message);
export const unavailable = (message: string): ApiRefusal => new ApiRefusal(503, 'ServiceUnavailable', message, 2);

/** Undefined for what is no refusal but a fault of ours. */
export function refusalOf(error: unknown): ApiRefusal | undefined {
  if (error instanceof ApiRefusal) return error;
  if (isStoreError(error)) return unavailable(`the run store: ${error.kind}`);
  // Words of the API server may name what the caller must not know of.
  if (isKubeError(error)) return unavailable(`the API server did not answer the operator: ${error.kind}`);
  return undefined;
}

export function answerJson(res: ServerResponse, code: number, body: object, type = 'application/json'): void {
  const text = Buffer.from(`${JSON.stringify(body)}\n`);
  res.writeHead(code, { 'content-type': type, 'content-length': text.length, 'cache-control': 'no-store' }).end(text);
}

export function refuse(req: IncomingMessage, res: ServerResponse, refusal: ApiRefusal): void {
  if (res.headersSent) {
    // Half an answer must not look like a whole one.
    res.destroy();
    return;
  }
  const { code, reason, message, retryAfterSeconds } = refusal;
  if (retryAfterSeconds !== undefined) res.setHeader('retry-after', String(retryAfterSeconds));
  if (!req.complete) res.setHeader('connection', 'close');
  const details = retryAfterSeconds === undefined ? {} : { details: { retryAfterSeconds } };
  const body = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, ...details, code };
  answerJson(res, code, body);
}
