import type { Plan, PlanRefusal, RuntimeTraits, SourceFile, WorkState } from '../../runtime/contract.ts';
import type { RuntimeErrorKind } from '../../runtime/errors.ts';

/** What deciding sees of a run whose work is done by a vendor. */
export interface VendorWorld {
  traits: RuntimeTraits;
  /** For the present attempt; undefined while the files that it names have not been read. */
  plan: Plan | PlanRefusal | undefined;
  /** Where the attempt's work stood when it was last looked at; undefined before that. */
  work: WorkState | undefined;
  /** Whether the vendor can be talked to at all. */
  access: { ready: true } | { ready: false; message: string };
  /** Recent calls to the vendor have failed often. */
  degraded: string | undefined;
  /** Milliseconds from the request to the end of the work, where the profile's request policy bounds that. */
  pollBudgetMs: number | undefined;
  /** Milliseconds that one request to create work may take. */
  requestTimeoutMs: number;
}

/** What this process knows of a vendor run beyond its status. All of it may be lost. */
export interface VendorMemory {
  /** The attempt that all of this is about, but for the files. */
  attempt: number;
  /** Files of the request by path, or why they cannot be had; undefined before they were read. */
  files: ReadonlyMap<string, SourceFile> | { problem: string; at: number } | undefined;
  /** Digest of the plan that is prepared. */
  prepared: string | undefined;
  /** The intent that this process recorded itself, and what became of it. */
  intent: OwnIntent | undefined;
  /** The vendor's id, answered or found, until the status holds it. */
  submitted: string | undefined;
  /** The last look for work whose creation is in doubt. */
  resolution: Resolution | undefined;
  /** Sending failed with nothing created: not before `until`. Milliseconds since the epoch. */
  pause: { kind: RuntimeErrorKind; message: string; until: number; tries: number } | undefined;
  /** The work was asked to stop; milliseconds since the epoch. */
  tornDownAt: number | undefined;
  /** Copying the results: when it began, and the last failure. */
  collect: { since: number; underWay: boolean; tries: number; failedAt: number; problem: string } | undefined;
  /** Work that was given up; it was reported. */
  abandoned: boolean;
}

export interface OwnIntent {
  /** As the status has it: tells this intent from an earlier process's. */
  recordedAt: string;
  state: 'recorded' | 'sending' | 'nothingCreated' | 'unknown';
}

export type Resolution =
  | { is: 'nothing'; at: number }
  /** Nobody's work from that time, of which the vendor does not tell what was asked: a person may choose among it. */
  | { is: 'ambiguous'; at: number; message: string; candidates: readonly string[] }
  /** The vendor could not be asked. */
  | { is: 'unasked'; at: number; message: string; tries: number };

export function emptyVendorMemory(): VendorMemory {
  return {
    attempt: 0,
    files: undefined,
    prepared: undefined,
    intent: undefined,
    submitted: undefined,
    resolution: undefined,
    pause: undefined,
    tornDownAt: undefined,
    collect: undefined,
    abandoned: false,
  };
}

/**
 * What was known of an attempt that is over would mislead the next; the files stay. Asked at every look: the write that
 * ended the attempt may have failed for this process and have been done all the same.
 */
export function turnToAttempt(memory: VendorMemory, attempt: number): void {
  if (memory.attempt === attempt) return;
  Object.assign(memory, { ...emptyVendorMemory(), attempt, files: memory.files, prepared: memory.prepared });
}
