import { createHash, randomBytes } from 'node:crypto';

/**
 * What the vendor knows. Nothing runs in the background: where a prediction stands follows from the clock whenever
 * somebody asks, so a test that holds the clock holds everything.
 */

export type Status = 'starting' | 'processing' | 'succeeded' | 'failed' | 'canceled' | 'aborted';

/** How a prediction goes. JSON, so that it can be set over HTTP as well. */
export interface Behaviour {
  /** Milliseconds in `starting`. */
  queueMs: number;
  /** Milliseconds in `processing`. */
  runMs: number;
  outcome: 'succeed' | 'fail';
  /** The output; each `{"$file": …}` in it becomes the URL of a file that expires. */
  output: unknown;
  error: string;
  /** Lines; they appear evenly over `runMs`. */
  logs: string[];
  /** Beside predict_time and total_time. */
  metrics: Record<string, unknown>;
}

/** Stands in a behaviour's output for a file. With `size` and no text, that many bytes of a pattern. */
export interface OutputFile {
  $file: string;
  type?: string;
  text?: string;
  size?: number;
}

export interface Target {
  model: string;
  version: string;
  deployment?: string;
}

export interface Prediction {
  id: string;
  target: Target;
  input: unknown;
  source: 'api' | 'web';
  webhook?: string;
  createdAt: number;
  /** `Cancel-After`, as a time. */
  deadline: number | undefined;
  behaviour: Behaviour;
  canceledAt: number | undefined;
  /** Made when the prediction has succeeded, once. */
  output: unknown;
}

export interface StoredFile {
  id: string;
  name: string;
  contentType: string;
  bytes: Buffer;
  metadata: unknown;
  createdAt: number;
  expiresAt: number;
}

export interface Output {
  name: string;
  type: string;
  bytes: Buffer;
  expiresAt: number;
}

export interface Model {
  owner: string;
  name: string;
  official: boolean;
  versions: string[];
}

/** A refusal as the API words it. */
export class Refusal extends Error {
  readonly status: number;
  readonly body: unknown;
  readonly headers: Record<string, string>;

  constructor(status: number, body: unknown, headers: Record<string, string> = {}) {
    super(`refused with ${status}`);
    this.status = status;
    this.body = body;
    this.headers = headers;
  }
}

export const VERSION = 'a'.repeat(64);
export const MODEL = 'acme/dreamer';
export const DEPLOYMENT = 'acme/dreamer-prod';
export const TOKEN = 'r8_FakeTokenForTestsOnly0000000000000000';

const HOUR = 3_600_000;

export class ReplicateState {
  readonly predictions = new Map<string, Prediction>();
  readonly files = new Map<string, StoredFile>();
  readonly outputs = new Map<string, Output>();
  readonly models = new Map<string, Model>();
  /** Deployment to the model that its release runs. */
  readonly deployments = new Map<string, Target>();
  readonly tokens = new Set<string>([TOKEN]);
  /** 402 for everything that costs. */
  suspended = false;
  /** Milliseconds until a prediction is in lists. */
  listLagMs = 0;
  /** Milliseconds after its end until inputs, outputs and logs are removed. */
  removeAfterMs = HOUR;
  /** Milliseconds that the URL of an output is good for. */
  outputsLastMs = HOUR;
  filesLastMs = 24 * HOUR;
  pageSize = 100;
  /** Whether predictions name the deployment that made them. */
  namesDeployment = true;
  /** Leaves out of answers what has no value, where others write null. */
  sparse = false;
  /** What is given back as the input, where that is not what was sent. */
  echo: (input: unknown) => unknown = (input) => input;
  behaviour: Behaviour = {
    queueMs: 0,
    runMs: 0,
    outcome: 'succeed',
    output: 'done',
    error: 'the model raised an error',
    logs: [],
    metrics: {},
  };
  /** Where outputs are served; set once it listens. */
  deliveryUrl = '';
  readonly webhookSecret = `whsec_${randomBytes(24).toString('base64')}`;
  /** Predictions ever created. */
  created = 0;
  readonly #clock: () => number;
  #skippedMs = 0;

  constructor(clock: () => number = Date.now) {
    this.#clock = clock;
    this.models.set(MODEL, { owner: 'acme', name: 'dreamer', official: true, versions: [VERSION] });
    this.deployments.set(DEPLOYMENT, { model: MODEL, version: VERSION, deployment: DEPLOYMENT });
  }

  now(): number {
    return this.#clock() + this.#skippedMs;
  }

  /** Lets time pass at the vendor alone. */
  skip(ms: number): void {
    this.#skippedMs += ms;
  }

  /** Predictions that cost now. */
  get live(): number {
    return [...this.predictions.values()].filter((prediction) => isLive(this.statusOf(prediction))).length;
  }

  create(target: Target, input: unknown, extra: { deadlineMs?: number; webhook?: string; source?: 'api' | 'web' }) {
    const id = newId();
    const createdAt = this.now();
    const prediction: Prediction = {
      id,
      target,
      input,
      source: extra.source ?? 'api',
      createdAt,
      deadline: extra.deadlineMs === undefined ? undefined : createdAt + extra.deadlineMs,
      behaviour: structuredClone(this.behaviour),
      canceledAt: undefined,
      output: undefined,
      ...(extra.webhook === undefined ? {} : { webhook: extra.webhook }),
    };
    this.predictions.set(id, prediction);
    this.created += 1;
    return prediction;
  }

