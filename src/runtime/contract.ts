import type { DoctorLine, RuntimeProfileSpec } from '../crds/runtime-profile.ts';
import type { WorldRunSpec } from '../crds/world-run.ts';
import type { StoredArtifact } from '../crds/world-run-status.ts';
import type { Capability, OutcomeReason, RefusedReason, RuntimeName, SupportLevel } from '../crds/vocabulary.ts';
import type { SendOnce, VendorHttp } from './vendor-http.ts';

export type { SendOnce };

/**
 * What a runtime is: one way to have a run's work done, as seen by the controller.
 *
 * WorldFlux's own protocol is `doctor, build_env, run, teardown`. A controller cannot block in `run`, and it may die at
 * any point of it, so `run` is `create`, `observe` and `collect` here, each of which another process can go on with.
 *
 * Every step is called **at least once**: after a crash the controller calls the last one again. A step must therefore
 * succeed when what it does was done already. The one exception is `create` at a vendor without idempotency: see
 * {@link Runtime.create}.
 *
 * All methods that reach out throw {@link RuntimeError} and nothing else, end when `signal` aborts, and never put a
 * credential, a query string or a vendor's raw body into a message.
 */
export interface Runtime {
  readonly name: RuntimeName;
  readonly traits: RuntimeTraits;

  /**
   * One line a check; a line at level `error` blocks runs. Called about once a minute and after a change of the profile
   * or its Secret. Reaching the vendor must cost nothing there. One that does not answer (`retryable`, `throttled`,
   * `budget`) is thrown, not told in a line: the controller says whether that has lasted.
   */
  doctor(profile: ProfileRef, io: RuntimeIo): Promise<DoctorLine[]>;

  /**
   * What a run will create, or why it can never be. Pure: the same context gives the same plan. Shown by `dryRun`, and
   * compared after a crash through its `requestDigest`.
   */
  plan(context: RuntimeContext): Plan | PlanRefusal;

  /**
   * WorldFlux's `build_env`: makes what `create` needs and may be shared between runs (uploaded files, an image), keyed
   * by the plan's digest and reused. Costs nothing that is counted. Absent where there is nothing to prepare.
   */
  prepare?(plan: Plan, io: RuntimeIo): Promise<void>;

  /**
   * Starts the work, once. Where the vendor knows idempotency, the identity follows from clientRunId and attempt, so
   * that a second call finds the first one's work and adopts it.
   *
   * Where it does not (`traits.idempotentCreate` false), the controller has recorded an intent before the call and
   * calls it once for each intent. The runtime must send the request through `io.http` with `once: io.once`, whose
   * `maySend` is asked right before the request is written to the socket and which ends at `notAfter`. It must never
   * repeat the request by itself, nor let a client library do so. What it throws decides what happens next: every kind but
   * `unknownOutcome` says that **nothing was created**.
   */
  create(plan: Plan, io: RuntimeIo & { readonly once: SendOnce }): Promise<Handle>;

  /**
   * Where pieces of work stand, many in one call where the vendor can. No side effect. A handle that is missing from
   * the answer was not looked at this time; work that the vendor does not know is `gone`, which the controller believes
   * when it has stayed so for a minute.
   */
  observe(handles: readonly Handle[], io: RuntimeIo): Promise<ReadonlyMap<string, WorkState>>;

  /**
   * Copies what ended work has left into the run store: log, artifacts, metrics. At least once: `sink` keeps one object
   * for one content, however often it is given. Outputs that the vendor no longer has are reported, not thrown.
   */
  collect(handle: Handle, context: RuntimeContext, sink: ResultSink, io: RuntimeIo): Promise<RuntimeResult>;

  /**
   * Stops the work and removes what the vendor keeps of it beyond its record. At least once: a success when it has
   * ended or is gone. Accepted is not done: `observe` tells when it has ended.
   */
  teardown(handle: Handle, io: RuntimeIo): Promise<void>;

  /**
   * Everything that this installation has there, or may have: what carries its mark, and where the vendor keeps no mark,
   * what was created since `since`. Newest first. For resolving an unknown outcome and for the orphan sweep.
   */
  list(since: number, io: RuntimeIo): AsyncIterable<FoundWork>;

  /**
   * Takes the vendor's own notices for one profile; `io` is asked for when something is to be checked. A notice is a hint
   * that somebody should look sooner, never a fact. Absent where the vendor sends none.
   */
  notices?(io: () => RuntimeIo, onHint: (externalId: string) => void): NoticeReceiver;
}

export interface NoticeReceiver {
  /** Answers the HTTP status to give. Never throws. `headers`: lower-case names; `body`: the raw bytes. */
  receive(headers: Readonly<Record<string, string | string[] | undefined>>, body: Buffer): Promise<number>;
}

