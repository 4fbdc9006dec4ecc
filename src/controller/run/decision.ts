import type { Situation } from './situation.ts';
import type { AttemptStatus } from '../../crds/world-run-status.ts';
import type { PodView } from '../../runtime/local/pod-state.ts';
import type { Clocks } from './clocks.ts';
import type { RuntimeProfileSpec } from '../../crds/runtime-profile.ts';
import type { OutcomeReason } from '../../crds/vocabulary.ts';
import type { Limits } from '../admission/ledger.ts';
import type { MicroUSD } from '../money.ts';

/** How a run ended. `stored` is the verdict on its results. */
export interface Ending {
  status: 'succeeded' | 'failed' | 'cancelled';
  reason: OutcomeReason;
  message: string;
  exitCode: number | undefined;
  /** The last attempt, closed; absent when the run ended before one. */
  attempt: AttemptStatus | undefined;
  /** The attempt whose results stand for the run: the last one that may have any. */
  resultsOf: number;
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
  /** `ceiling`: the most that the run can cost in all; undefined without a price. */
  | { do: 'reserve'; profile: string; limits: Limits; ceiling: MicroUSD | undefined }
  | { do: 'release' }
  | { do: 'lookUpRecord' }
  | { do: 'adoptRecord' }
  | { do: 'pinProfile'; digest: string; spec: RuntimeProfileSpec }
  | { do: 'createService' }
  | { do: 'createJob'; number: number; profile: { name: string; digest: string; spec: RuntimeProfileSpec } }
  | { do: 'confirmJobGone'; name: string; uid: string }
  | { do: 'askWhyNoPods'; job: { uid: string; name: string } }
  | { do: 'askWhyPodWaits'; pod: { uid: string; name: string } }
  /** A live read: the Job has ended, and the pods that the cache knows do not say why. */
  | { do: 'readPods'; job: { uid: string } }
  /** A live read: its queue may have taken the place back. */
  | { do: 'readJob'; job: { uid: string; name: string } }
  | { do: 'requestCollect'; reason: string }
  | { do: 'loadResults'; attempt: number }
  | { do: 'finishLog'; attempt: number; pod: PodView }
  | { do: 'forceDeletePod'; pod: { namespace: string; name: string; uid: string } }
  /** Its attempt is over: what is left of its grace period is cut short. */
  | { do: 'hastenPod'; pod: { namespace: string; name: string; uid: string } }
  | { do: 'deleteJob'; job: { namespace: string; name: string; uid: string } }
  /** `attempt` is shown from now on; without it the listed ones stay. */
  | { do: 'writeStatus'; situation: Situation; attempt?: AttemptStatus | undefined; againMs?: number | undefined }
  /** Ends the attempt, not the run: retry, suspension, eviction by a queue. */
  | { do: 'closeAttempt'; attempt: AttemptStatus; clocks: Clocks; situation: Situation }
  | { do: 'record'; ending: Ending }
  | { do: 'recordPlan'; profile: { name: string; digest: string; spec: RuntimeProfileSpec } }
  | { do: 'deleteRun' }
  | VendorDecision;

type OpenAttempt = AttemptStatus & { intent: NonNullable<AttemptStatus['intent']> };

/** Steps of a run whose work a vendor does. */
export type VendorDecision =
  /** The files that the request names, from the run's namespace. */
  | { do: 'readFiles' }
  /** Before anything is bought: from now on the run is not forgotten before what it bought is stopped. */
  | { do: 'addFinalizer' }
  | { do: 'removeFinalizer' }
  | { do: 'prepareWork' }
  /** The status says what is about to be sent, and until when. */
  | { do: 'recordIntent'; attempt: OpenAttempt }
  /** The one request that buys. */
  | { do: 'submit'; attempt: OpenAttempt }
  /** Looks at the vendor for what an intent may have created. */
  | { do: 'resolve'; attempt: OpenAttempt }
  /** A person said which work is the attempt's. */
  | { do: 'believe'; attempt: OpenAttempt; externalId: string }
  | { do: 'stopWork'; externalId: string }
  /** Copies the results in the background; its end brings the run back. */
  | { do: 'collect'; externalId: string }
  /** Given up: reported as an orphan. */
  | { do: 'abandonWork'; externalId: string | undefined; requestDigest: string };
