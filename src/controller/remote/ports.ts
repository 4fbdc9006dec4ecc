import type { ProfileRef, Runtime, RuntimeIo } from '../../runtime/contract.ts';

/** What vendor runs need of the rest of the operator. */

export interface VendorAccess {
  /** What is known of the profile's credentials now; never waits. `signal` of the io lives as long as this process leads. */
  of(profile: ProfileRef, runtime: Runtime): { ready: true; io: RuntimeIo } | { ready: false; message: string };
}

/** Work of this installation that no run names. */
export interface Orphan {
  profile: string;
  runtime: string;
  externalId: string;
  action: 'Reported' | 'Deleted';
}
