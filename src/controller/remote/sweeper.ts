import type { FoundWork, ProfileRef, Runtime, RuntimeIo } from '../../runtime/contract.ts';
import type { Caches } from '../caches.ts';
import type { RunView } from '../run/view.ts';
import type { Orphan } from './ports.ts';
import { requestTimeoutMs } from './request-times.ts';
import { findOrphans, type Claim, type SweptIntent } from './sweep.ts';

/** How far back a vendor's list is read. */
const BACK_MS = 24 * 3_600_000;

export interface SweeperOptions {
  caches: Pick<Caches, 'runs'>;
  /** Throws while the profile's Secret is not usable. */
  reach(profile: ProfileRef): { runtime: Runtime; io: RuntimeIo };
  claimOf(externalId: string): Claim;
  report(profile: ProfileRef, externalId: string, action: Orphan['action']): void;
  onError(what: string, error: unknown): void;
  now(): number;
}

/** Looks for work of ours that no run follows, and ends it where the profile says so. Each piece is told of once. */
export class Sweeper {
  readonly #o: SweeperOptions;
  /** By profile: what the last sweep took for orphans, and those of them that were told of. */
  readonly #before = new Map<string, { seen: ReadonlySet<string>; told: ReadonlySet<string> }>();
  /** Of runs that are gone, until the vendor has ended whatever they bought. */
  #gone: SweptIntent[] = [];

  constructor(options: SweeperOptions) {
    this.#o = options;
  }

  /** The object of a run is gone. Where its finalizer was taken away by force, its work may still be there. */
  onGone(run: RunView): void {
    this.#gone.push(...intentsOf(run).map(({ intent }) => ({ intent, open: false })));
  }

  /** Call when the caches are complete: an empty one would make every piece of work an orphan. */
  async sweep(profile: ProfileRef, minAgeMs: number): Promise<void> {
    const { caches, reach, claimOf, report, onError, now } = this.#o;
    const { runtime, io } = reach(profile);
    const works: FoundWork[] = [];
    for await (const work of runtime.list(now() - BACK_MS, io)) works.push(work);
    this.#gone = this.#gone.filter(({ intent }) => Date.parse(intent.deadlineAt) > now());
    const before = this.#before.get(profile.name);
    const { orphans, seen } = findOrphans({
      now: now(),
      works,
      claimOf,
      intents: [...this.#gone, ...[...caches.runs.list()].flatMap(intentsOf)],
      requestTimeoutMs: requestTimeoutMs(profile),
      minAgeMs,
      seenBefore: before?.seen ?? new Set(),
    });
    const told = new Set([...(before?.told ?? [])].filter((id) => seen.has(id)));
    this.#before.set(profile.name, { seen, told });
    const deletes = profile.spec.orphans === 'Delete';
    for (const { externalId, createdAt } of orphans) {
      try {
        if (deletes) await runtime.teardown({ externalId, createdAt, attempt: 0 }, io);
      } catch (error) {
        onError(`${externalId}, which no run of profile ${profile.name} names, could not be ended`, error);
        continue;
      }
      if (!told.has(externalId)) report(profile, externalId, deletes ? 'Deleted' : 'Reported');
      told.add(externalId);
    }
  }
}

function intentsOf(run: RunView): SweptIntent[] {
  if (run.state === 'settled') return (run.work?.intents ?? []).map((intent) => ({ intent, open: false }));
  return (run.status.attempts ?? []).flatMap(({ intent, externalId }) =>
    intent === undefined ? [] : [{ intent, open: externalId === undefined }],
  );
}
