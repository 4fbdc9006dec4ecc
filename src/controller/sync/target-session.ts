import { createHash } from 'node:crypto';
import type { RunStore } from '../../results/contract.ts';
import { Upstream, type ProjectRef } from '../../upstream/client.ts';
import { problemsOf, ROLES, RUN_ROLES } from '../../upstream/contract.ts';
import { SLOW_RETRY_MS } from '../../upstream/retry.ts';
import { Endpoint } from './endpoint.ts';
import { KEY_MS, SyncFailure } from './failure.ts';
import type { SyncTarget } from './plan.ts';
import { forgetRefused, loadRefused, saveRefused } from './refused-key.ts';
import type { Clock, KeyRead, SyncCluster } from './ports.ts';

/** One target with one key: what all its runs share, asked for once. */
export class TargetSession {
  readonly target: SyncTarget;
  readonly endpoint: Endpoint;
  readonly #cluster: Pick<SyncCluster, 'readKey'>;
  readonly #store: RunStore;
  readonly #clock: Clock;
  #key: { read: KeyRead; at: number } | undefined;
  /** The key that the target refused and that is not sent a second time. Undefined until the store was asked. */
  #refused: { readonly version: string; readonly fingerprint?: string } | 'None' | undefined;
  /** The store still remembers one that may be sent again. */
  #forget = false;
  #healthyUntil = 0;
  readonly #projects = new Map<string, ProjectRef>();

  constructor(
    target: SyncTarget,
    endpoint: Endpoint,
    cluster: Pick<SyncCluster, 'readKey'>,
    store: RunStore,
    clock: Clock,
  ) {
    this.target = target;
    this.endpoint = endpoint;
    this.#cluster = cluster;
    this.#store = store;
    this.#clock = clock;
  }

  /** The key as it was last read; undefined before the first time. */
  get key(): KeyRead | undefined {
    return this.#key?.read;
  }

  get keyRefused(): boolean {
    return typeof this.#refused === 'object';
  }

  /** What runs are told while the key is refused: the same at the refusal and at every later look. */
  get refusal(): string {
    return `The target refused the key in Secret ${this.target.key.namespace}/${this.target.key.name}; nothing is sent until it changes.`;
  }

  /** Contract and key → a client. Throws SyncFailure and UpstreamError. */
  async open(signal: AbortSignal): Promise<Upstream> {
    const contract = await this.endpoint.readContract();
    const [problem] = problemsOf(contract, RUN_ROLES);
    if (problem !== undefined) {
      const message = `${ROLES[problem.role]}: ${problem.text}`;
      throw new SyncFailure({
        scope: 'Target',
        reason: 'ContractMismatch',
        message,
        retry: SLOW_RETRY_MS,
        reprobe: true,
      });
    }
    return new Upstream(
      this.endpoint.http,
      { baseURL: this.target.baseURL, key: await this.#readKey(signal) },
      contract,
      this.endpoint.events,
    );
  }

  /** Health and project, each asked for once in a while. */
  async greet(upstream: Upstream, project: string, signal: AbortSignal): Promise<ProjectRef> {
    if (this.#clock.now() >= this.#healthyUntil) {
      await upstream.health(signal);
      this.#healthyUntil = this.#clock.now() + HEALTH_MS;
    }
    const known = this.#projects.get(project);
    if (known !== undefined) return known;
    const list = await upstream.projects(signal);
    const found = list?.projects.find(({ names }) => names.includes(project));
    if (list?.whole === true && found === undefined) {
      throw new SyncFailure({
        scope: 'Run',
        reason: 'ProjectNotFound',
        message: `The key's workspace has no project ${project}.`,
        retry: SLOW_RETRY_MS,
      });
    }
    const reference = { name: project, id: found?.id };
    this.#projects.set(project, reference);
    return reference;
  }

  /** Something failed: nothing that was learnt of the target is taken for granted any more. */
  distrust(): void {
    this.#healthyUntil = 0;
    this.#projects.clear();
  }

  /** It holds at once; the promise is kept when a restart knows it too. Throws StoreError. */
  async refuseKey(): Promise<void> {
    const read = this.#key?.read;
    this.#key = undefined;
    if (read?.found !== true) return;
    if (typeof this.#refused === 'object' && this.#refused.version === read.version) return;
    this.#refused = { version: read.version, fingerprint: fingerprintOf(read.value) };
    await saveRefused(this.#store, this.target, read.version);
  }

  /** A person asked for another try. */
  forgive(): void {
    this.#key = undefined;
    this.#refused = 'None';
    this.#forget = true;
  }

  /** Reads the key anew, though nothing is to be sent: whether it expires is told in time. */
  async lookAtKey(signal: AbortSignal): Promise<void> {
    this.#key = { read: await this.#cluster.readKey(this.target.key, signal), at: this.#clock.now() };
  }

  async #readKey(signal: AbortSignal): Promise<string> {
    if (this.#key === undefined || this.#clock.now() - this.#key.at >= KEY_MS) {
      this.#key = { read: await this.#cluster.readKey(this.target.key, signal), at: this.#clock.now() };
    }
    const { read } = this.#key;
    const where = `Secret ${this.target.key.namespace}/${this.target.key.name}`;
    if (!read.found)
      throw new SyncFailure({
        scope: 'Target',
        reason: 'KeyMissing',
        message: `${where}: ${read.why}`,
        retry: 'NewKey',
      });
    if (await this.#isRefused(read, signal)) {
      throw new SyncFailure({
        scope: 'Target',
        reason: 'KeyRefused',
        message: this.refusal,
        retry: 'NewKey',
      });
    }
    return read.value;
  }

  async #isRefused({ value, version }: Extract<KeyRead, { found: true }>, signal: AbortSignal): Promise<boolean> {
    if (this.#refused === undefined) {
      const stored = await loadRefused(this.#store, this.target, signal);
      this.#refused = stored === undefined ? 'None' : { version: stored };
    }
    if (this.#refused !== 'None') {
      if (this.#refused.version === version || this.#refused.fingerprint === fingerprintOf(value)) return true;
      this.#refused = 'None';
      this.#forget = true;
    }
    if (this.#forget) await forgetRefused(this.#store, this.target, signal);
    this.#forget = false;
    return false;
  }
}

const HEALTH_MS = 30_000;

/** A key is kept only as long as it is fresh; what was refused is remembered by its digest. */
const fingerprintOf = (key: string): string => createHash('sha256').update(key).digest('hex');
