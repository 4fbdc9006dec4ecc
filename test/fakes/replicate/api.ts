import { setTimeout as delay } from 'node:timers/promises';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Fault, FaultScript, OperationName } from './faults.ts';
import { Refusal, type Model, type ReplicateState, type Target } from './state.ts';

/** The API host, under `/v1`. Every route needs a bearer token. */

export interface SeenRequest {
  at: number;
  operation: OperationName | 'unknown';
  method: string;
  /** With its query. */
  url: string;
  headers: Record<string, string | string[] | undefined>;
  /** JSON bodies, parsed. */
  body?: unknown;
  status?: number;
}

export interface ApiParts {
  state: ReplicateState;
  faults: FaultScript;
  log: SeenRequest[];
  /** What the answers call this API; `next` and `urls` point there. Ends with `/v1`. */
  publicUrl(): string;
}

const param = (request: FastifyRequest, name: string) => (request.params as Record<string, string>)[name] ?? '';
const notFound = () => new Refusal(404, { detail: 'The requested resource could not be found.', status: 404 });
const invalid = (field: string, description: string) =>
  new Refusal(422, {
    title: 'Input validation failed',
    detail: `- ${field}: ${description}\n`,
    status: 422,
    invalid_fields: [{ type: 'invalid', field, description }],
  });

