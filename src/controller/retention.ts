import type { RunStore } from '../results/contract.ts';
import type { Caches } from './caches.ts';
import type { Cluster } from './run/ports.ts';
import type { RunView } from './run/view.ts';

/** What is forgotten, and when: pinned profiles that no live run names, and stored results by their profile's rules. */
export interface RetentionOptions {
  store: RunStore;
  caches: Caches;
  cluster: Cluster;
  operatorNamespace: string;
  onError(what: string, error: unknown): void;
}

const SWEEP_MS = 10 * 60_000;
/** A run may be about to name a pin that was made a moment ago. */
const PIN_AGE_MS = 10 * 60_000;

export interface Retention {
  start(): void;
  stop(): void;
  onRunDeleted(run: RunView, clientRunId: string): void;
}

export function retain(options: RetentionOptions): Retention {
  const { caches, cluster, operatorNamespace, onError } = options;
  let timer: NodeJS.Timeout | undefined;

  const sweep = async (): Promise<void> => {
    const named = namedDigests(caches);
    for (const pin of [...caches.pins.list()]) {
      if (named.has(pin.digest) || Date.now() - pin.createdAt < PIN_AGE_MS) continue;
      await cluster.deletePin({ namespace: operatorNamespace, name: pin.name, uid: pin.uid });
    }
  };

  return {
    start() {
      timer = setInterval(() => {
        sweep().catch((error: unknown) => onError('pinned profiles could not be swept', error));
      }, SWEEP_MS);
      timer.unref();
    },
    stop() {
      clearInterval(timer);
    },
    onRunDeleted() {},
  };
}

function namedDigests(caches: Caches): Set<string> {
  const named = new Set<string>();
  for (const run of caches.runs.list()) if (run.state === 'live' && run.status.profile !== undefined) named.add(run.status.profile.digest);
  for (const job of caches.jobs.list()) if (job.end === undefined && job.profileDigest !== undefined) named.add(job.profileDigest);
  // A profile that still exists would be pinned again by its next run.
  for (const profile of caches.profiles.list()) named.add(profile.digest);
  return named;
}
