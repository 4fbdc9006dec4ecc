import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { ownRedactor } from '../../../src/controller/sync/redactor.ts';
import { uuid5 } from '../../../src/controller/identity.ts';
import {
  systemClock,
  type Clock,
  type KeyRead,
  type SyncCluster,
  type SyncProfile,
  type SyncRun,
} from '../../../src/controller/sync/ports.ts';
import { SyncQueue } from '../../../src/controller/sync/queue.ts';
import type { Concurrency } from '../../../src/controller/sync/schedule.ts';
import type { Condition } from '../../../src/crds/common.ts';
import { digestOf, type Manifest } from '../../../src/crds/manifest.ts';
import type { SyncStatus } from '../../../src/crds/world-run-status.ts';
import type { RunStore } from '../../../src/results/contract.ts';
import { artifactKey, logKey } from '../../../src/results/keys.ts';
import { putRecord } from '../../../src/results/records.ts';
import { FileStore } from '../../../src/results/store/files.ts';
import {
  startWorldFlux,
  TEST_KEY,
  TEST_PROJECT,
  type FakeOptions,
  type FakeWorldFlux,
} from '../../fakes/worldflux/server.ts';

/** A sync queue between a real file store and a real HTTP server, with an API server in memory; it can die and come back. */

const INSTALLATION = '6ba7b810-9dad-11d1-80b4-00c04fd430c8';

export interface RunOptions {
  name?: string;
  namespace?: string;
  /** Bytes of artifacts marked commit, by name. */
  artifacts?: Record<string, Buffer>;
  /** The same, not marked. */
  kept?: Record<string, Buffer>;
  log?: string;
  manifest?: Partial<Manifest>;
  finishedAt?: number;
  run?: Partial<SyncRun>;
}

export interface WorldOptions {
  fake?: FakeOptions;
  clock?: Clock;
  concurrency?: Concurrency;
  profile?: Partial<NonNullable<SyncProfile['sync']>>;
  network?: SyncProfile['network'];
}

/** What an operator that dies leaves undone: nothing of it may have an effect afterwards. */
export class Life {
  dead = false;
  /** Called before and after each thing that the operator does to the outside. */
  onStep: ((what: string, when: 'before' | 'after') => void) | undefined;

  async guard<T>(what: string, work: () => Promise<T>): Promise<T> {
    this.onStep?.(what, 'before');
    if (this.dead) return new Promise<never>(() => undefined);
    const result = await work();
    this.onStep?.(what, 'after');
    if (this.dead) return new Promise<never>(() => undefined);
    return result;
  }
}

export class SyncWorld {
  readonly fake: FakeWorldFlux;
  readonly store: RunStore;
  readonly clock: Clock;
  readonly runs = new Map<string, SyncRun>();
  readonly manifests = new Map<string, Manifest>();
  /** Secret values by `namespace/name`. */
  readonly secrets = new Map<string, KeyRead>();
  profile: SyncProfile;
  queue: SyncQueue;
  life = new Life();
  /** Everything that was written to the API server, in order. */
  readonly writes: { run: string; condition: Condition; sync: SyncStatus | undefined }[] = [];
  readonly problems: unknown[] = [];
  orphaned = 0;
  readonly #folder: string;
  #secretVersion = 0;
  readonly #concurrency: Concurrency;

  private constructor(fake: FakeWorldFlux, store: RunStore, folder: string, options: WorldOptions) {
    this.fake = fake;
    this.store = store;
    this.#folder = folder;
    this.clock = options.clock ?? systemClock;
    this.#concurrency = options.concurrency ?? { total: 8, perTarget: 4 };
    this.profile = {
      name: 'cpu',
      uid: 'profile-uid',
      generation: 1,
      network: options.network ?? { allowPlainHTTP: true, allowPrivateEndpoints: true },
      conditions: undefined,
      sync: {
        mode: 'OnCompletion',
        baseURL: fake.url,
        allowedProjects: [TEST_PROJECT],
        apiKeySecretRef: { name: 'worldflux', key: 'apiKey', from: 'RunNamespace' },
        unsuccessfulRuns: 'Include',
        ...options.profile,
      },
    };
    this.setKey(TEST_KEY);
    this.queue = this.#newQueue();
  }

