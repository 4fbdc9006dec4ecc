import type { DoctorLine } from '../../crds/runtime-profile.ts';
import type { FoundWork, Handle, PlanRefusal, RuntimeResult, Runtime, RuntimeTraits, WorkState } from '../contract.ts';
import { RuntimeError } from '../errors.ts';

const WHY = 'genie is known by name only: its provider publishes no API that could be called';

/** A name without anything behind it, as at its source: profiles are accepted, every run is refused. */
export class GenieRuntime implements Runtime {
  readonly name = 'genie';
  readonly traits: RuntimeTraits = {
    kind: 'Vendor',
    paid: false,
    // Nothing is promised because nothing is done: a lesser level would refuse runs in words that a person could act
    // on (acknowledge it, vouch for it), and neither would help.
    support: 'Production',
    idempotentCreate: true,
    marksWork: true,
    listLagMs: 0,
    pollMs: 60_000,
    capabilities: [],
    credentials: [],
    hosts: [],
  };

  /** Not an error: runs would wait for the profile to be mended, instead of being told that it cannot be. */
  async doctor(): Promise<DoctorLine[]> {
    return [{ check: 'scaffold', level: 'info', message: `Every run is refused with ScaffoldOnly: ${WHY}.` }];
  }

  plan(): PlanRefusal {
    return { ok: false, reason: 'ScaffoldOnly', message: `${WHY}; use a profile of another runtime` };
  }

  async create(): Promise<Handle> {
    throw new RuntimeError({ kind: 'terminal' }, WHY);
  }

  async observe(handles: readonly Handle[]): Promise<ReadonlyMap<string, WorkState>> {
    return new Map(handles.map(({ externalId }) => [externalId, { at: 'gone' }]));
  }

  async collect(): Promise<RuntimeResult> {
    throw new RuntimeError({ kind: 'terminal' }, WHY);
  }

  async teardown(): Promise<void> {}

  async *list(): AsyncIterable<FoundWork> {}
}
