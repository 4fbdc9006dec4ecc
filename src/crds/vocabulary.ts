/**
 * Every condition type and reason that this operator writes, each with a line that the reference page prints.
 *
 * Conditions are the truth; `phase` is derived from them for people. A reason is never reused for something else:
 * alerts, retry rules and dashboards of other teams stand on these words.
 */

export const CONDITION_TYPES = {
  Ready: 'The object has reached what its spec asks for (kstatus, Argo CD and Flux read this).',
  Reconciling: 'The operator is still working towards the spec.',
  Stalled: 'It will not get there without a person.',
  Admitted: 'The run passed every rule of its profile and holds a reservation.',
  Finished:
    'The run has ended, however it ended. Of a run that is refused it stays False: it has not begun, and its profile may yet let it.',
  Succeeded: 'How the run ended: True, or False with the reason. Never changes once it is set.',
  ResultsStored: 'Metrics, log and artifacts are in the run store.',
  Synced: 'The run and every artifact marked `commit` are at WorldFlux. Never changes how the run ended.',
  Configured: 'Profile: the spec is consistent and everything it references is there.',
  Healthy: 'Profile: the doctor found no error.',
  Degraded: 'Profile: calls to its vendor have failed often of late. New runs wait; it clears by itself.',
  ContractVerified:
    'Profile: the sync target describes the API that this operator speaks. Unknown where it serves no description.',
  SyncKeyValid: 'Profile: every sync key in use is accepted and not about to expire.',
} as const;
export type ConditionType = keyof typeof CONDITION_TYPES;

/** Written by the sync queue under its own field manager; every other writer leaves them alone. */
export const SYNC_CONDITIONS: readonly string[] = [
  'Synced',
  'ContractVerified',
  'SyncKeyValid',
] satisfies ConditionType[];

/** Reasons of `Admitted=False` and of the time before a run's container starts. */
export const WAITING_REASONS = {
  Pending: 'Nothing has looked at the run yet.',
  ProfileNotFound: 'The named RuntimeProfile does not exist, or there is no default profile.',
  ProfileNotReady: 'The profile has a doctor line at level error; its status says which.',
  ConcurrencyLimit: 'The profile allows no further run at the same time; the run waits for its turn.',
  Queued: 'The Job waits for its queue (Kueue) to admit it.',
  Unschedulable: 'No node can take the pod now; the scheduler’s words are in the message.',
  SecretMissing: 'A Secret or ConfigMap (or a key in it) that the run needs is not in its namespace.',
  ImagePullBackOff: 'The image cannot be pulled; the runtime’s words are in the message.',
  PodPreparing: 'The pod has a node: images are pulled, volumes mounted, the source fetched.',
  JobNameTaken: 'A Job that this run did not make has the name that the run’s Job needs.',
  JobRefused: 'The API server refused the Job (quota, policy or pod security); its words are in the message.',
  WaitingForRetry: 'The last attempt failed for a reason that the run retries; the next one starts after a pause.',
  Suspended: 'spec.suspend is true.',
  RunKeyInUse: 'Another run with the same runKey is at work; when it has finished, its record is adopted.',
  StoreQuotaExceeded: 'The namespace has no room left in the run store.',
  AwaitingApproval: 'The profile, or the run itself, asks for an approval; the message says how it is given.',
  ProfileDegraded: 'Calls to the profile’s vendor have failed often of late; runs that are under way go on.',
  DailyCostLimit:
    'What the namespace has spent and reserved today leaves no room for this run; it waits for tomorrow (UTC).',
  CredentialsMissing: 'The Secret with the vendor’s credentials is missing, not labelled for it, or not accepted.',
  Submitting: 'The intent is recorded; the request is being sent to the vendor.',
  VendorQueued: 'The vendor has accepted the work and has not started it.',
  VendorThrottled: 'The vendor asked to wait; the run is sent again then.',
  VendorUnavailable: 'The vendor does not answer; nothing was created there.',
  ResolvingSubmit:
    'It is not known whether the vendor received the request: it is looked for there before anything else is created.',
  SubmitOutcomeUnknown:
    'Looking did not tell whether the vendor has the work. The run waits for a person (annotation worldflux.ai/submit-outcome) or for the vendor-side deadline, as the profile says.',
} as const;
export type WaitingReason = keyof typeof WAITING_REASONS;

