import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** The vendor of docs/runtimes/writing-a-runtime.md. Where a job stands follows from the clock alone. */

export interface AcmeOptions {
  /** Milliseconds since the epoch. */
  now(): number;
  readonly queueMs: number;
  readonly runMs: number;
  readonly fails: boolean;
  /** Milliseconds until a job is in lists. */
  readonly listLagMs: number;
}

interface Job {
  readonly id: string;
  readonly input: { readonly prompt: string; readonly max_seconds: number };
  readonly createdAt: number;
  cancelledAt?: number;
}

type Status = 'queued' | 'running' | 'succeeded' | 'failed' | 'cancelled' | 'expired';

const PAGE = 2;

export class Acme {
  readonly jobs = new Map<string, Job>();
  readonly keys = new Set<string>();
  created = 0;
  readonly #o: AcmeOptions;
  readonly #server = createServer((request, response) => {
    this.#answer(request, response).catch(() => response.destroy());
  });

  private constructor(options: AcmeOptions) {
    this.#o = options;
  }

  static async open(options: AcmeOptions): Promise<Acme> {
    const acme = new Acme(options);
    await new Promise<void>((done) => acme.#server.listen(0, '127.0.0.1', done));
    return acme;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get live(): number {
    return [...this.jobs.values()].filter((job) => ['queued', 'running'].includes(this.#view(job).status)).length;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((done) => this.#server.close(() => done()));
  }

  add(input: Job['input']): Job {
    const job = { id: `job_${randomBytes(10).toString('hex')}`, input, createdAt: this.#o.now() };
    this.jobs.set(job.id, job);
    this.created += 1;
    return job;
  }

  #view({ id, input, createdAt, cancelledAt = Infinity }: Job) {
    const now = this.#o.now();
    const startedAt = createdAt + this.#o.queueMs;
    const doneAt = startedAt + this.#o.runMs;
    const expiresAt = createdAt + input.max_seconds * 1000;
    const finishedAt = Math.min(doneAt, expiresAt, cancelledAt);
    let status: Status = now < startedAt ? 'queued' : 'running';
    if (finishedAt <= now) {
      if (cancelledAt === finishedAt) status = 'cancelled';
      else if (expiresAt === finishedAt) status = 'expired';
      else status = this.#o.fails ? 'failed' : 'succeeded';
    }
    const iso = (at: number) => (at <= now ? new Date(at).toISOString() : null);
    return {
      id,
      input,
      status,
      created_at: iso(createdAt),
      started_at: finishedAt < startedAt ? null : iso(startedAt),
      finished_at: iso(finishedAt),
    };
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = Buffer.concat(await request.toArray());
    const url = new URL(request.url!, this.origin);
    const [, id, what] = /^\/v1\/jobs(?:\/([^/]+))?(?:\/([^/]+))?$/.exec(url.pathname) ?? [];
    const say = (status: number, value: unknown = {}) =>
      void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    if (!this.keys.has((request.headers.authorization ?? '').replace('Bearer ', ''))) return say(401);
    if (url.pathname === '/v1/account') return say(200, { name: 'somebody' });
    if (id === undefined) {
      if (request.method === 'GET') return say(200, this.#list(url));
      return say(201, this.#view(this.add(JSON.parse(String(body)) as Job['input'])));
    }
    const job = this.jobs.get(id);
    if (job === undefined) return say(404);
    const view = this.#view(job);
    if (what === undefined) return say(200, view);
    if (what === 'output')
      return view.status === 'succeeded' ? void response.end(`frames of ${job.input.prompt}`) : say(404);
    if (view.finished_at !== null) return say(409);
    job.cancelledAt = this.#o.now();
    return say(202);
  }

  #list(url: URL) {
    const after = Date.parse(url.searchParams.get('created_after') ?? '') || 0;
    const from = Number(url.searchParams.get('page') ?? 0);
    const listed = [...this.jobs.values()]
      .filter(({ createdAt }) => createdAt >= after && createdAt + this.#o.listLagMs <= this.#o.now())
      .toReversed()
      .toSorted((a, b) => b.createdAt - a.createdAt);
    const jobs = listed.slice(from, from + PAGE).map((job) => this.#view(job));
    return { jobs, next_page: listed.length > from + PAGE ? String(from + PAGE) : null };
  }
}