export interface RuntimeTraits {
  /** Cluster: objects of a Kubernetes API that the controller watches. Vendor: work behind an API that is polled. */
  readonly kind: 'Cluster' | 'Vendor';
  /** Costs money at somebody else's: needs a price, a cost limit and allowed namespaces. */
  readonly paid: boolean;
  /** What is promised where the profile says nothing (WorldFlux: registered is not production-backed). */
  readonly support: SupportLevel;
  /** A second `create` for the same attempt finds the first one's work. */
  readonly idempotentCreate: boolean;
  /** The vendor stores our mark with the work, so that `list` gives only what is this installation's. */
  readonly marksWork: boolean;
  /** Milliseconds until work that was created is certain to be in `list`. */
  readonly listLagMs: number;
  /** How often work is looked at; milliseconds. */
  readonly pollMs: number;
  readonly capabilities: readonly Capability[];
  /** Environment names of its credentials, as the vendor's own tools read them; the first that the Secret holds is used. */
  readonly credentials: readonly CredentialName[];
  /** Hosts to which its credentials may go where the profile names no endpoint. */
  readonly hosts: readonly string[];
}

/** One credential: its environment name and the other names that it goes by. */
export interface CredentialName {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly required: boolean;
}

export interface ProfileRef {
  readonly name: string;
  /** `sha256:<hex>` of the spec. */
  readonly digest: string;
  readonly spec: RuntimeProfileSpec;
}

/** One attempt of one run: WorldFlux's `RuntimeContext`. */
export interface RuntimeContext {
  readonly installationId: string;
  readonly clientRunId: string;
  readonly runId: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** From 1. */
  readonly attempt: number;
  readonly spec: WorldRunSpec;
  readonly profile: ProfileRef;
  /** Files that the request names, by their path in the source, with their content digest. */
  readonly files: ReadonlyMap<string, SourceFile>;
}

export interface SourceFile {
  /** Lower-case hex. */
  readonly sha256: string;
  readonly bytes: Buffer;
}

export interface Plan {
  readonly ok: true;
  readonly context: RuntimeContext;
  /** One line for each thing that will exist, for people. */
  readonly creates: readonly string[];
  /**
   * `sha256:<hex>` over everything that makes the request what it is. Plans with one digest are interchangeable at the
   * vendor: after an unknown outcome, work is matched to intents by it.
   */
  readonly requestDigest: string;
  /** The request itself, JSON in the runtime's own shape. May hold a user's prompt: never logged or stored. */
  readonly request: unknown;
  /** Vendor-side deadline in seconds after which the vendor itself ends the work. */
  readonly deadlineSeconds: number;
}

/** This run can never be done by this runtime; the message names the field and what would be right. */
export interface PlanRefusal {
  readonly ok: false;
  readonly reason: RefusedReason;
  readonly message: string;
}

/** A piece of work at the vendor. All of it stands in the run's status. */
export interface Handle {
  readonly externalId: string;
  readonly attempt: number;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  /** What was asked for, for events and metrics; absent where no run is known that asked. */
  readonly capability?: string;
}

/** Times are milliseconds since the epoch. */
export type WorkState =
  | { readonly at: 'queued'; readonly message: string }
  | { readonly at: 'running'; readonly startedAt: number; readonly percent?: number }
  | WorkEnd
  /** The vendor does not know it (any more). */
  | { readonly at: 'gone' };

export interface WorkEnd {
  readonly at: 'ended';
  readonly outcome: 'succeeded' | 'failed' | 'cancelled';
  readonly reason: OutcomeReason;
  /** For people; free of secrets. */
  readonly message: string;
  readonly exitCode?: number;
  readonly startedAt?: number;
  readonly finishedAt: number;
}

export interface FoundWork {
  readonly externalId: string;
  readonly createdAt: number;
  /** Undefined where the vendor no longer has the request. */
  readonly requestDigest: string | undefined;
  /**
   * Made with what this profile names, at a vendor that may give requests back otherwise than they were sent: that the
   * digest is another one than an intent's does not say that the work is not the intent's.
   */
  readonly doubtful?: boolean;
  /** It still runs, so it still costs. */
  readonly live: boolean;
  /** What its mark says, where the vendor keeps one. */
  readonly mark?: { readonly clientRunId: string; readonly attempt: number };
}

/** WorldFlux's `RuntimeResult`. */
export interface RuntimeResult {
  /** 0 for success, where the vendor has no exit codes 1 for failure. */
  readonly exitCode: number;
  readonly durationSeconds: number;
  /** Key in the run store; undefined where there was no log. */
  readonly logPath: string | undefined;
  readonly artifacts: readonly StoredArtifact[];
  /** Undefined: computed from the profile's price and the duration. */
  readonly costEstimateUSD: number | undefined;
  /** Finite numbers. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Free text leaves for `manifest.runtime`; no secrets, no signed URLs. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** Where a runtime puts what a run has left. Each call throws when the store cannot take it. */
export interface ResultSink {
  /** The whole log, redacted on its way; answers its key in the store. */
  log(text: AsyncIterable<Buffer>): Promise<string>;
  /** `path` is relative, as the artifact would lie in an output folder. Larger than the profile's limit: state Refused. */
  artifact(what: {
    name: string;
    path: string;
    contentType: string;
    body: AsyncIterable<Buffer>;
  }): Promise<StoredArtifact>;
}

/** What effects need: the profile, its credentials, the guarded way out, the time, and an end. */
export interface RuntimeIo {
  readonly profile: ProfileRef;
  /** By environment name, aliases resolved. Never logged. */
  readonly credentials: Readonly<Record<string, string>>;
  readonly http: VendorHttp;
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch. */
  now(): number;
}