  static async open(options: WorldOptions = {}): Promise<SyncWorld> {
    const folder = await mkdtemp(join(tmpdir(), 'sync-'));
    const store = await FileStore.open({ folder, installationId: INSTALLATION });
    return new SyncWorld(await startWorldFlux(options.fake), store, folder, options);
  }

  async close(): Promise<void> {
    this.life.dead = false;
    this.life.onStep = undefined;
    await this.queue.stop();
    await this.fake.close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Records a finished run in the store, as the run controller does, and in the API server. */
  async addRun(options: RunOptions = {}): Promise<SyncRun> {
    const name = options.name ?? `run-${this.runs.size}`;
    const namespace = options.namespace ?? 'team-a';
    const uid = uuid5(INSTALLATION, `${namespace}/${name}`);
    const clientRunId = uuid5(INSTALLATION, `${namespace}/uid/${uid}`);
    const attempt = { clientRunId, runUid: uid, attempt: 1 };
    const entries: Manifest['artifacts'] = [];
    for (const [list, commit] of [
      [options.artifacts ?? {}, true],
      [options.kept ?? {}, false],
    ] as const) {
      for (const [artifact, bytes] of Object.entries(list)) {
        const sha256 = createHash('sha256').update(bytes).digest('hex');
        await this.store.write(
          artifactKey(attempt, 0, sha256, artifact),
          Readable.from([bytes]),
          'application/octet-stream',
        );
        entries.push({
          name: artifact,
          path: artifact,
          rank: null,
          size_bytes: bytes.length,
          count: 1,
          sha256,
          tree_digest: null,
          content_type: 'application/octet-stream',
          commit,
          state: 'Stored',
        });
      }
    }
    const log =
      options.log === undefined
        ? undefined
        : {
            path: logKey(attempt, 0),
            bytes: Buffer.byteLength(options.log),
            complete: true,
            headLost: false,
            gaps: 0,
            redacted: 0,
          };
    if (log !== undefined) await this.store.put(log.path, Buffer.from(options.log ?? ''), 'text/plain');
    const manifest: Manifest = { ...baseManifest(clientRunId, name), artifacts: entries, ...options.manifest };
    await putRecord(this.store, {
      version: 1,
      clientRunId,
      namespace,
      name,
      uid,
      state: 'Finished',
      manifest,
      ...(log && { status: { result: { log } } }),
    });
    this.manifests.set(uid, manifest);
    const run: SyncRun = {
      namespace,
      name,
      uid,
      generation: 1,
      clientRunId,
      manifestDigest: digestOf(manifest),
      profile: 'cpu',
      succeeded: true,
      finishedAt: options.finishedAt ?? this.clock.now() + this.runs.size,
      mode: undefined,
      project: undefined,
      private: false,
      request: undefined,
      synced: undefined,
      status: undefined,
      ...options.run,
    };
    this.runs.set(uid, run);
    this.queue.setRun(run);
    return run;
  }

  /** A change of the WorldRun, as its watch would bring it. */
  changeRun(uid: string, change: Partial<SyncRun>): void {
    const run = { ...this.run(uid), ...change };
    this.runs.set(uid, run);
    this.queue.setRun(run);
  }

  changeProfile(change: Partial<SyncProfile>): void {
    this.profile = { ...this.profile, generation: this.profile.generation + 1, ...change };
    this.queue.setProfile(this.profile);
  }

  deleteRun(uid: string): void {
    this.runs.delete(uid);
    this.queue.deleteRun(uid);
  }

  setKey(value: string, namespace = 'team-a', expiresAt?: number): void {
    this.#secretVersion += 1;
    this.secrets.set(`${namespace}/worldflux`, { found: true, value, version: `${this.#secretVersion}`, expiresAt });
  }

  run(uid: string): SyncRun {
    const run = this.runs.get(uid);
    if (run === undefined) throw new Error(`no run ${uid}`);
    return run;
  }

  start(): void {
    this.queue.setProfile(this.profile);
    this.queue.start();
  }

  /** The operator dies where it stands: whatever it still does has no effect. */
  kill(): void {
    this.life.dead = true;
  }

  /** A new operator with nothing in memory reads what is there. */
  restart(): void {
    this.life = new Life();
    this.queue = this.#newQueue();
    this.queue.setProfile(this.profile);
    for (const run of this.runs.values()) this.queue.setRun(run);
    this.queue.start();
  }

  conditionOf(uid: string): Condition | undefined {
    return this.runs.get(uid)?.synced;
  }

  profileCondition(type: string): Condition | undefined {
    return this.profile.conditions?.find((c) => c.type === type);
  }

  #newQueue(): SyncQueue {
    const { life } = this;
    return new SyncQueue({
      store: mortal(this.store, life),
      cluster: mortalCluster(this, life),
      redactor: ownRedactor,
      clock: {
        now: () => this.clock.now(),
        after: (ms, call) => this.clock.after(ms, () => (life.dead ? undefined : call())),
      },
      observer: {
        attempt: () => undefined,
        uploaded: () => undefined,
        orphaned: (count) => (this.orphaned += count),
        problem: (what, error) => this.problems.push([what, error]),
      },
      events: { emit() {} },
      operatorNamespace: 'worldflux-system',
      concurrency: this.#concurrency,
      clusterRanges: [],
    });
  }
}

