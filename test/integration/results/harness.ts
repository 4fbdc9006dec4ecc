import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { CollectedResult, CollectTask, RunStore } from '../../../src/results/contract.ts';
import { CONFIG_VARIABLE, type CollectorConfig } from '../../../src/results/collector/config.ts';
import { resultsAudience, type Review, type TokenReviewer } from '../../../src/results/gateway/auth.ts';
import { Gateway } from '../../../src/results/gateway/gateway.ts';
import type { Leadership } from '../../../src/results/gateway/leader-link.ts';
import { ensureTls, type TlsMaterial } from '../../../src/results/gateway/tls.ts';
import { ResultsHub } from '../../../src/results/hub.ts';

const INSTALLATION = 'test';
const MAIN = join(import.meta.dirname, '../../../src/main.ts');

function encoded(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

/** Knows the tokens it made, as the API server does; counts how often it is asked. */
class Tokens implements TokenReviewer {
  asked = 0;
  readonly #known = new Map<string, { audience: string; podUid: string; namespace: string }>();

  issue(audience: string, podUid: string, namespace: string, seconds = 3600): string {
    const payload = { aud: [audience], exp: Math.floor(Date.now() / 1000) + seconds, jti: randomUUID() };
    const token = `${encoded({ alg: 'RS256' })}.${encoded(payload)}.c2lnbmF0dXJl`;
    this.#known.set(token, { audience, podUid, namespace });
    return token;
  }

  async review(token: string, audience: string): Promise<Review> {
    this.asked += 1;
    const known = this.#known.get(token);
    if (known?.audience !== audience) return { ok: false, refusal: 'Invalid', message: 'unknown' };
    return { ok: true, podUid: known.podUid, podName: 'pod', namespace: known.namespace };
  }
}

export interface Sent {
  token?: string;
  method?: string;
  body?: Buffer | object;
  headers?: Record<string, string>;
}

export interface Answer {
  status: number;
  code?: string;
  retryAfter: string | undefined;
  body: Record<string, unknown>;
}

/** An operator's side of the results: gateway, hub and store, with a directory that tests write into. */
export class Operator {
  readonly tokens: Tokens;
  readonly #reviewer: TokenReviewer;
  readonly tasks = new Map<string, CollectTask | 'over'>();
  readonly errors: string[] = [];
  /** What this replica knows of who leads; a test may change it. */
  leadership: Leadership = { leads: () => true, leader: () => undefined };
  readonly hub: ResultsHub;
  readonly store: RunStore;
  readonly tls: TlsMaterial;
  gateway: Gateway;
  port = 0;

  private constructor(store: RunStore, tls: TlsMaterial, tokens: Tokens, reviewer: TokenReviewer = tokens) {
    this.store = store;
    this.tls = tls;
    this.tokens = tokens;
    this.#reviewer = reviewer;
    this.hub = new ResultsHub(store);
    this.gateway = this.#make();
  }

  /** A replica of another one has its authority, and is asked about the same tokens. `reviewer`: instead of `tokens`. */
  static async start(store: RunStore, replicaOf?: Operator, reviewer?: TokenReviewer): Promise<Operator> {
    const tls = replicaOf?.tls ?? (await ensureTls(undefined, ['localhost', '127.0.0.1'])).material;
    const operator = new Operator(store, tls, replicaOf?.tokens ?? new Tokens(), reviewer);
    operator.port = await operator.gateway.listen();
    return operator;
  }

  /** Ends the gateway; its port stays ours to take again. */
  async goDown(): Promise<void> {
    await this.gateway.close();
  }

  async comeBack(): Promise<void> {
    this.gateway = this.#make();
    await this.gateway.listen();
  }

  #make(): Gateway {
    return new Gateway({
      host: '127.0.0.1',
      port: this.port,
      tls: this.tls,
      serverName: 'localhost',
      caPem: () => this.tls.caCertPem,
      leadership: { leads: () => this.leadership.leads(), leader: () => this.leadership.leader() },
      installationId: INSTALLATION,
      store: this.store,
      hub: this.hub,
      directory: { find: (clientRunId) => this.tasks.get(clientRunId) },
      reviewer: this.#reviewer,
      onError: (message, cause) => this.errors.push(`${message}: ${String(cause)}`),
    });
  }

  run(over: Partial<CollectTask> = {}): CollectTask {
    const task: CollectTask = {
      clientRunId: randomUUID(),
      attempt: 1,
      namespace: 'team-a',
      runName: 'run',
      runUid: randomUUID(),
      nodes: 1,
      rankOf: (podUid) => (podUid === `pod-of-${task.clientRunId}` ? 0 : undefined),
      outputs: { metricsFile: 'metrics.json', seriesFile: 'metrics.jsonl', artifacts: [], ranks: 'Zero' },
      maxArtifactBytes: 10 * 2 ** 30,
      uploadSeconds: 60,
      collectNow: false,
      ...over,
    };
    this.tasks.set(task.clientRunId, task);
    return task;
  }

  tokenFor(task: CollectTask): string {
    return this.tokens.issue(
      resultsAudience(INSTALLATION, task.clientRunId),
      `pod-of-${task.clientRunId}`,
      task.namespace,
    );
  }

  /** One request to this gateway. */
  async request(path: string, { token, method = 'POST', body = {}, headers = {} }: Sent): Promise<Answer> {
    const bytes = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
    const all = {
      'content-length': String(bytes.length),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...headers,
    };
    const res = await new Promise<IncomingMessage>((resolve, reject) => {
      const target = { host: '127.0.0.1', port: this.port, path, method, headers: all, ca: this.tls.caCertPem };
      const req = request(target, resolve);
      req.on('error', reject);
      req.end(bytes);
    });
    const answered = await text(res);
    const json = (answered === '' ? {} : JSON.parse(answered)) as Record<string, unknown>;
    return {
      status: res.statusCode ?? 0,
      ...(typeof json['code'] === 'string' ? { code: json['code'] } : {}),
      retryAfter: res.headers['retry-after'],
      body: json,
    };
  }

  /** The result of rank 0, as soon as it is there. */
  async result(task: CollectTask, rank = 0): Promise<CollectedResult> {
    for (;;) {
      const found = this.hub.get(task).results.get(rank);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => {
        const end = this.hub.onChange(() => {
          end();
          resolve();
        });
      });
    }
  }
}