export function buildApi({ state, faults, log, publicUrl }: ApiParts): FastifyInstance {
  const app = Fastify({ bodyLimit: 64 * 1024 * 1024, forceCloseConnections: true });
  app.addContentTypeParser(/^multipart\/form-data/, { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  // The vendor's own library announces JSON where it sends none.
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => {
    try {
      done(null, body === '' ? undefined : JSON.parse(String(body)));
    } catch {
      done(new Refusal(400, { detail: 'Malformed JSON', status: 400 }));
    }
  });
  app.setErrorHandler((error, _request, reply) => {
    if (error instanceof Refusal) return reply.code(error.status).headers(error.headers).send(error.body);
    const status = (error as { statusCode?: number }).statusCode ?? 500;
    return reply.code(status).send({ detail: (error as Error).message, status });
  });
  app.setNotFoundHandler((request, reply) => {
    log.push({ at: state.now(), operation: 'unknown', method: request.method, url: request.url, headers: {} });
    return reply.code(404).send({ detail: 'Not found' });
  });

  type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown;

  /** A route with its place in the log and its share of misfortune. */
  function route(operation: OperationName, method: 'GET' | 'POST', url: string, handler: Handler): void {
    app.route({
      method,
      url: `/v1${url}`,
      handler: async (request, reply) => {
        const seen: SeenRequest = {
          at: state.now(),
          operation,
          method,
          url: request.url,
          headers: request.headers,
          ...(Buffer.isBuffer(request.body) ? {} : { body: request.body }),
        };
        log.push(seen);
        reply.raw.once('finish', () => (seen.status = reply.statusCode));
        const fault = faults.take(operation);
        if (await befall(fault, request, reply)) return reply;
        authorize(request);
        const answer = await handler(request, reply);
        if (fault?.cut === 'after') return drop(request, reply);
        if (fault?.answer !== undefined) return misanswer(fault.answer, reply);
        return answer;
      },
    });
  }

  /** Whether the request has ended here. */
  async function befall(fault: Fault | undefined, request: FastifyRequest, reply: FastifyReply): Promise<boolean> {
    if (fault === undefined) return false;
    fault.before?.(state);
    if (fault.slowMs !== undefined) await delay(fault.slowMs);
    if (fault.hang === true) {
      reply.hijack();
      return true;
    }
    if (fault.cut === 'before') {
      drop(request, reply);
      return true;
    }
    if (fault.answer !== undefined && fault.after !== true) {
      misanswer(fault.answer, reply);
      return true;
    }
    return false;
  }

  function authorize(request: FastifyRequest): void {
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    if (token === undefined || !state.tokens.has(token)) {
      throw new Refusal(401, {
        title: 'Unauthenticated',
        detail: 'You did not pass a valid authentication token',
        status: 401,
      });
    }
  }

  function create(request: FastifyRequest, reply: FastifyReply, target: Target): unknown {
    if (state.suspended) {
      throw new Refusal(402, {
        title: 'Insufficient credit',
        detail: 'You have insufficient credit to run this model.',
        status: 402,
      });
    }
    const { input, webhook, ...more } = (request.body ?? {}) as { input?: unknown; webhook?: string };
    const unknown = Object.keys(more).find((name) => !['version', 'stream', 'webhook_events_filter'].includes(name));
    if (unknown !== undefined) throw invalid(unknown, 'Additional property is not allowed');
    if (typeof input !== 'object' || input === null) throw invalid('input', 'input is required');
    const deadlineMs = durationOf(request.headers['cancel-after']);
    const prediction = state.create(target, input, {
      ...(deadlineMs === undefined ? {} : { deadlineMs }),
      ...(webhook === undefined ? {} : { webhook }),
    });
    reply.code(201);
    return state.answer(prediction, publicUrl());
  }

  const modelOf = (owner: string, name: string): Model => {
    const model = state.models.get(`${owner}/${name}`);
    if (model === undefined) throw notFound();
    return model;
  };
  const predictionOf = (request: FastifyRequest) => {
    const prediction = state.predictions.get(param(request, 'id'));
    if (prediction === undefined) throw notFound();
    return prediction;
  };

  route('account', 'GET', '/account', () => ({ type: 'organization', username: 'acme', name: 'Acme Corp' }));
  route('webhookSecret', 'GET', '/webhooks/default/secret', () => ({ key: state.webhookSecret }));

  route('create', 'POST', '/predictions', (request, reply) => {
    const { version } = (request.body ?? {}) as { version?: string };
    const [, wanted] = /([0-9a-f]{64})$/.exec(version ?? '') ?? [];
    const model = [...state.models.values()].find(({ versions }) => wanted !== undefined && versions.includes(wanted));
    if (wanted === undefined || model === undefined) throw invalid('version', 'Invalid version or not permitted');
    return create(request, reply, { model: `${model.owner}/${model.name}`, version: wanted });
  });
  route('create', 'POST', '/models/:owner/:name/predictions', (request, reply) => {
    const { owner, name, official } = modelOf(param(request, 'owner'), param(request, 'name'));
    if (!official) throw notFound();
    return create(request, reply, { model: `${owner}/${name}`, version: 'hidden' });
  });
  route('create', 'POST', '/deployments/:owner/:name/predictions', (request, reply) => {
    const target = state.deployments.get(`${param(request, 'owner')}/${param(request, 'name')}`);
    if (target === undefined) throw notFound();
    return create(request, reply, target);
  });
  route('get', 'GET', '/predictions/:id', (request) => state.answer(predictionOf(request), publicUrl()));
  route('cancel', 'POST', '/predictions/:id/cancel', (request) => {
    const prediction = predictionOf(request);
    if (state.statusOf(prediction).completedAt === undefined) prediction.canceledAt = state.now();
    return state.answer(prediction, publicUrl());
  });
  route('list', 'GET', '/predictions', (request) => {
    const { results, next } = page(state.listed(), request, `${publicUrl()}/predictions`);
    return { previous: null, next, results: results.map((p) => state.answer(p, publicUrl(), { inList: true })) };
  });

  route('model', 'GET', '/models/:owner/:name', (request) => {
    const model = modelOf(param(request, 'owner'), param(request, 'name'));
    const { owner, name, official, versions } = model;
    return { owner, name, is_official: official, visibility: 'public', latest_version: { id: versions[0] } };
  });
  route('version', 'GET', '/models/:owner/:name/versions/:id', (request) => {
    const id = param(request, 'id');
    if (!modelOf(param(request, 'owner'), param(request, 'name')).versions.includes(id)) throw notFound();
    return { id, created_at: new Date(0).toISOString(), cog_version: '0.14.0' };
  });
  route('deployment', 'GET', '/deployments/:owner/:name', (request) => {
    const [owner, name] = [param(request, 'owner'), param(request, 'name')];
    const target = state.deployments.get(`${owner}/${name}`);
    if (target === undefined) throw notFound();
    return { owner, name, current_release: { number: 1, model: target.model, version: target.version } };
  });

  route('fileCreate', 'POST', '/files', async (request, reply) => {
    const form = await new Response(new Uint8Array(request.body as Buffer), {
      headers: { 'content-type': request.headers['content-type'] ?? '' },
    }).formData();
    const content = form.get('content');
    if (!(content instanceof File)) throw invalid('content', 'content is required');
    const metadata = form.get('metadata');
    const file = state.addFile(
      content.name,
      content.type,
      Buffer.from(await content.arrayBuffer()),
      metadata instanceof File ? JSON.parse(await metadata.text()) : {},
    );
    reply.code(201);
    return state.fileAnswer(file, publicUrl());
  });
  route('fileList', 'GET', '/files', (request) => {
    const alive = [...state.files.values()].filter(({ expiresAt }) => expiresAt > state.now());
    const { results, next } = page(alive.toReversed(), request, `${publicUrl()}/files`);
    return { previous: null, next, results: results.map((file) => state.fileAnswer(file, publicUrl())) };
  });
  route('fileGet', 'GET', '/files/:id', (request) => {
    const file = state.files.get(param(request, 'id'));
    if (file === undefined || file.expiresAt <= state.now()) throw notFound();
    return state.fileAnswer(file, publicUrl());
  });

  /** The cursor names the last item given, so that what comes in meanwhile moves nothing. */
  function page<T extends { id: string }>(all: T[], request: FastifyRequest, url: string) {
    const { cursor } = request.query as { cursor?: string };
    const after = cursor === undefined ? undefined : Buffer.from(cursor, 'base64url').toString();
    const from = after === undefined ? 0 : all.findIndex(({ id }) => id === after) + 1;
    const results = all.slice(from, from + state.pageSize);
    const last = results.at(-1);
    const next =
      last === undefined || from + state.pageSize >= all.length
        ? null
        : `${url}?cursor=${Buffer.from(last.id).toString('base64url')}`;
    return { results, next };
  }

  return app;
}

function drop(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  reply.hijack();
  request.raw.socket.destroy();
  return reply;
}

function misanswer({ status, headers, body }: NonNullable<Fault['answer']>, reply: FastifyReply): FastifyReply {
  return reply
    .code(status)
    .headers(headers ?? {})
    .send(body ?? { detail: 'scripted', status });
}

/** `Cancel-After`: seconds, or 1h30m45s; milliseconds. */
function durationOf(header: string | string[] | undefined): number | undefined {
  if (header === undefined) return undefined;
  const match = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?$/.exec(String(header));
  const [hours, minutes, seconds] = (match?.slice(1) ?? []).map((digits) => Number(digits ?? 0));
  const total = ((hours ?? 0) * 3600 + (minutes ?? 0) * 60 + (seconds ?? 0)) * 1000;
  if (match === null || total < 5000) throw invalid('Cancel-After', 'must be a duration of at least 5 seconds');
  return total;
}
