import { setTimeout as delay } from 'node:timers/promises';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { toCanonical, wireSchema, type Canonical } from './bodies.ts';
import type { BodyName, Dialect, RoutePlace } from './dialects.ts';
import type { FaultScript, RouteName } from './faults.ts';
import { openApiOf } from './openapi.ts';
import { Refusal, WorldFluxState, type Artifact, type Run } from './state.ts';
import type { SeenRequest, Traffic } from './traffic.ts';

/** The API host. Every route needs a bearer key but the document and the health routes. */

export interface ApiParts {
  state: WorldFluxState;
  faults: FaultScript;
  traffic: Traffic;
  dialect: Dialect;
  /** 404 instead of the document. */
  hideOpenApi: boolean;
  bodyLimit: number;
  /** The upload host's origin, as the client that sent `request` can reach it. */
  uploadOrigin(request: FastifyRequest): string;
  outage(): 'refuse' | number | undefined;
}

const READS: Partial<Record<RouteName, string>> = {
  readRun: '/api/runs/:run_id',
  findRun: '/api/runs',
  readManifest: '/api/runs/:run_id/manifest',
  readArtifact: '/api/artifacts/:artifact_id',
};

const artifactAnswer = (a: Artifact) => ({
  id: a.id,
  run_id: a.runId,
  name: a.name,
  status: a.state,
  sha256: a.sha256,
  size_bytes: a.size,
});
const place = (template: string) => template.replaceAll(/\{(\w+)\}/g, ':$1');
const param = (request: FastifyRequest, name: string) => (request.params as Record<string, string>)[name] ?? '';
const runRow = (run: Run) => ({
  id: run.id,
  client_run_id: run.clientRunId,
  project: run.project,
  metrics: run.metrics,
});

