import { digestOf } from '../../crds/manifest.ts';
import type { ProjectRef, Upstream } from '../../upstream/client.ts';
import { ARTIFACT_ROLES, hasArtifacts, hasLedger, problemsOf, ROLES } from '../../upstream/contract.ts';
import { UpstreamError } from '../../upstream/errors.ts';
import { SLOW_RETRY_MS } from '../../upstream/retry.ts';
import { giveUp, sendArtifact, type ArtifactChannel } from './artifacts.ts';
import { failureOf, SyncFailure } from './failure.ts';
import type { SyncTarget } from './plan.ts';
import type { Clock, SyncObserver, SyncRun } from './ports.ts';
import {
  artifactsOf,
  logArtifact,
  logLines,
  openArtifact,
  openLog,
  prepare,
  type Prepared,
  type Sources,
} from './prepare.ts';
import { isOpen, loadRecord, markOpen, saveRecord, unmarkOpen, type SyncArtifact, type SyncRecord } from './record.ts';
import type { TargetSession } from './target-session.ts';

/** One try to bring one run upstream, from wherever the last one got to. */
export interface PassInput {
  readonly run: SyncRun;
  readonly target: SyncTarget;
  readonly project: string;
  readonly session: TargetSession;
  readonly sources: Sources;
  readonly clock: Clock;
  readonly observer: SyncObserver;
  /** A person asked: what is there already is posted again, which upstream answers with what it has. */
  readonly again: boolean;
  readonly signal: AbortSignal;
  /** The record as it stands after each step. */
  onRecord(record: SyncRecord): void;
}

/** A log larger than this goes by the artifact channel. Bytes. */
const MAX_INLINE_LOG = 256 * 1024;

export const PRIVATE_WORDS = 'the run is private';

/** Throws a SyncFailure with everything that the queue has to know. */
export async function syncOnce(input: PassInput): Promise<SyncRecord> {
  const { session, signal } = input;
  // Until here every run of the target asks the same, so a failure is the target's.
  const { upstream, project } = await asFailure(true, async () => {
    const opened = await session.open(signal);
    return { upstream: opened, project: await session.greet(opened, input.project, signal) };
  });
  const prepared = await prepare(input.sources, input.run, signal);
  const pass = new Pass(input, upstream, project, prepared, await recordFor(input, prepared));
  return pass.run();
}

async function asFailure<T>(shared: boolean | ((error: UpstreamError) => boolean), work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof UpstreamError)) throw error;
    throw new SyncFailure(failureOf(error, typeof shared === 'boolean' ? shared : shared(error)), error);
  }
}

/** The head may have moved. Until that is known no other run may move it, or this one would be in the ledger twice. */
const inDoubt = ({ fault }: UpstreamError): boolean => ['network', 'timeout', 'unavailable'].includes(fault.kind);

/** The record of earlier tries, or a new one. Throws where upstream already holds something else. */
async function recordFor(input: PassInput, { set }: Prepared): Promise<SyncRecord> {
  const { run, target, project, sources, signal } = input;
  const found = await loadRecord(sources.store, run.clientRunId, signal);
  const sameTarget = found?.target.baseURL === target.baseURL && found.target.project === project;
  if (found !== undefined && sameTarget && found.recordedDigest === run.manifestDigest) return found;
  if (found !== undefined && sameTarget && found.accepted) {
    const message = 'Another run with this client_run_id was synced before, with another manifest.';
    throw new SyncFailure({ scope: 'Run', reason: 'SyncConflict', message, retry: 'Never' });
  }
  // What was begun at another target stays there: its key is not ours to send any more.
  return {
    version: 1,
    clientRunId: run.clientRunId,
    run: { namespace: run.namespace, name: run.name, uid: run.uid },
    target: { profile: target.profile, baseURL: target.baseURL, project },
    recordedDigest: run.manifestDigest,
    manifestDigest: set.manifestDigest,
    doing: null,
    log: 'Inline',
    accepted: false,
    artifacts: artifactsOf(set),
    ledger: null,
    done: false,
  };
}

class Pass {
  readonly #in: PassInput;
  readonly #upstream: Upstream;
  readonly #project: ProjectRef;
  readonly #prepared: Prepared;
  readonly #record: SyncRecord;