  /** Where it stands now, and since when. */
  statusOf(prediction: Prediction): { status: Status; startedAt?: number; completedAt?: number } {
    const { behaviour, createdAt, canceledAt, deadline } = prediction;
    const startedAt = createdAt + behaviour.queueMs;
    const finishedAt = startedAt + behaviour.runMs;
    const now = this.now();
    const stoppedAt = Math.min(canceledAt ?? Infinity, deadline ?? Infinity);
    if (stoppedAt <= now && stoppedAt < finishedAt) {
      if (stoppedAt > startedAt) return { status: 'canceled', startedAt, completedAt: stoppedAt };
      return { status: canceledAt === undefined ? 'aborted' : 'canceled', completedAt: stoppedAt };
    }
    if (now >= finishedAt) {
      return { status: behaviour.outcome === 'succeed' ? 'succeeded' : 'failed', startedAt, completedAt: finishedAt };
    }
    return now >= startedAt ? { status: 'processing', startedAt } : { status: 'starting' };
  }

  /** The prediction as the API gives it. */
  answer(prediction: Prediction, apiUrl: string, { inList = false } = {}): Record<string, unknown> {
    const { behaviour, target } = prediction;
    const { status, startedAt, completedAt } = this.statusOf(prediction);
    const removed = completedAt !== undefined && this.now() >= completedAt + this.removeAfterMs;
    if (status === 'succeeded') prediction.output ??= this.#deliver(behaviour.output);
    const url = `${apiUrl}/predictions/${prediction.id}`;
    const whole: Record<string, unknown> = {
      id: prediction.id,
      model: target.model,
      version: target.version,
      ...(target.deployment !== undefined && this.namesDeployment ? { deployment: target.deployment } : {}),
      source: prediction.source,
      input: removed ? {} : this.echo(prediction.input),
      output: removed || status !== 'succeeded' ? null : prediction.output,
      error: status === 'failed' ? behaviour.error : null,
      ...(inList ? {} : { logs: removed ? null : this.#logsOf(prediction, startedAt, completedAt) }),
      status,
      data_removed: removed,
      created_at: iso(prediction.createdAt),
      started_at: iso(startedAt),
      completed_at: iso(completedAt),
      ...(prediction.deadline === undefined ? {} : { deadline: iso(prediction.deadline) }),
      ...(prediction.webhook === undefined ? {} : { webhook: prediction.webhook }),
      metrics:
        completedAt === undefined
          ? {}
          : {
              ...behaviour.metrics,
              total_time: (completedAt - prediction.createdAt) / 1000,
              ...(startedAt === undefined ? {} : { predict_time: (completedAt - startedAt) / 1000 }),
            },
      urls: { get: url, cancel: `${url}/cancel` },
    };
    return this.sparse ? Object.fromEntries(Object.entries(whole).filter(([, value]) => value !== null)) : whole;
  }

  /** Newest first, without what is too young to be listed. */
  listed(): Prediction[] {
    const seen = [...this.predictions.values()].filter(({ createdAt }) => createdAt + this.listLagMs <= this.now());
    return seen.toReversed().toSorted((a, b) => b.createdAt - a.createdAt);
  }

  #logsOf({ behaviour }: Prediction, startedAt: number | undefined, completedAt: number | undefined): string {
    if (startedAt === undefined) return '';
    const passed = (completedAt ?? this.now()) - startedAt;
    const share = behaviour.runMs === 0 ? 1 : Math.min(1, passed / behaviour.runMs);
    return behaviour.logs
      .slice(0, Math.floor(behaviour.logs.length * share))
      .map((line) => `${line}\n`)
      .join('');
  }

  #deliver(value: unknown): unknown {
    if (Array.isArray(value)) return value.map((item) => this.#deliver(item));
    if (typeof value !== 'object' || value === null) return value;
    if (isOutputFile(value)) return this.addOutput(value);
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, this.#deliver(item)]));
  }

  /** Answers its URL, signed as the vendor's are. */
  addOutput({ $file: name, type, text, size }: OutputFile): string {
    const id = newId();
    const bytes = text === undefined ? Buffer.alloc(size ?? 0, 'worldflux-') : Buffer.from(text);
    this.outputs.set(id, {
      name,
      type: type ?? 'application/octet-stream',
      bytes,
      expiresAt: this.now() + this.outputsLastMs,
    });
    return `${this.deliveryUrl}/xezq/${id}/${name}?sig=${randomBytes(16).toString('hex')}`;
  }

  addFile(name: string, contentType: string, bytes: Buffer, metadata: unknown): StoredFile {
    const createdAt = this.now();
    const expiresAt = createdAt + this.filesLastMs;
    const file = { id: newId(), name, contentType, bytes, metadata, createdAt, expiresAt };
    this.files.set(file.id, file);
    return file;
  }

  fileAnswer(file: StoredFile, apiUrl: string): Record<string, unknown> {
    return {
      id: file.id,
      name: file.name,
      content_type: file.contentType,
      size: file.bytes.length,
      etag: createHash('md5').update(file.bytes).digest('hex'),
      checksums: { sha256: createHash('sha256').update(file.bytes).digest('hex') },
      metadata: file.metadata,
      created_at: iso(file.createdAt),
      expires_at: iso(file.expiresAt),
      urls: { get: `${apiUrl}/files/${file.id}` },
    };
  }
}

const isLive = ({ status }: { status: Status }) => status === 'starting' || status === 'processing';
const iso = (at: number | undefined) => (at === undefined ? null : new Date(at).toISOString());
const isOutputFile = (value: object): value is OutputFile => '$file' in value && typeof value.$file === 'string';

let counter = 0;
/** As the vendor's: 26 lower-case letters and digits. */
function newId(): string {
  counter += 1;
  return createHash('sha256')
    .update(`${counter}-${randomBytes(8).toString('hex')}`)
    .digest('hex')
    .slice(0, 26);
}
