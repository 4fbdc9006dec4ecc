import type { Condition } from '../../crds/common.ts';
import type { SyncStatus } from '../../crds/world-run-status.ts';
import type { Clock, SyncCluster, SyncRun } from './ports.ts';
import type { Entry, Lane } from './schedule.ts';
import { Speaker } from './speaker.ts';
import { statusOf, type Saying } from './status.ts';

/** What a try has to add to its condition. */
export interface TryFacts {
  readonly lastError: string | undefined;
  /** Milliseconds since the epoch. */
  readonly nextAttemptAt: number | undefined;
  /** The request that this answers. */
  readonly request: string | undefined;
}

interface RunWord {
  run: SyncRun;
  status: { conditions: Condition[]; sync?: SyncStatus };
}

/** What runs are told of their sync: each word once, and none that stands already. */
export class Voice {
  readonly #clock: Clock;
  readonly #speaker: Speaker<RunWord>;
  #stopped = false;

  constructor(cluster: Pick<SyncCluster, 'applyRun'>, clock: Clock, onProblem: (error: unknown) => void) {
    this.#clock = clock;
    this.#speaker = new Speaker(({ run, status }) => cluster.applyRun(run, status), clock, onProblem);
  }

  /** How a try ended, or how far one has come. */
  ofTry(entry: Entry, saying: Saying, facts: TryFacts): void {
    const { run, attempts, record, project } = entry;
    this.#say(run, saying, statusOf(run, saying, { ...facts, attempts, record, project }, this.#clock.now()));
  }

  /** Why there is no try. */
  ofRun(run: SyncRun, saying: Saying): void {
    const status = statusOf(run, saying, undefined, this.#clock.now());
    // After a restart the same word stands already.
    if (run.synced?.reason === saying.reason && run.synced.message === status.conditions[0]?.message) return;
    this.#say(run, saying, status);
  }

  /** Of runs that have waited since `before` and were not told a thing: what they wait for. */
  ofWaiting(lane: Lane, before: number): void {
    for (const { run, attempts, pass, queuedAt } of lane.entries) {
      if (run.synced !== undefined || attempts > 0 || pass !== undefined || queuedAt > before) continue;
      const message =
        lane.trouble === undefined ? 'Other runs go before it.' : `Its target is in trouble: ${lane.trouble}`;
      this.ofRun(run, { status: 'False', reason: 'WaitingForTurn', message });
    }
  }

  forget(uid: string): void {
    this.#speaker.forget(uid);
  }

  stop(): void {
    this.#stopped = true;
    this.#speaker.stop();
  }

  async idle(): Promise<void> {
    await this.#speaker.idle();
  }

  #say(run: SyncRun, saying: Saying, status: RunWord['status']): void {
    if (!this.#stopped)
      this.#speaker.say(run.uid, JSON.stringify([saying, status.sync, run.generation]), { run, status });
  }
}