  constructor(input: PassInput, upstream: Upstream, project: ProjectRef, prepared: Prepared, record: SyncRecord) {
    this.#in = input;
    this.#upstream = upstream;
    this.#project = project;
    this.#prepared = prepared;
    this.#record = record;
  }

  async run(): Promise<SyncRecord> {
    const record = this.#record;
    if (record.done && !this.#in.again) return record;
    record.done = false;
    if (this.#in.again)
      for (const artifact of record.artifacts) if (artifact.state === 'Skipped') artifact.state = 'Pending';
    const { contract } = this.#upstream;
    const head = hasLedger(contract) ? await asFailure(true, () => this.#readHead()) : undefined;
    await asFailure(false, async () => {
      if (!record.accepted || this.#in.again) await this.#postRun();
      await this.#sendArtifacts();
    });
    if (head !== undefined) await asFailure(inDoubt, () => this.#advance(head.head));
    record.done = true;
    record.doing = null;
    await this.#save();
    return record;
  }

  async #readHead(): Promise<{ head: string | null }> {
    return { head: await this.#upstream.ledgerHead(this.#project, this.#in.signal) };
  }

  async #postRun(): Promise<void> {
    const record = this.#record;
    const { log } = this.#prepared;
    if (log === undefined) record.log = 'None';
    else if (record.log === 'Inline' && (log.bytes > MAX_INLINE_LOG || !this.#upstream.takesLogLines))
      await this.#moveLog();
    try {
      await this.#post();
    } catch (error) {
      if (!(error instanceof UpstreamError) || error.fault.kind !== 'tooLarge' || record.log !== 'Inline') throw error;
      await this.#moveLog();
      await this.#post();
    }
    record.accepted = true;
    record.cloudRunId ??= await this.#lookUp();
    await this.#save();
  }

  /** Its id is worth having; a target that cannot be asked for it has taken the run all the same. */
  async #lookUp(): Promise<string | undefined> {
    try {
      return await this.#upstream.findRun(this.#record.clientRunId, this.#in.signal);
    } catch (error) {
      if (error instanceof UpstreamError && ['notFound', 'unexpected', 'invalid'].includes(error.fault.kind))
        return undefined;
      throw error;
    }
  }

  async #post(): Promise<void> {
    const { signal, sources } = this.#in;
    const { set, log } = this.#prepared;
    const lines = this.#record.log === 'Inline' && log !== undefined ? await logLines(sources, log, signal) : undefined;
    await this.#before('run');
    try {
      const id = await this.#upstream.postRun({ set, project: this.#project, logLines: lines }, signal);
      if (id !== undefined) this.#record.cloudRunId = id;
    } catch (error) {
      if (!(error instanceof UpstreamError) || error.fault.kind !== 'conflict') throw error;
      await this.#readBack(error.fault.id);
    }
  }

  /** Perhaps it is there by a request whose answer was lost: then it is the same, byte for byte. */
  async #readBack(named: string | undefined): Promise<void> {
    const { signal } = this.#in;
    const id = named ?? (await this.#upstream.findRun(this.#record.clientRunId, signal));
    const there = id === undefined ? undefined : await this.#upstream.manifestDigest(id, signal);
    if (id !== undefined && there === this.#record.manifestDigest) {
      this.#record.cloudRunId = id;
      return;
    }
    const message =
      there === undefined
        ? 'The target says that the run is there, but it cannot be read back.'
        : 'The target holds another manifest under this client_run_id.';
    throw new SyncFailure({ scope: 'Run', reason: 'SyncConflict', message, retry: 'Never' });
  }

  /** The log becomes an artifact, once; of a private run it does not leave at all. */
  async #moveLog(): Promise<void> {
    const record = this.#record;
    const { log } = this.#prepared;
    if (log === undefined || this.#in.run.private || !hasArtifacts(this.#upstream.contract)) {
      record.log = 'None';
      return;
    }
    record.log = 'Artifact';
    record.artifacts = [
      ...record.artifacts.filter((a) => !a.log),
      await logArtifact(this.#in.sources, log, this.#in.signal),
    ];
  }

  async #sendArtifacts(): Promise<void> {
    const record = this.#record;
    const waiting = record.artifacts.filter(({ state }) => state !== 'Committed' && state !== 'Skipped');
    if (waiting.length === 0) return this.#close();
    if (this.#in.run.private) return this.#withhold(waiting);
    const { contract } = this.#upstream;
    if (!hasArtifacts(contract)) {
      const problems = problemsOf(contract, ARTIFACT_ROLES).map(({ role, text }) => `${ROLES[role]}: ${text}`);
      const message = `The run is there; ${waiting.length} artifact(s) are not: ${problems.join('; ')}`;
      throw new SyncFailure({ scope: 'Run', reason: 'ContractMismatch', message, retry: SLOW_RETRY_MS, reprobe: true });
    }
    await markOpen(this.#in.sources.store, record.clientRunId, this.#in.signal);
    const channel = this.#channel();
    for (const artifact of waiting) await sendArtifact(channel, artifact);
    return this.#close();
  }

  /** Also what was begun before the run was marked. */
  async #withhold(waiting: readonly SyncArtifact[]): Promise<void> {
    const channel = this.#channel();
    for (const artifact of waiting) {
      await giveUp(channel, artifact);
      if (artifact.state !== 'Committed') Object.assign(artifact, { state: 'Skipped', message: PRIVATE_WORDS });
    }
    return this.#close();
  }

  #channel(): ArtifactChannel {
    const { signal, sources, observer } = this.#in;
    const { attempt, log } = this.#prepared;
    return {
      upstream: this.#upstream,
      clientRunId: this.#record.clientRunId,
      cloudRunId: this.#record.cloudRunId,
      project: this.#project,
      signal,
      open: async (artifact, ends) => {
        if (artifact.log && log !== undefined) return openLog(sources, log, ends);
        if (attempt === undefined)
          throw new SyncFailure({
            scope: 'Run',
            reason: 'RecordUnreadable',
            message: 'The run store holds no record of the attempt.',
            retry: 'Backoff',
          });
        return openArtifact(sources.store, attempt, artifact, ends);
      },
      before: (request, artifact) => this.#before(request, artifact.name),
      uploaded: (bytes) => observer.uploaded(bytes),
    };
  }

  /** Nothing is open upstream: the marker goes once the record says so. */
  async #close(): Promise<void> {
    const { sources, signal } = this.#in;
    if (this.#record.artifacts.length === 0) return;
    await this.#save();
    if (!this.#record.artifacts.some(isOpen)) await unmarkOpen(sources.store, this.#record.clientRunId, signal);
  }

  /** Compare and swap; after a conflict the head is read again, once. */
  async #advance(before: string | null): Promise<void> {
    const record = this.#record;
    // A run that is posted once more is in the ledger already.
    if (record.ledger?.moved === true) return;
    let expected = before;
    for (let tries = 0; tries < 2; tries += 1) {
      // The answer to our own move was lost: the head is already ours.
      if (record.ledger !== null && expected === record.ledger.head) break;
      const head = nextHead(expected, record);
      record.ledger = { expected, head, moved: false };
      await this.#before('ledger');
      try {
        const move = { expected, head, clientRunId: record.clientRunId, cloudRunId: record.cloudRunId };
        await this.#upstream.advanceLedger(this.#project, move, this.#in.signal);
        expected = head;
        break;
      } catch (error) {
        if (!(error instanceof UpstreamError) || error.fault.kind !== 'conflict') throw error;
        expected = (await this.#readHead()).head;
      }
    }
    if (record.ledger === null || expected !== record.ledger.head) {
      throw new SyncFailure({
        scope: 'Run',
        reason: 'LedgerConflict',
        message: 'The ledger head moved twice while it was being set.',
        retry: 'Backoff',
      });
    }
    record.ledger.moved = true;
  }

  async #before(request: string, artifact?: string): Promise<void> {
    this.#record.doing = {
      request,
      at: new Date(this.#in.clock.now()).toISOString(),
      ...(artifact === undefined ? {} : { artifact }),
    };
    await this.#save();
  }

  async #save(): Promise<void> {
    await saveRecord(this.#in.sources.store, this.#record, this.#in.signal);
    this.#in.onRecord(this.#record);
  }
}

/** Inferred: a hash chain over what was accepted. The same run on the same head gives the same head. */
function nextHead(previous: string | null, { clientRunId, manifestDigest }: SyncRecord): string {
  return digestOf({ previous, client_run_id: clientRunId, manifest_digest: manifestDigest });
}
