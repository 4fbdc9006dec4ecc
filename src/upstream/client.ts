import { createHash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { HttpError, type GuardedHttp, type OutgoingAnswer, type StreamBody } from '../net/http.ts';
import { PINNED, ROLES, type Contract, type Role, type Values } from './contract.ts';
import type { ProviderEventRecorder } from '../telemetry/provider-events.ts';
import * as decode from './decode.ts';
import { encode } from './encode.ts';
import { fromHttp, fromStatus, fromUploadStatus, UpstreamError } from './errors.ts';
import { probeOpenApi } from './probe.ts';
import { reported } from './reporting.ts';
import type { UploadSet } from './upload-set.ts';

/** One WorldFlux API with one key. Every call throws an UpstreamError; nothing here retries. */

export interface Target {
  /** Origin and, if any, path prefix; no trailing slash. */
  readonly baseURL: string;
  /** The bearer key. Opaque. */
  readonly key: string;
}

export interface RunRequest {
  readonly set: UploadSet;
  readonly project: ProjectRef;
  /** Already redacted; undefined where the log goes by the artifact channel. */
  readonly logLines: readonly string[] | undefined;
}

export interface ProjectRef {
  readonly name: string;
  /** Undefined where the server's list could not be read. */
  readonly id: string | undefined;
}

export interface ArtifactRequest {
  readonly cloudRunId: string | undefined;
  readonly clientRunId: string;
  readonly project: ProjectRef;
  readonly name: string;
  readonly path: string;
  /** Bytes. */
  readonly sizeBytes: number;
  /** Lower-case hex. */
  readonly sha256: string;
  readonly contentType: string;
}

const TIMEOUT_MS = 30_000;
/** A run's body may hold megabytes of log over a slow line. */
const RUN_TIMEOUT_MS = 120_000;
const MAX_DOCUMENT = 16 * 1024 * 1024;
const MAX_MANIFEST = 4 * 1024 * 1024;

export class Upstream {
  readonly #http: GuardedHttp;
  readonly #base: URL;
  readonly #key: string;
  readonly #events: ProviderEventRecorder;
  readonly contract: Contract;

  constructor(http: GuardedHttp, target: Target, contract: Contract, events: ProviderEventRecorder) {
    this.#http = http;
    this.#events = events;
    this.#base = new URL(target.baseURL);
    this.#key = target.key;
    this.contract = contract;
  }

  has(role: Role): boolean {
    return this.contract.routes[role] !== undefined;
  }

  /** Throws where the server is not well. One that has no such route may be. */
  async health(signal: AbortSignal): Promise<void> {
    if (!this.has('health')) return;
    await unless(['notFound'], () => this.#call('health', {}, ignored, signal));
  }

  /**
   * Undefined where the list cannot be had; the project's name is then used as it is. A key that may sync need not be one
   * that may list projects, and a key that may neither is refused at the next request.
   */
  async projects(signal: AbortSignal): Promise<decode.ProjectList | undefined> {
    if (!this.has('projects')) return undefined;
    const read = (answer: unknown): decode.ProjectList => {
      const list = decode.projectsIn(answer);
      if (list === undefined)
        throw new UpstreamError({ kind: 'unexpected' }, ROLES.projects, 'the answer holds no list');
      return list;
    };
    return unless(['notFound', 'unexpected', 'forbidden'], () => this.#call('projects', {}, read, signal));
  }

  /** Null where the ledger is empty. */
  async ledgerHead(project: ProjectRef, signal: AbortSignal): Promise<string | null> {
    const read = (answer: unknown): string | null => {
      const head = decode.headIn(answer);
      if (head === undefined)
        throw new UpstreamError({ kind: 'unexpected' }, ROLES.ledgerRead, 'the answer holds no head');
      return head;
    };
    return this.#call('ledgerRead', projectValues(project), read, signal);
  }

  /** Compare and swap: a conflict where the head is no longer `expected`. */
  async advanceLedger(
    project: ProjectRef,
    move: { expected: string | null; head: string; clientRunId: string; cloudRunId: string | undefined },
    signal: AbortSignal,
  ): Promise<void> {
    const values: Values = {
      ...projectValues(project),
      expectedHead: move.expected,
      head: move.head,
      clientRunId: move.clientRunId,
      ...(move.cloudRunId === undefined ? {} : { cloudRunId: move.cloudRunId }),
    };
    await this.#call('ledgerWrite', values, ignored, signal);
  }

  /** The cloud run id, if the answer names one. */
  async postRun({ set, project, logLines }: RunRequest, signal: AbortSignal): Promise<string | undefined> {
    const values: Values = {
      ...projectValues(project),
      clientRunId: set.clientRunId,
      manifest: set.manifest,
      manifestDigest: set.manifestDigest,
      metrics: set.metrics,
      ...(logLines === undefined ? {} : { logLines }),
    };
    return this.#call('run', values, decode.runIdIn, signal, RUN_TIMEOUT_MS);
  }

  /** Whether `post a run` has a place for log lines. */
  get takesLogLines(): boolean {
    return this.contract.routes.run?.slots.some(({ value }) => value === 'logLines') === true;
  }

  async initiate(
    artifact: ArtifactRequest,
    signal: AbortSignal,
  ): Promise<{ artifactId: string; upload: decode.UploadInstructions | undefined }> {
    const read = (answer: unknown) => {
      const { artifactId, upload } = decode.initiatedIn(answer);
      if (artifactId === undefined)
        throw new UpstreamError({ kind: 'unexpected' }, ROLES.initiate, 'the answer names no artifact');
      return { artifactId, upload };
    };
    return this.#call('initiate', artifactValues(artifact), read, signal);
  }

  /** Streams the bytes to where `initiate` said. The key goes along only to the API's own origin. */
  async upload(
    instructions: decode.UploadInstructions,
    body: StreamBody,
    contentType: string,
    signal: AbortSignal,
  ): Promise<void> {
    const doing = 'upload an artifact';
    const url = URL.canParse(instructions.url, this.#base.href) ? new URL(instructions.url, this.#base) : undefined;
    if (url === undefined)
      throw new UpstreamError({ kind: 'unexpected' }, doing, 'the answer holds no URL to upload to');
    const { method } = instructions;
    await reported({ events: this.#events, doing, method, url }, async (answered) => {
      try {
        const answer = await this.#http.send({
          method,
          url,
          headers: { 'content-type': contentType, ...instructions.headers },
          body,
          signal,
          ...(url.origin === this.#base.origin ? { credentials: this.#credentials() } : {}),
        });
        answered(answer.status);
        if (answer.status >= 300) throw fromUploadStatus(doing, answer.status, answer.headers, answer.body, Date.now());
      } catch (cause) {
        throw fromHttp(doing, cause);
      }
    });
  }

  async commit(artifact: ArtifactRequest, artifactId: string, signal: AbortSignal): Promise<void> {
    await this.#call('commit', { ...artifactValues(artifact), artifactId }, ignored, signal);
  }

  async abort(artifact: ArtifactRequest, artifactId: string, signal: AbortSignal): Promise<void> {
    await this.#call('abort', { ...artifactValues(artifact), artifactId }, ignored, signal);
  }

  /** The cloud run id of a run that is there under this client_run_id. */
  async findRun(clientRunId: string, signal: AbortSignal): Promise<string | undefined> {
    if (!this.has('findRun')) return undefined;
    return this.#call('findRun', { clientRunId }, (answer) => decode.findRunIn(answer, clientRunId), signal);
  }

  /** `sha256:<hex>` of the canonical form of the manifest that is there; undefined where it cannot be read. */
  async manifestDigest(cloudRunId: string, signal: AbortSignal): Promise<string | undefined> {
    if (!this.has('readManifest')) return undefined;
    const read = (answer: unknown): string | undefined => {
      const text = canonicalize(decode.manifestIn(answer));
      return text === undefined ? undefined : `sha256:${createHash('sha256').update(text).digest('hex')}`;
    };
    return this.#call('readManifest', { cloudRunId }, read, signal, TIMEOUT_MS, MAX_MANIFEST);
  }

  async readArtifact(artifactId: string, signal: AbortSignal): Promise<decode.ReadArtifact | undefined> {
    if (!this.has('readArtifact')) return undefined;
    return this.#call('readArtifact', { artifactId }, decode.artifactIn, signal);
  }

  #credentials() {
    return { origin: this.#base.origin, header: 'authorization', value: `Bearer ${this.#key}` };
  }

  /** What `read` makes of the parsed answer of a success. */
  async #call<T>(
    role: Role,
    values: Values,
    read: (answer: unknown) => T,
    signal: AbortSignal,
    timeoutMs = TIMEOUT_MS,
    maxAnswerBytes?: number,
  ): Promise<T> {
    const doing = ROLES[role];
    const route = this.contract.routes[role];
    if (route === undefined) throw new UpstreamError({ kind: 'contract' }, doing, 'the contract has no such route');
    const { target, body } = encode(route, values, doing);
    const url = joined(this.#base, target);
    const { method } = route;
    const call = { events: this.#events, doing, method, url, clientRunId: values.clientRunId };
    return reported(call, async (answered) => {
      let answer: OutgoingAnswer;
      try {
        answer = await this.#http.send({
          method,
          url,
          headers: {
            accept: 'application/json',
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          },
          ...(body === undefined ? {} : { body }),
          ...(role === 'health' ? {} : { credentials: this.#credentials() }),
          signal,
          timeoutMs,
          ...(maxAnswerBytes === undefined ? {} : { maxAnswerBytes }),
        });
      } catch (cause) {
        throw fromHttp(doing, cause);
      }
      answered(answer.status);
      const parsed = decode.parseJson(answer.body);
      if (answer.status >= 300) throw fromStatus(doing, answer.status, answer.headers, parsed, Date.now());
      // A page that says "back soon" with 200 must not pass for an accepted run.
      if (parsed === undefined && answer.body.length > 0 && role !== 'health')
        throw new UpstreamError({ kind: 'unexpected' }, doing, 'the answer is not JSON');
      try {
        return read(parsed);
      } catch (cause) {
        if (cause instanceof UpstreamError) throw cause;
        // Nested too deep to be walked, say: it is the answer that is wrong, not what was to be sent.
        throw new UpstreamError({ kind: 'unexpected' }, doing, 'the answer could not be read', cause);
      }
    });
  }
}

const ignored = (): void => {};

/** Undefined in place of one of these faults. */
async function unless<T>(
  faults: readonly ('notFound' | 'unexpected' | 'forbidden')[],
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof UpstreamError)) throw error;
    const { fault } = error;
    const kind = fault.kind === 'credentials' && fault.forbidden ? 'forbidden' : fault.kind;
    if ((faults as readonly string[]).includes(kind)) return undefined;
    throw error;
  }
}

/** Reads the contract of a target. Without a document (404, 401, no JSON) the pinned one; throws when nobody answers. */
export async function readContract(
  http: GuardedHttp,
  baseURL: string,
  events: ProviderEventRecorder,
  signal: AbortSignal,
): Promise<Contract> {
  const doing = 'read /openapi.json';
  const url = joined(new URL(baseURL), '/openapi.json');
  return reported({ events, doing, method: 'GET', url }, async (answered) => {
    let answer: OutgoingAnswer;
    try {
      answer = await http.send({
        method: 'GET',
        url,
        headers: { accept: 'application/json' },
        signal,
        timeoutMs: TIMEOUT_MS,
        maxAnswerBytes: MAX_DOCUMENT,
      });
    } catch (cause) {
      if (cause instanceof HttpError && cause.kind === 'answer') return PINNED;
      throw fromHttp(doing, cause);
    }
    answered(answer.status);
    if (answer.status >= 500 || answer.status === 429)
      throw fromStatus(doing, answer.status, answer.headers, undefined, Date.now());
    if (answer.status >= 300) return PINNED;
    try {
      return probeOpenApi(decode.parseJson(answer.body)) ?? PINNED;
    } catch {
      // Nested too deep to be walked: no description of an API.
      return PINNED;
    }
  });
}

function joined(base: URL, target: string): URL {
  return new URL(`${base.origin}${base.pathname.replace(/\/$/, '')}${target}`);
}

const projectValues = ({ name, id }: ProjectRef): Values => ({
  project: name,
  ...(id === undefined ? {} : { projectId: id }),
});

function artifactValues(artifact: ArtifactRequest): Values {
  return {
    ...projectValues(artifact.project),
    clientRunId: artifact.clientRunId,
    ...(artifact.cloudRunId === undefined ? {} : { cloudRunId: artifact.cloudRunId }),
    artifactName: artifact.name,
    artifactPath: artifact.path,
    sizeBytes: artifact.sizeBytes,
    sha256: artifact.sha256,
    contentType: artifact.contentType,
  };
}