/** Reasons for which a run is refused for good: only a new run can be right. */
export const REFUSED_REASONS = {
  NamespaceNotAllowed: 'The profile does not serve this namespace.',
  OverrideNotAllowed: 'The run sets a field beyond what the profile allows it to set.',
  EnvNotAllowed: 'The run forwards a provider variable that the profile’s allowlist does not hold.',
  ImageMissing: 'Neither the run nor its profile names an image.',
  VRAMFloorNotMet: 'The adapter needs more GPU memory than the profile has.',
  AdapterUnknown: 'The profile lists adapters and the run’s is not among them.',
  PriceMissing: 'The profile limits cost, or costs money, and has no price to compute it with.',
  CostLimitExceeded: 'The most that the run could cost is above the profile’s limit.',
  RunSecondsExceeded: 'The run asks for more time than the profile allows.',
  FieldNotSupported: 'The run sets a field that its runtime cannot honour, or lacks one that it needs.',
  CapabilityNotSupported: 'The runtime cannot do what spec.request.capability asks for.',
  ExperimentalNotAcknowledged: 'The profile is Experimental and the run does not set acknowledgeExperimental.',
  ProductionDisabled:
    'The runtime is registered, not production-backed: neither the adapter’s support metadata nor the profile’s supportLevel says otherwise.',
  ScaffoldOnly: 'The provider is known by name only; nothing stands behind it.',
  CostLimitMissing:
    'The profile costs money and lacks one of limits.maxCostUSDPerRun, limits.maxRunSeconds, limits.maxConcurrentRuns.',
} as const;
export type RefusedReason = keyof typeof REFUSED_REASONS;

/** Reasons of a finished run. */
export const OUTCOME_REASONS = {
  Completed: 'The command exited with 0.',
  AlreadyRecorded: 'A finished run with the same runKey is in the store; its record was adopted, nothing was executed.',
  DryRun: 'spec.dryRun: the plan is in status.plan and nothing was created.',
  Cancelled: 'spec.cancel was set.',
  NonZeroExit: 'The command exited with another code than 0.',
  OOMKilled: 'The container used more memory than its limit.',
  CommandNotFound: 'The image does not have the command, or it is not executable.',
  StartFailed: 'The container could not be started; the runtime’s words are in the message.',
  InvalidImageName: 'The image reference is not well-formed.',
  ImagePullFailed: 'The image could not be pulled within the startup time.',
  SourceFailed: 'The source could not be fetched.',
  Preempted: 'A pod of higher priority took the place.',
  Evicted: 'The node evicted the pod (pressure, drain, or the API).',
  OutputTooLarge: 'The run wrote more than the output size limit.',
  NodeLost: 'The node stopped answering.',
  CapacityUnavailable: 'No capacity was found within the queue time.',
  QueueDeadlineExceeded: 'The run waited longer than timeouts.queueSeconds.',
  StartupDeadlineExceeded: 'The container was not running within timeouts.startupSeconds.',
  RunDeadlineExceeded: 'The run took longer than timeouts.runSeconds.',
  ChildDeleted: 'The run’s Job or pod was deleted by somebody else. It is never created again.',
  PodFailed: 'The pod failed without saying why; the message has what is known.',
  VendorFailed: 'The vendor reports that the work failed; its words are in the message.',
  VendorRejected: 'The vendor refused the request itself; another run may be right.',
  VendorDeadline: 'The vendor ended the work at the deadline that was set with it.',
  VendorCancelled: 'The work was cancelled at the vendor by somebody else.',
  CredentialsRefused: 'The vendor refused the profile’s credentials while the run was under way.',
  WorkLost: 'The vendor no longer knows the work. It is never sent again by itself.',
  BudgetExceeded: 'The elapsed budget of the request policy (maxElapsedSeconds) is used up.',
  CostLimitReached:
    'Another attempt could cost more than limits.maxCostUSDPerRun leaves: what suspended attempts bought counts too.',
  SubmitUnresolved: 'It could not be told whether the vendor has the work, and the vendor-side deadline has passed.',
} as const;
export type OutcomeReason = keyof typeof OUTCOME_REASONS;

/** Reasons of `ResultsStored`. */
export const RESULT_REASONS = {
  Stored: 'Everything that the run was to keep is stored.',
  Collecting: 'Results are on their way.',
  CollectionDisabled: 'The profile says collect: Disabled.',
  CollectionCutShort: 'The pod ended before its results were uploaded (evicted, force-deleted, node lost).',
  GatewayUnreachable: 'The collector could not reach the gateway; metrics came through the termination message.',
  PartlyStored: 'Some artifacts were refused or missing; status.artifacts says which.',
  StoreUnavailable: 'The run store could not be written; the manifest in the status is all there is.',
  NothingProduced: 'The run ended before its container started.',
} as const;
export type ResultReason = keyof typeof RESULT_REASONS;

