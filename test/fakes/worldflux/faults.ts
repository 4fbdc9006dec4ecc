import type { WorldFluxState } from './state.ts';

/** Scripted misfortune: each entry is used up by the requests it names, in the order they were added. */

export const ROUTES = [
  'openapi',
  'health',
  'projects',
  'ledgerRead',
  'runs',
  'initiate',
  'upload',
  'commit',
  'abort',
  'ledgerWrite',
  'readRun',
  'findRun',
  'readManifest',
  'readArtifact',
] as const;
export type RouteName = (typeof ROUTES)[number];

export interface Fault {
  on: RouteName;
  /** Requests that it befalls; 1 when absent. */
  times?: number;
  /** Something that happens just before, such as another client moving the ledger. */
  before?: (state: WorldFluxState) => void;
  /** Milliseconds until the request is looked at. */
  slowMs?: number;
  /** Answer this instead of doing anything. */
  answer?: { status: number; headers?: Record<string, string>; body?: unknown };
  /** Lose the connection: before the request is carried out, or after (the answer is lost). */
  cut?: 'before' | 'after';
  /** Never answer. */
  hang?: boolean;
}

export class FaultScript {
  readonly #faults: (Fault & { left: number })[] = [];
  /** Asked at every request, before the script. */
  intercept: ((on: RouteName) => Omit<Fault, 'on'> | undefined) | undefined;

  add(...faults: Fault[]): void {
    this.#faults.push(...faults.map((fault) => ({ ...fault, left: fault.times ?? 1 })));
  }

  take(on: RouteName): Omit<Fault, 'on'> | undefined {
    const intercepted = this.intercept?.(on);
    if (intercepted !== undefined) return intercepted;
    const index = this.#faults.findIndex((fault) => fault.on === on);
    const fault = this.#faults[index];
    if (fault === undefined) return undefined;
    fault.left -= 1;
    if (fault.left === 0) this.#faults.splice(index, 1);
    return fault;
  }

  /** Faults that nothing ran into: a test that expected them did not do what it says. */
  get unused(): number {
    return this.#faults.length;
  }
}
