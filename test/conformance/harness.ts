import type { ProfileRef, Runtime, RuntimeContext, RuntimeIo } from '../../src/runtime/contract.ts';
import type { VirtualClock } from '../faults/run/virtual-clock.ts';
import type { Calls } from './calls.ts';

/** What the suite needs of a runtime's vendor. */
export interface Harness {
  readonly name: string;
  /** What can happen there. */
  readonly has: readonly Trait[];
  /** An account in which nothing was ever done, everything in it by `clock`, every request to it through `calls`. */
  open(clock: VirtualClock, calls: Calls, behaviour: Behaviour): Promise<Account>;
}

/**
 * Work may wait before it starts; the vendor may lose it; other people have work in the same place; the vendor may give
 * requests back otherwise than they were sent.
 */
export type Trait = 'queue' | 'loss' | 'strangers' | 'changes';

/** How the vendor treats each piece of work. */
export interface Behaviour {
  readonly queueSeconds: number;
  readonly runSeconds: number;
  readonly fails: boolean;
  /** The vendor shows new work in lists as late as the runtime says it may. */
  readonly listsLag: boolean;
  /** With `changes`: it completes what it is asked. */
  readonly changesRequests?: boolean;
}

export interface Account {
  readonly profile: ProfileRef;
  /** What a run asks for; runs of one account ask for the same thing. */
  readonly ask: Pick<RuntimeContext, 'spec' | 'files'>;
  /** What a process that has just started has: nothing that an earlier one kept in memory. */
  start(): Promise<Process>;
  /** Pieces of work that were ever created, and those that cost now. */
  counts(): Promise<{ created: number; live: number }>;
  /** With `loss`: the vendor forgets everything that it has. */
  loseEverything?(): void;
  /** With `strangers`: work that other people do there; answers the ids under which a list might show it. */
  strangers?(): Promise<string[]>;
  /** Values that no message may hold. */
  secrets(): readonly string[];
  close(): Promise<void>;
}

export interface Process {
  readonly runtime: Runtime;
  /** Reads the credentials anew. */
  io(): RuntimeIo;
}