/** Reasons of `Synced`. */
export const SYNC_REASONS = {
  Synced: 'The run and every artifact marked `commit` are there.',
  SyncDisabled: 'The run asks to be synced, but its profile has sync.mode Disabled.',
  AwaitingRequest: 'The mode is Manual: the annotation worldflux.ai/sync, or kubectl worldflux sync, asks for it.',
  Syncing: 'The run is being sent; status.sync.artifacts says how far it is.',
  WaitingForTurn: 'Other runs go before it, or its target does not answer now; the message says which.',
  TargetUnavailable: 'The target did not answer, or failed. Tried again without end.',
  TargetThrottled: 'The target asked to wait; it is not asked again before.',
  KeyMissing: 'The Secret with the key cannot be read; the message says what would be right.',
  KeyRefused: 'The target refused the key. Nothing is sent until the Secret holds another one.',
  ProjectNotAllowed: 'The profile does not allow the project that the run names, or the run has to name one.',
  ProjectNotFound: 'The key’s workspace has no such project.',
  SyncQuotaExceeded: 'The target says that a quota is used up. Asked again every hour.',
  ContractMismatch: 'The target’s API is not the one that this operator knows; the message says where.',
  PayloadTooLarge: 'The target takes no record of this size, not even without the log.',
  SyncConflict:
    'The target holds another record under the same client_run_id. Nothing is overwritten; a person has to look.',
  LedgerConflict: 'Other clients moved the target’s ledger head twice in a row. Tried again.',
  UploadFailed: 'The run is there; artifacts are not yet. status.sync.artifacts says which.',
  ArtifactsSkipped:
    'The run is there; some artifacts cannot be, and status.sync.artifacts says why. Asked for again by the annotation worldflux.ai/sync.',
  RecordUnreadable: 'The run’s record or an artifact could not be read from the run store.',
  URLRefused: 'The target, or where it sends uploads, is an address that the profile’s network rules forbid.',
} as const;
export type SyncReason = keyof typeof SYNC_REASONS;

/** Reasons of `ContractVerified` and `SyncKeyValid` on a profile. */
export const SYNC_PROFILE_REASONS = {
  ContractMatches: 'Every route and field was found in the target’s /openapi.json.',
  ContractDiffers: 'The target’s /openapi.json lacks something, or asks for something unknown; the message says what.',
  ContractNotServed: 'The target serves no /openapi.json; the documented routes and inferred fields are used.',
  ContractUnread: 'The target did not answer when /openapi.json was asked for.',
  KeysAccepted: 'No key was refused and none is about to expire.',
  KeyExpiring: 'The annotation worldflux.ai/expires-at on a key’s Secret is less than a week away.',
  KeyExpired: 'The annotation worldflux.ai/expires-at on a key’s Secret has passed.',
  KeyNotAccepted: 'The target refused a key, or its Secret cannot be read.',
} as const;
export type SyncProfileReason = keyof typeof SYNC_PROFILE_REASONS;

/** Reasons of running and of a finished or ready object’s generic conditions. */
export const PROGRESS_REASONS = {
  Running: 'The container runs.',
  Collecting: 'The container has ended; results are being uploaded.',
  Stopping: 'The run is being stopped; its results so far are collected first.',
  Admitted: 'A reservation is held.',
} as const;
export type ProgressReason = keyof typeof PROGRESS_REASONS;

/** Reasons on a RuntimeProfile. */
export const PROFILE_REASONS = {
  DoctorPassed: 'Every check passed.',
  DoctorFailed: 'A check at level error blocks runs; status.doctor says which and what would be right.',
  CallsSucceed: 'Recent calls to the vendor succeed.',
  CallsFail: 'Too many of the recent calls to the vendor failed, were repeated, or ran out of budget.',
} as const;
export type ProfileReason = keyof typeof PROFILE_REASONS;

export type RunReason = WaitingReason | RefusedReason | OutcomeReason | ResultReason | ProgressReason;

/** Where runs go when they have ended, from most to least. A run may only go down from its profile. */
export const SYNC_MODES = ['OnCompletion', 'Manual', 'Disabled'] as const;
export type SyncMode = (typeof SYNC_MODES)[number];

/** Outcome reasons that `spec.retry.onReasons` may name. A refusal or a user’s own cancel is never retried. */
export const RETRYABLE_REASONS = [
  'Preempted',
  'Evicted',
  'NodeLost',
  'CapacityUnavailable',
  'OOMKilled',
  'NonZeroExit',
  'StartFailed',
  'ImagePullFailed',
  'SourceFailed',
  'StartupDeadlineExceeded',
  'VendorFailed',
  'VendorCancelled',
  'WorkLost',
] as const satisfies readonly OutcomeReason[];
export type RetryableReason = (typeof RETRYABLE_REASONS)[number];

/** Plugins that may do the work, by the name that a profile gives. */
export const RUNTIME_NAMES = ['local', 'replicate', 'mock', 'genie'] as const;
export type RuntimeName = (typeof RUNTIME_NAMES)[number];

/** WorldForge's capability names; metrics are labelled by them. */
export const CAPABILITIES = ['predict', 'generate', 'reason', 'embed', 'plan', 'transfer', 'score', 'policy'] as const;
export type Capability = (typeof CAPABILITIES)[number];

/**
 * What is promised of a runtime, from most to least. Experimental: each run must acknowledge it. ProductionDisabled:
 * registered, and refused until an adapter's support metadata or the profile says otherwise.
 */
export const SUPPORT_LEVELS = ['Production', 'Experimental', 'ProductionDisabled'] as const;
export type SupportLevel = (typeof SUPPORT_LEVELS)[number];

/** Derived from the conditions, for people and printer columns. */
export const PHASES = [
  'Pending',
  'Admitted',
  'Running',
  'Collecting',
  'Suspended',
  'Refused',
  'Succeeded',
  'Failed',
  'Cancelled',
] as const;
export type Phase = (typeof PHASES)[number];
