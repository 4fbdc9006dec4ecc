import type { Situation } from './situation.ts';
import type { AttemptStatus } from '../../crds/world-run-status.ts';
import type { Clocks } from './clocks.ts';
import type { RuntimeProfileSpec } from '../../crds/runtime-profile.ts';
import type { OutcomeReason } from '../../crds/vocabulary.ts';
import type { ConcurrencyLimits } from '../admission/ledger.ts';

/** How a run ended. `stored` is the verdict on its results. */
export interface Ending {
  status: 'succeeded' | 'failed' | 'cancelled';
  reason: OutcomeReason;
  message: string;
  exitCode: number | undefined;
  /** The last attempt, closed; absent when the run ended before one. */
  attempt: AttemptStatus | undefined;
  clocks: Clocks;
  /** Image digest that the node resolved. */
  imageDigest: string | undefined;
  /** Commit that a git source stood for. */
  sourceCommit: string | undefined;
}

/** The next step of a run: one call to the outside each, after which everything is looked at again. */
export type Decision =
  /** `againMs`: look again then, though nothing may have changed. */
  | { do: 'nothing'; againMs?: number | undefined }
  | { do: 'reserve'; profile: string; limits: ConcurrencyLimits }
  | { do: 'release' }
  | { do: 'lookUpRecord' }
  | { do: 'adoptRecord' }
  | { do: 'pinProfile'; digest: string; spec: RuntimeProfileSpec }
  | { do: 'createService' }
  | { do: 'createJob'; number: number; profile: { name: string; digest: string; spec: RuntimeProfileSpec } }
  | { do: 'confirmJobGone'; name: string; uid: string }
  | { do: 'askWhyNoPods'; job: { uid: string; name: string } }
  | { do: 'requestCollect'; reason: string }
  | { do: 'loadResults'; attempt: number }
  | { do: 'finishLog'; attempt: number; rank: number }
  | { do: 'forceDeletePod'; pod: { namespace: string; name: string; uid: string }; message: string }
  | { do: 'deleteJob'; job: { namespace: string; name: string; uid: string } }
  | { do: 'writeStatus'; situation: Situation; againMs?: number | undefined }
  /** Ends the attempt, not the run: retry, suspension, eviction by a queue. */
  | { do: 'closeAttempt'; attempt: AttemptStatus; clocks: Clocks; situation: Situation }
  | { do: 'record'; ending: Ending }
  | { do: 'recordPlan'; profile: { name: string; digest: string; spec: RuntimeProfileSpec } }
  | { do: 'deleteRun' };
