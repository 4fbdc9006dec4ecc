import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Readable } from 'node:stream';
import Fastify, { type FastifyInstance } from 'fastify';
import type { FaultScript } from './faults.ts';
import type { WorldFluxState } from './state.ts';
import type { SeenRequest, Traffic } from './traffic.ts';

/** The object store behind presigned URLs: another host, which must never see the API's key. */

const failure = (code: string, message: string) =>
  `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`;

export function buildUploads(state: WorldFluxState, faults: FaultScript, traffic: Traffic): FastifyInstance {
  const app = Fastify({ bodyLimit: Number.MAX_SAFE_INTEGER, forceCloseConnections: true });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload));

  app.put('/worldflux-artifacts/:id', async (request, reply) => {
    const seen: SeenRequest = {
      at: state.now(),
      route: 'upload',
      method: 'PUT',
      url: request.url,
      headers: request.headers,
    };
    traffic.requests.push(seen);
    traffic.begin();
    reply.raw.once('close', () => traffic.end());
    reply.raw.once('finish', () => (seen.status = reply.raw.statusCode));
    if (request.headers.authorization !== undefined) traffic.violations.push('the upload host saw a key');
    const fault = faults.take('upload');
    fault?.before?.(state);
    if (fault?.slowMs !== undefined) await delay(fault.slowMs);
    if (fault?.cut === 'before' || fault?.hang === true) {
      reply.hijack();
      if (fault.cut === 'before') request.raw.socket.destroy();
      return reply;
    }
    const refuse = (status: number, code: string, message: string) =>
      reply.code(status).type('application/xml').send(failure(code, message));
    if (fault?.answer !== undefined) {
      const { status, headers = {} } = fault.answer;
      return reply.headers(headers).code(status).type('application/xml').send(failure('Scripted', 'scripted'));
    }

    const artifact = state.artifacts.get((request.params as { id: string }).id);
    const query = request.query as Record<string, string>;
    if (artifact === undefined || query['X-Amz-Signature'] !== artifact.signature)
      return refuse(403, 'SignatureDoesNotMatch', 'signature differs');
    if (state.now() >= artifact.expiresAt) return refuse(403, 'AccessDenied', 'Request has expired');
    if (request.headers['content-type'] !== artifact.contentType)
      return refuse(403, 'SignatureDoesNotMatch', 'content-type is signed');
    if (request.headers['content-length'] === undefined) return refuse(411, 'MissingContentLength', 'length required');

    if (Number(request.headers['content-length']) > state.rules.maxPutBytes)
      return refuse(400, 'EntityTooLarge', 'Your proposed upload exceeds the maximum allowed size');

    const hash = createHash('sha256');
    let size = 0;
    for await (const chunk of (request.body as Readable | undefined) ?? []) {
      hash.update(chunk as Buffer);
      size += (chunk as Buffer).length;
    }
    seen.upload = { size, sha256: hash.digest('hex') };
    artifact.received = seen.upload;
    if (fault?.cut === 'after') {
      reply.hijack();
      request.raw.socket.destroy();
      return reply;
    }
    return reply.header('etag', `"${seen.upload.sha256.slice(0, 32)}"`).send();
  });
  app.setNotFoundHandler((request, reply) => {
    traffic.violations.push(`upload host: ${request.method} ${request.url}`);
    return reply.code(404).send();
  });
  return app;
}