export function buildApi(parts: ApiParts): FastifyInstance {
  const { state, faults, traffic, dialect } = parts;
  const names = new Map<string, RouteName>();
  const app = Fastify({ bodyLimit: parts.bodyLimit, forceCloseConnections: true });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));

  app.addHook('onRequest', (request, reply, done) => {
    traffic.begin();
    reply.raw.once('close', () => traffic.end());
    const outage = parts.outage();
    if (outage === undefined) return done();
    if (outage === 'refuse') {
      request.raw.socket.destroy();
      reply.hijack();
      return undefined;
    }
    return reply.code(outage).send({ detail: 'Service Unavailable' });
  });
  app.setErrorHandler((error, request, reply) => {
    if (error instanceof Refusal) return reply.code(error.status).send(error.body);
    const status = (error as { statusCode?: number }).statusCode ?? 500;
    // Refused before its handler: a body over the limit.
    note(request, names.get(`${request.method} ${request.routeOptions.url}`) ?? 'unknown').status = status;
    return reply.code(status).send({ detail: (error as Error).message });
  });
  app.setNotFoundHandler((request, reply) => {
    traffic.violations.push(`${request.method} ${request.url}`);
    note(request, 'unknown');
    return reply.code(404).send({ detail: 'Not Found' });
  });

  function note(request: FastifyRequest, route: SeenRequest['route']): SeenRequest {
    const seen: SeenRequest = {
      at: state.now(),
      route,
      method: request.method,
      url: request.url,
      headers: request.headers,
    };
    if (Buffer.isBuffer(request.body)) seen.body = request.body;
    traffic.requests.push(seen);
    return seen;
  }

  function workspaceOf(request: FastifyRequest): string {
    const key = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    const workspace = key === undefined ? undefined : state.keys.get(key);
    if (workspace === undefined) throw new Refusal(401, { detail: 'Invalid API key' });
    return workspace;
  }

  type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown;

  /** A route with its place in the log and its share of misfortune. */
  function route(name: RouteName, method: RoutePlace['method'], url: string, handler: Handler): void {
    names.set(`${method} ${url}`, name);
    app.route({
      method,
      url,
      handler: async (request, reply) => {
        const seen = note(request, name);
        reply.raw.once('finish', () => (seen.status = reply.raw.statusCode));
        const fault = faults.take(name);
        fault?.before?.(state);
        if (fault?.slowMs !== undefined) await delay(fault.slowMs);
        if (fault?.cut === 'before' || fault?.hang === true) {
          reply.hijack();
          if (fault.cut === 'before') request.raw.socket.destroy();
          return reply;
        }
        if (fault?.answer !== undefined) {
          const { status, headers = {}, body = { detail: 'scripted' } } = fault.answer;
          return reply.code(status).headers(headers).send(body);
        }
        const answer = await handler(request, reply);
        if (fault?.cut === 'after') {
          reply.hijack();
          request.raw.socket.destroy();
          return reply;
        }
        return reply.send(answer);
      },
    });
  }

  function bodyOf<B extends BodyName>(request: FastifyRequest, name: B): Canonical[B] {
    const schema = wireSchema(dialect, name);
    const params = request.params as Record<string, string>;
    const extra: Record<string, unknown> = {};
    if (params['run_id'] !== undefined) extra['run_id'] = params['run_id'];
    const artifact = params['artifact_id'] ?? params['upload_id'];
    if (artifact !== undefined) extra['artifact_id'] = artifact;
    if (schema === undefined) return toCanonical(dialect, name, {}, extra);
    let value: unknown;
    try {
      value = JSON.parse((request.body as Buffer | undefined)?.toString('utf8') ?? '');
    } catch {
      throw new Refusal(422, { detail: [{ loc: ['body'], msg: 'JSON decode error', type: 'json_invalid' }] });
    }
    const parsed = schema.safeParse(value);
    if (parsed.success) return toCanonical(dialect, name, parsed.data, extra);
    // FastAPI echoes what it was given: whoever stores this answer stores data.
    const detail = parsed.error.issues.map((issue) => ({
      loc: ['body', ...issue.path],
      msg: issue.message,
      type: issue.code,
      input: value,
    }));
    throw new Refusal(422, { detail });
  }

  const runAnswer = (run: Run) =>
    dialect.answers === 'flat'
      ? { run_id: run.id, client_run_id: run.clientRunId }
      : { run: { id: run.id }, status: 'accepted' };

  function initiateAnswer(request: FastifyRequest, artifact: Artifact): Record<string, unknown> {
    const query = `X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=${state.rules.urlSeconds}&X-Amz-Signature=${artifact.signature}`;
    const url = `${parts.uploadOrigin(request)}/worldflux-artifacts/${artifact.id}?${query}`;
    const upload = {
      method: 'PUT',
      headers: { 'content-type': artifact.contentType },
      expires_at: new Date(artifact.expiresAt).toISOString(),
    };
    return dialect.answers === 'flat'
      ? { artifact_id: artifact.id, upload_url: url, ...upload }
      : { artifact: { id: artifact.id }, upload: { url, ...upload } };
  }

  route('openapi', 'GET', '/openapi.json', () => {
    if (parts.hideOpenApi) throw new Refusal(404, { detail: 'Not Found' });
    return openApiOf(dialect);
  });
  route('health', 'GET', '/healthz', () => ({ status: 'ok' }));
  route('health', 'GET', '/health/r2', () => ({ status: 'ok' }));
  route('projects', 'GET', '/api/projects', (request) => {
    const workspace = workspaceOf(request);
    const projects = state.projects
      .filter((p) => p.workspace === workspace)
      .map(({ id, slug }) => ({ id, slug, name: slug }));
    return dialect.answers === 'flat' ? projects : { items: projects, total: projects.length };
  });

  const { routes } = dialect;
  route('runs', routes.runs.method, place(routes.runs.path), (request, reply) => {
    const workspace = workspaceOf(request);
    const { run, created } = state.postRun(workspace, bodyOf(request, 'runs'));
    reply.code(created ? 201 : 200);
    return runAnswer(run);
  });
  if (routes.ledgerRead !== undefined) {
    route('ledgerRead', routes.ledgerRead.method, place(routes.ledgerRead.path), (request) => {
      const project = (request.query as Record<string, string>)[dialect.names.ledger?.['project'] ?? 'project'];
      if (project === undefined)
        throw new Refusal(422, { detail: [{ loc: ['query', 'project'], msg: 'Field required', type: 'missing' }] });
      return { head: state.ledger(workspaceOf(request), project).at(-1) ?? null };
    });
  }
  if (routes.ledgerWrite !== undefined) {
    route('ledgerWrite', routes.ledgerWrite.method, place(routes.ledgerWrite.path), (request) => ({
      head: state.advance(workspaceOf(request), bodyOf(request, 'ledger')),
    }));
  }
  if (routes.initiate !== undefined) {
    route('initiate', routes.initiate.method, place(routes.initiate.path), (request, reply) => {
      const artifact = state.initiate(workspaceOf(request), bodyOf(request, 'initiate'));
      reply.code(201);
      return initiateAnswer(request, artifact);
    });
  }
  if (routes.commit !== undefined) {
    route('commit', routes.commit.method, place(routes.commit.path), (request) =>
      artifactAnswer(state.commit(workspaceOf(request), bodyOf(request, 'commit'))),
    );
  }
  if (routes.abort !== undefined) {
    route('abort', routes.abort.method, place(routes.abort.path), (request) =>
      artifactAnswer(state.abort(workspaceOf(request), bodyOf(request, 'abort'))),
    );
  }

  const reads: Record<string, Handler> = {
    readRun: (request) => runRow(state.run(workspaceOf(request), param(request, 'run_id'))),
    readManifest: (request) => state.run(workspaceOf(request), param(request, 'run_id')).manifest,
    readArtifact: (request) => artifactAnswer(state.artifact(workspaceOf(request), param(request, 'artifact_id'))),
    findRun: (request) => {
      const workspace = workspaceOf(request);
      const wanted = (request.query as Record<string, string>)['client_run_id'];
      const runs = [...state.runs.values()].filter(
        (r) => r.workspace === workspace && (wanted === undefined || r.clientRunId === wanted),
      );
      return { items: runs.map(runRow), total: runs.length };
    },
  };
  for (const [name, url] of Object.entries(READS)) route(name as RouteName, 'GET', url, reads[name] as Handler);
  return app;
}
