import { planRemoval, removeDue, tombstone } from '../results/removals.ts';
import type { RunStore } from '../results/contract.ts';
import type { Usage } from '../results/usage.ts';
import { clientRunId } from './identity.ts';
import type { Caches } from './caches.ts';
import type { Cluster } from './run/ports.ts';
import type { RunView, SettledRun } from './run/view.ts';

/** What is forgotten, and when: pinned profiles that no live run names, and stored results by their profile's rules. */
export interface RetentionOptions {
  store: RunStore;
  caches: Caches;
  cluster: Cluster;
  installation: string;
  operatorNamespace: string;
  waitsForSync(run: SettledRun): boolean;
  /** What is stored of a deleted run is still needed upstream. */
  heldForSync(clientRunId: string): boolean;
  usage: Usage;
  onError(what: string, error: unknown): void;
}

const SWEEP_MS = 10 * 60_000;
/** A run may be about to name a pin that was made a moment ago. */
const PIN_AGE_MS = 10 * 60_000;
/** Uploads that nobody finished: longer than any upload may take. */
const UPLOAD_AGE_MS = 48 * 3600_000;
const CALL_MS = 120_000;

export class Retention {
  readonly #o: RetentionOptions;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: RetentionOptions) {
    this.#o = options;
  }

  /** Call when this process leads. */
  start(): void {
    const sweep = () => {
      this.sweep(Date.now()).catch((error: unknown) => this.#o.onError('what is over could not be swept', error));
    };
    this.#timer = setInterval(sweep, SWEEP_MS);
    this.#timer.unref();
    sweep();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Plans when the results of a finished run go, where its profile says so. */
  async onRecorded(record: { clientRunId: string; removeAt?: string }): Promise<void> {
    if (record.removeAt !== undefined)
      await planRemoval(this.#o.store, record.clientRunId, Date.parse(record.removeAt), AbortSignal.timeout(CALL_MS));
  }

  /** A WorldRun is gone from the API. With policy Retain its results stay. */
  onRunDeleted(run: RunView, id: string): void {
    const retention = this.#retentionOf(run);
    if (retention?.policy !== 'Delete') return;
    const at = Date.now() + retention.afterDeleteSeconds * 1000;
    tombstone(this.#o.store, id, run.uid, at, AbortSignal.timeout(CALL_MS)).catch((error: unknown) =>
      this.#o.onError('the results of a deleted run could not be marked for removal', error),
    );
  }

  /** Removes what is due at `now` (milliseconds since the epoch). Throws StoreErrors and KubeErrors. */
  async sweep(now: number): Promise<void> {
    const { store, caches, cluster, operatorNamespace, usage } = this.#o;
    const signal = AbortSignal.timeout(SWEEP_MS);
    const named = namedDigests(caches);
    for (const pin of caches.pins.list()) {
      if (named.has(pin.digest) || now - pin.createdAt < PIN_AGE_MS) continue;
      await cluster.deletePin({ namespace: operatorNamespace, name: pin.name, uid: pin.uid });
    }
    const waiting = this.#waiting();
    for (const run of await removeDue(store, now, (id) => waiting.has(id) || this.#o.heldForSync(id), signal))
      await usage.removed(run.namespace, run.clientRunId, signal);
    await store.sweep(UPLOAD_AGE_MS, signal);
  }

  /** Ids of runs whose results may not go: they run, or are still to be sent. */
  #waiting(): Set<string> {
    const ids = new Set<string>();
    for (const run of this.#o.caches.runs.list()) {
      if (run.state === 'settled' && !this.#o.waitsForSync(run)) continue;
      const runKey = run.state === 'live' ? run.spec.runKey : run.runKey;
      ids.add(clientRunId(this.#o.installation, { namespace: run.namespace, uid: run.uid, runKey }));
    }
    return ids;
  }

  /** As the run's profile was when it started; else as it is. */
  #retentionOf(run: RunView) {
    const { caches } = this.#o;
    const digest = run.state === 'live' ? run.status.profile?.digest : run.profileDigest;
    const pinned = digest === undefined ? undefined : caches.pins.byIndex('digest', digest)[0]?.spec;
    if (pinned !== undefined) return pinned.retention;
    for (const profile of caches.profiles.list()) if (profile.digest === digest) return profile.spec.retention;
    return undefined;
  }
}

function namedDigests(caches: Caches): Set<string> {
  const named = new Set<string>();
  // Finished runs too: how long their results stay is their profile's word.
  for (const run of caches.runs.list()) {
    const digest = run.state === 'live' ? run.status.profile?.digest : run.profileDigest;
    if (digest !== undefined) named.add(digest);
  }
  for (const job of caches.jobs.list())
    if (job.end === undefined && job.profileDigest !== undefined) named.add(job.profileDigest);
  // A profile that still exists would be pinned again by its next run.
  for (const profile of caches.profiles.list()) named.add(profile.digest);
  return named;
}