/** A pod as the kubelet makes it: folders, a token, and the collector as a process of its own. */
export class Pod {
  readonly task: CollectTask;
  readonly folder: string;
  readonly config: CollectorConfig;
  readonly log: string[] = [];
  #process: ChildProcess | undefined;

  private constructor(task: CollectTask, folder: string, config: CollectorConfig) {
    this.task = task;
    this.folder = folder;
    this.config = config;
  }

  static async make(operator: Operator, task: CollectTask, over: Partial<CollectorConfig> = {}): Promise<Pod> {
    const folder = await mkdtemp(join(tmpdir(), 'worldflux-pod-'));
    for (const name of ['output', 'state', 'secrets']) await mkdir(join(folder, name));
    await writeFile(join(folder, 'token'), operator.tokenFor(task));
    return new Pod(task, folder, {
      gatewayUrl: `https://127.0.0.1:${operator.port}`,
      clientRunId: task.clientRunId,
      attempt: task.attempt,
      outputs: task.outputs,
      limits: { maxArtifactBytes: task.maxArtifactBytes },
      uploadSeconds: task.uploadSeconds,
      outputDir: join(folder, 'output'),
      stateDir: join(folder, 'state'),
      tokenFile: join(folder, 'token'),
      caPem: operator.tls.caCertPem,
      terminationLog: join(folder, 'termination-log'),
      ...over,
    });
  }

  /** Writes a file below the output folder, as the user's container would. */
  async write(path: string, content: string | Buffer): Promise<void> {
    await mkdir(dirname(join(this.folder, 'output', path)), { recursive: true });
    await writeFile(join(this.folder, 'output', path), content);
  }

  start(command: string[] = [process.execPath, MAIN, 'collector'], env: NodeJS.ProcessEnv = {}): void {
    this.log.length = 0;
    const [program = '', ...args] = command;
    const child = spawn(program, args, {
      env: { PATH: process.env['PATH'], ...env, [CONFIG_VARIABLE]: JSON.stringify(this.config) },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => this.log.push(String(chunk)));
    this.#process = child;
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** The user's container has ended: what the kubelet sends. */
  endUser(): void {
    this.#process?.kill('SIGTERM');
  }

  kill(): void {
    this.#process?.kill('SIGKILL');
  }

  /** The exit code. */
  async exited(): Promise<number | null> {
    const child = this.#process;
    if (child === undefined) return null;
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    return child.exitCode;
  }

  /** Until the collector has said something of this kind. */
  async says(words: string): Promise<void> {
    while (!this.log.join('').includes(words)) {
      if (this.#process === undefined || this.#process.exitCode !== null)
        throw new Error(`exited: ${this.log.join('')}`);
      await Promise.race([once(this.#process.stdout!, 'data'), once(this.#process, 'exit')]);
    }
  }

  /** A whole life: start, the user's end, exit. */
  async live(): Promise<number | null> {
    this.start();
    await this.says('started');
    this.endUser();
    return this.exited();
  }

  async terminationMessage(): Promise<string> {
    return readFile(join(this.folder, 'termination-log'), 'utf8').catch(() => '');
  }

  async remove(): Promise<void> {
    this.kill();
    await this.exited();
    await rm(this.folder, { recursive: true, force: true });
  }
}
