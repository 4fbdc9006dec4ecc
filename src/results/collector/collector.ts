import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { StoredArtifact } from '../../crds/world-run-status.ts';
import { pause } from '../../kube/pause.ts';
import { fingerprint, type FingerprintSet } from '../../telemetry/fingerprints.ts';
import { WHOLE_OUTPUT, type ProgressAnswer, type ResultPost } from '../protocol.ts';
import { formatTerminationMessage } from '../termination-message.ts';
import type { ArtifactSpec } from './artifact.ts';
import type { CollectorConfig } from './config.ts';
import { GatewayClient, RefusedError } from './http.ts';
import { readMetrics, withCleanNames, type Metrics } from './metrics.ts';
import { wordCleaner } from './words.ts';
import { OutputTree } from './output-tree.ts';
import { PROGRESS_FILE, readProgress } from './progress.ts';
import { CollectorState } from './state.ts';
import { storeArtifact, storeSeries, type StoringContext } from './storing.ts';

/** Path of everything below the output folder. */
const WHOLE = '.';

/** Said once a line, as JSON, to the container's own log. Never a value of the user's. */
export type Say = (message: string, about?: Record<string, string | number>) => void;

/** Milliseconds between two posts until the gateway says another number. */
const INTERVAL = 5_000;
const SECOND_POST = 1_000;
/** Seconds that a sidecar gets when the user's container has used up the pod's grace period. */
const LEAST_GRACE = 2;

/** Watches one pod's output folder, and brings what is in it to the gateway. */
export class Collector {
  readonly #config: CollectorConfig;
  readonly #rank: number;
  readonly #client: GatewayClient;
  readonly #tree: OutputTree;
  readonly #state: CollectorState;
  readonly #say: Say;
  /** Uploads end with it, so that the result can still be posted. */
  readonly #giveUp = new AbortController();
  /** Artifacts are stored one after the other: each is as fast as the disk and the network, and memory stays small. */
  #storing: Promise<unknown> = Promise.resolve();
  #preparing = new Set<string>();
  /** When the pod's deletion was noticed, on the monotonic clock. */
  #stoppingAt: number | undefined;
  #fingerprints: FingerprintSet | undefined;

  private constructor(config: CollectorConfig, rank: number, tree: OutputTree, state: CollectorState, say: Say) {
    this.#config = config;
    this.#rank = rank;
    this.#client = new GatewayClient(config);
    this.#tree = tree;
    this.#state = state;
    this.#say = say;
  }

  static async open(config: CollectorConfig, rank: number, say: Say): Promise<Collector> {
    const [tree, state] = await Promise.all([OutputTree.open(config.outputDir), CollectorState.open(config.stateDir)]);
    return new Collector(config, rank, tree, state, say);
  }

  /** Whether the result is posted; also by this container's predecessor. */
  get posted(): boolean {
    return this.#state.posted;
  }

  /** Reports progress, and stores what is final, until `userEnded` aborts or the operator wants the result now. */
  async watch(userEnded: AbortSignal): Promise<void> {
    this.#fingerprints = await this.#readSecrets();
    for (let posts = 0; !userEnded.aborted; posts++) {
      // Soon once more: a SIGTERM from before this process could hear it is made up for by the operator's word.
      let interval = posts === 0 ? SECOND_POST : INTERVAL;
      try {
        const answer = await this.#postProgress(userEnded);
        if (answer.collectNow) return;
        if (posts > 0) interval = answer.nextPostSeconds * 1000;
        if (answer.stopping && this.#stoppingAt === undefined) {
          this.#stoppingAt = performance.now();
          this.#say('the pod is being deleted: storing what is there');
        }
      } catch (error) {
        if (error instanceof RefusedError && error.code === 'over') return;
        if (!userEnded.aborted) this.#say('progress was not taken', { error: String(error) });
      }
      this.#prepare(await this.#finalArtifacts());
      await pause(spread(interval), userEnded);
    }
  }

