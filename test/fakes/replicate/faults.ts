import type { ReplicateState } from './state.ts';

/** Scripted misfortune: each entry is used up by the requests it names, in the order they were added. */

export const OPERATIONS = [
  'account',
  'create',
  'get',
  'list',
  'cancel',
  'model',
  'version',
  'deployment',
  'fileCreate',
  'fileList',
  'fileGet',
  'webhookSecret',
  'output',
] as const;
export type OperationName = (typeof OPERATIONS)[number];

export interface Fault {
  on: OperationName;
  /** Requests that it befalls; 1 when absent. */
  times?: number;
  /** Milliseconds until the request is looked at. */
  slowMs?: number;
  /** Answer this instead of doing anything; with `after`, instead of the answer of what was done. */
  answer?: { status: number; headers?: Record<string, string>; body?: unknown };
  /** With `answer`: the request is carried out all the same. */
  after?: boolean;
  /** Lose the connection: before the request is carried out, or after (the answer is lost). `middle`: half of an output. */
  cut?: 'before' | 'after' | 'middle';
  /** Never answer; the request is not carried out. */
  hang?: boolean;
  /** Something that happens just before; only within one process. */
  before?: (state: ReplicateState) => void;
}

export class FaultScript {
  readonly #faults: (Fault & { left: number })[] = [];

  add(...faults: Fault[]): void {
    this.#faults.push(...faults.map((fault) => ({ ...fault, left: fault.times ?? 1 })));
  }

  take(on: OperationName): Fault | undefined {
    const index = this.#faults.findIndex((fault) => fault.on === on);
    const fault = this.#faults[index];
    if (fault === undefined) return undefined;
    fault.left -= 1;
    if (fault.left === 0) this.#faults.splice(index, 1);
    return fault;
  }

  clear(): void {
    this.#faults.length = 0;
  }

  /** Faults that nothing ran into: a test that expected them did not do what it says. */
  get unused(): number {
    return this.#faults.length;
  }
}
