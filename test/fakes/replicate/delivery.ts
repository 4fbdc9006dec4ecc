import Fastify, { type FastifyInstance } from 'fastify';
import type { SeenRequest } from './api.ts';
import type { FaultScript } from './faults.ts';
import type { ReplicateState } from './state.ts';

/** Where outputs lie: another host than the API, open to whoever has the URL, for a while. */

export interface DeliveryParts {
  state: ReplicateState;
  faults: FaultScript;
  log: SeenRequest[];
  /** What no well-behaved client does. */
  violations: string[];
}

export function buildDelivery({ state, faults, log, violations }: DeliveryParts): FastifyInstance {
  const app = Fastify({ forceCloseConnections: true });
  app.get('/xezq/:id/:name', async (request, reply) => {
    const { id } = request.params as { id: string };
    const seen: SeenRequest = {
      at: state.now(),
      operation: 'output',
      method: 'GET',
      url: request.url,
      headers: request.headers,
    };
    log.push(seen);
    reply.raw.once('finish', () => (seen.status = reply.statusCode));
    if (request.headers.authorization !== undefined) violations.push('a token was sent to the host of outputs');
    const fault = faults.take('output');
    fault?.before?.(state);
    if (fault?.hang === true) return reply.hijack();
    if (fault?.answer !== undefined) {
      return reply
        .code(fault.answer.status)
        .headers(fault.answer.headers ?? {})
        .send(fault.answer.body ?? '');
    }
    if (fault?.cut === 'before') {
      reply.hijack();
      request.raw.socket.destroy();
      return reply;
    }
    const output = state.outputs.get(id);
    if (output === undefined || output.expiresAt <= state.now()) return reply.code(404).send('');
    if (fault?.cut === 'middle') {
      reply.hijack();
      reply.raw.writeHead(200, { 'content-type': output.type, 'content-length': output.bytes.length });
      reply.raw.write(output.bytes.subarray(0, Math.ceil(output.bytes.length / 2)), () =>
        request.raw.socket.destroySoon(),
      );
      return reply;
    }
    return reply.type(output.type).send(output.bytes);
  });
  return app;
}