  /** Stores everything and posts the result. Ends within the time that the pod has left, also when nobody answers. */
  async collect(): Promise<'posted' | 'over' | 'unreachable'> {
    const seconds = this.#secondsLeft();
    const margin = Math.min(10, Math.max(0.5, seconds * 0.1));
    const timer = setTimeout(() => this.#giveUp.abort(), (seconds - margin) * 1000);
    const end = AbortSignal.timeout(Math.floor((seconds - Math.min(0.3, margin / 2)) * 1000));
    try {
      const metrics = await this.#metrics();
      await this.#leaveMessage(metrics);
      // Posted only now where the operator never got them: they must be there before the log is read for the last time.
      const sent = this.#fingerprints === undefined ? undefined : this.#bringFingerprints().catch(() => undefined);
      await this.#storing;
      const series = await this.#series();
      const artifacts: StoredArtifact[] = [];
      for (const spec of this.#specs()) {
        const stored = await storeArtifact(this.#context(), spec);
        // Nobody asked for the whole output by name: a run that wrote only metrics misses nothing.
        if (stored.state !== 'Missing' || spec.path !== WHOLE) artifacts.push(stored);
      }
      await sent;
      const result: ResultPost = { ...metrics, ...(series === undefined ? {} : { series }), artifacts };
      await this.#client.postUntil('result', result, end);
      await this.#state.setPosted();
      return 'posted';
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      this.#say('the result was not taken', { code: error.code, error: error.message });
      return error.code === 'over' ? 'over' : 'unreachable';
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#giveUp.abort();
    this.#client.close();
  }

  #secondsLeft(): number {
    const { uploadSeconds } = this.#config;
    if (this.#stoppingAt === undefined) return uploadSeconds;
    return Math.max(LEAST_GRACE, uploadSeconds - (performance.now() - this.#stoppingAt) / 1000);
  }

  async #postProgress(signal: AbortSignal): Promise<ProgressAnswer> {
    const progress = await readProgress(this.#tree, this.#config.outputs.seriesFile);
    const answer = await this.#client.post<ProgressAnswer>('progress', progress, signal);
    if (answer.fingerprintsWanted && this.#fingerprints !== undefined) {
      await this.#client.post('fingerprints', this.#fingerprints, signal);
    }
    return answer;
  }

  /** Not given up at the first refusal: an operator that changes its leader answers again in a moment. */
  async #bringFingerprints(): Promise<void> {
    const { signal } = this.#giveUp;
    const answer = await this.#client.postUntil<ProgressAnswer>('progress', {}, signal);
    if (answer.fingerprintsWanted) await this.#client.postUntil('fingerprints', this.#fingerprints!, signal);
  }

  /** Artifacts that need not wait for the end: those with a marker, or all of them once the pod is being deleted. */
  async #finalArtifacts(): Promise<ArtifactSpec[]> {
    if (this.#stoppingAt !== undefined) return this.#specs();
    const marked = await readdir(join(this.#config.outputDir, '.final')).catch((): string[] => []);
    return this.#specs().filter(({ name }) => marked.includes(name));
  }

  #prepare(specs: ArtifactSpec[]): void {
    for (const spec of specs) {
      if (this.#preparing.has(spec.name) || this.#state.stored(spec.name) !== undefined) continue;
      this.#preparing.add(spec.name);
      this.#storing = this.#storing
        .then(() => storeArtifact(this.#context(), spec))
        .then(({ state, message }) =>
          this.#say('an artifact was stored early', { name: spec.name, state, detail: message ?? '' }),
        )
        .catch((error: unknown) =>
          this.#say('an artifact was not stored early', { name: spec.name, error: String(error) }),
        )
        .finally(() => this.#preparing.delete(spec.name));
    }
  }

  #specs(): ArtifactSpec[] {
    const { artifacts, ranks } = this.#config.outputs;
    if (this.#rank > 0 && ranks === 'Zero') return [];
    return artifacts.length > 0 ? artifacts : [{ name: WHOLE_OUTPUT, path: WHOLE, commit: false }];
  }

  /** Those of rank 0 are the run's. */
  async #metrics(): Promise<Metrics> {
    if (this.#rank > 0) return { metrics: {}, metricsOmitted: 0 };
    const metrics = await readMetrics(this.#tree, this.#config.outputs.metricsFile);
    return withCleanNames(metrics, wordCleaner(this.#fingerprints));
  }

  async #series(): Promise<ResultPost['series']> {
    if (this.#rank > 0) return undefined;
    const { seriesFile } = this.#config.outputs;
    return storeSeries(this.#context(), seriesFile, join(this.#config.stateDir, 'series.jsonl'));
  }

  #context(): StoringContext {
    const { metricsFile, seriesFile } = this.#config.outputs;
    return {
      client: this.#client,
      tree: this.#tree,
      state: this.#state,
      limits: {
        maxArtifactBytes: this.#config.limits.maxArtifactBytes,
        reserved: [metricsFile, seriesFile, PROGRESS_FILE],
      },
      uploadSeconds: this.#config.uploadSeconds,
      clean: wordCleaner(this.#fingerprints),
      signal: this.#giveUp.signal,
    };
  }

  /** Left before anything else is tried: it stays when the gateway is never reached, and also when we are killed. */
  async #leaveMessage(metrics: Metrics): Promise<void> {
    const path = this.#config.terminationLog ?? '/dev/termination-log';
    await writeFile(path, formatTerminationMessage(metrics)).catch((error: unknown) => {
      this.#say('no termination message could be left', { error: String(error) });
    });
  }

  async #readSecrets(): Promise<FingerprintSet | undefined> {
    const folder = this.#config.secretEnvDir;
    if (folder === undefined) return undefined;
    // The kubelet's own entries begin with two dots.
    const names = (await readdir(folder).catch(() => [])).filter((name) => !name.startsWith('..'));
    return fingerprint(await Promise.all(names.map((name) => readFile(join(folder, name)))));
  }
}

/** Between 80 and 120 percent: runs that start together do not post together. */
function spread(ms: number): number {
  return ms * (0.8 + Math.random() * 0.4);
}