/** The store's promises pass through the life of the operator that made them. */
function mortal(store: RunStore, life: Life): RunStore {
  return new Proxy(store, {
    get(target, name: keyof RunStore) {
      const value = target[name];
      if (typeof value !== 'function') return value;
      if (name === 'list') return (...args: [string]) => target.list(...args);
      return (...args: unknown[]) =>
        life.guard(`store.${name}`, () => (value as (...a: unknown[]) => Promise<unknown>).apply(target, args));
    },
  });
}

function mortalCluster(world: SyncWorld, life: Life): SyncCluster {
  const cluster: SyncCluster = {
    readKey: async ({ namespace, name }) =>
      world.secrets.get(`${namespace}/${name}`) ?? { found: false, why: 'there is no such Secret' },
    readManifest: async ({ uid }) => world.manifests.get(uid),
    applyRun: async ({ uid }, { conditions: [condition], sync }) => {
      const run = world.runs.get(uid);
      if (run === undefined || condition === undefined) return;
      world.writes.push({ run: uid, condition, sync });
      const next = { ...run, synced: condition, status: sync ?? run.status };
      world.runs.set(uid, next);
      // The watch brings it back a little later.
      setImmediate(() => {
        if (!life.dead && world.runs.get(uid) === next) world.queue.setRun(next);
      });
    },
    applyProfile: async (_profile, conditions) => {
      world.profile = { ...world.profile, conditions };
      setImmediate(() => {
        if (!life.dead) world.queue.setProfile(world.profile);
      });
    },
  };
  return Object.fromEntries(
    Object.entries(cluster).map(([name, call]) => [
      name,
      (...args: unknown[]) =>
        life.guard(`cluster.${name}`, () => (call as (...a: unknown[]) => Promise<unknown>)(...args)),
    ]),
  ) as unknown as SyncCluster;
}

export function baseManifest(clientRunId: string, runId: string): Manifest {
  return {
    schema_version: 'worldflux-operator.run_manifest.v1',
    client_run_id: clientRunId,
    run_id: runId,
    status: 'succeeded',
    reason: 'Completed',
    task: 'rollout',
    adapter: null,
    runtime_name: 'local',
    runtime: { kind: 'Job', arch: 'amd64' },
    metrics: { loss: 0.25, steps: 1000 },
    metrics_omitted: 0,
    command: ['python', 'train.py'],
    image: null,
    source: null,
    datasets: [],
    profile: { name: 'cpu', digest: `sha256:${'1'.repeat(64)}` },
    operator_version: '0.1.0',
    nodes: 1,
    gpu: null,
    environment: [{ name: 'SEED', source: 'literal' }],
    input_digest: `sha256:${'2'.repeat(64)}`,
    result_digest: null,
    event_count: 0,
    attempts: [
      {
        number: 1,
        started_at: '2026-01-01T00:00:00Z',
        finished_at: '2026-01-01T00:01:00Z',
        exit_code: 0,
        reason: 'Completed',
      },
    ],
    attempt_count: 1,
    exit_code: 0,
    started_at: '2026-01-01T00:00:00Z',
    finished_at: '2026-01-01T00:01:00Z',
    duration_seconds: 60,
    cost_estimate_usd: null,
    log_path: null,
    artifacts: [],
  };
}

/** Waits for a condition; fails with `what` when it has not come in time. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not in time: ${what}`);
    await new Promise<void>((done) => setTimeout(done, 2));
  }
}
