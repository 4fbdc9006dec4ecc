import type { Condition } from '../../crds/common.ts';
import type { SyncProfileReason } from '../../crds/vocabulary.ts';
import { verdictOf, type Contract } from '../../upstream/contract.ts';
import { Endpoint } from './endpoint.ts';
import type { SyncTarget } from './plan.ts';
import type { ProviderEventRecorder } from '../../telemetry/provider-events.ts';
import type { Clock, SyncCluster, SyncProfile } from './ports.ts';
import { Speaker } from './speaker.ts';
import type { TargetSession } from './target-session.ts';

/** What the profiles say of their targets: reads each contract before the first run needs it, and keeps two conditions true. */

interface Watched {
  profile: SyncProfile;
  endpoint: Endpoint | undefined;
  endpointKey: string;
  contract: Contract | undefined;
  /** Why the contract could not be read, in words. */
  unread: string | undefined;
  cancel: (() => void) | undefined;
  sessions: readonly TargetSession[];
}

const PROBE_MS = 6 * 3600 * 1000;
const PROBE_RETRY_MS = 5 * 60 * 1000;
const KEY_TIMEOUT_MS = 30_000;
const EXPIRING_MS = 7 * 24 * 3600 * 1000;

export interface ProfileWatchOptions {
  readonly cluster: Pick<SyncCluster, 'applyProfile'>;
  readonly clock: Clock;
  readonly clusterRanges: readonly string[];
  readonly connections: number;
  readonly events: ProviderEventRecorder;
  problem(what: string, error: unknown): void;
}

export class ProfileWatch {
  readonly #o: ProfileWatchOptions;
  readonly #watched = new Map<string, Watched>();
  readonly #speaker: Speaker<{ profile: SyncProfile; conditions: Condition[] }>;
  #started = false;

  constructor(options: ProfileWatchOptions) {
    this.#o = options;
    this.#speaker = new Speaker(
      ({ profile, conditions }) => options.cluster.applyProfile(profile, conditions),
      options.clock,
      (error) => options.problem('write a profile’s sync conditions', error),
    );
  }

  get(name: string): SyncProfile | undefined {
    return this.#watched.get(name)?.profile;
  }

  /** From then on targets are asked, by the leader alone. */
  start(): void {
    this.#started = true;
    for (const watched of this.#watched.values()) this.#probe(watched);
  }

  /** Answers whether what concerns syncing is another than before. */
  set(profile: SyncProfile): boolean {
    const key = JSON.stringify([profile.sync?.baseURL, profile.network]);
    const before = this.#watched.get(profile.name);
    const same =
      before !== undefined &&
      before.profile.uid === profile.uid &&
      JSON.stringify(before.profile.sync) === JSON.stringify(profile.sync) &&
      before.endpointKey === key;
    if (same) {
      before.profile = profile;
      return false;
    }
    this.#close(before);
    const watched: Watched = {
      profile,
      endpoint: undefined,
      endpointKey: key,
      contract: undefined,
      unread: undefined,
      cancel: undefined,
      sessions: [],
    };
    this.#watched.set(profile.name, watched);
    if (profile.sync !== undefined) watched.endpoint = this.#endpointOf(watched, profile.sync.baseURL);
    if (this.#started) this.#probe(watched);
    return true;
  }

  delete(name: string): void {
    this.#close(this.#watched.get(name));
    this.#watched.delete(name);
    this.#speaker.forget(name);
  }

  /** Undefined where the profile is gone or points elsewhere now. */
  endpoint(target: Pick<SyncTarget, 'profile' | 'baseURL'>): Endpoint | undefined {
    const watched = this.#watched.get(target.profile);
    return watched?.profile.sync?.baseURL.replace(/\/+$/, '') === target.baseURL ? watched.endpoint : undefined;
  }

  /** Says how the keys of a profile stand. */
  tell(name: string, sessions?: readonly TargetSession[]): void {
    const watched = this.#watched.get(name);
    if (watched === undefined || !this.#started) return;
    if (sessions !== undefined) watched.sessions = sessions;
    const { profile } = watched;
    const ours = (profile.conditions ?? []).filter(
      ({ type }) => type === 'ContractVerified' || type === 'SyncKeyValid',
    );
    const conditions: Condition[] = [];
    if (profile.sync !== undefined && profile.sync.mode !== 'Disabled') {
      const contract = contractWords(watched);
      if (contract !== undefined) conditions.push(this.#condition(profile, 'ContractVerified', ...contract));
      const used = watched.sessions.filter((session) => session.key !== undefined || session.keyRefused);
      // No key was used since the start: what was said before it stands.
      if (used.length > 0)
        conditions.push(this.#condition(profile, 'SyncKeyValid', ...keyWords(used, this.#o.clock.now())));
      else conditions.push(...ours.filter(({ type }) => type === 'SyncKeyValid'));
    }
    const text = wordsOf(profile.uid, conditions);
    if (text === wordsOf(profile.uid, ours) && !this.#speaker.pending(name)) return;
    this.#speaker.say(name, text, { profile, conditions });
  }

  async stop(): Promise<void> {
    this.#started = false;
    this.#speaker.stop();
    const endpoints = [...this.#watched.values()].map(({ endpoint, cancel }) => {
      cancel?.();
      return endpoint?.close();
    });
    await Promise.all(endpoints);
  }

  async idle(): Promise<void> {
    await this.#speaker.idle();
  }

  #endpointOf(watched: Watched, baseURL: string): Endpoint {
    const policy = { ...watched.profile.network, clusterRanges: this.#o.clusterRanges };
    return new Endpoint(
      baseURL.replace(/\/+$/, ''),
      policy,
      this.#o.connections,
      this.#o.clock,
      this.#o.events,
      (contract) => {
        watched.contract = contract;
        watched.unread = undefined;
        this.tell(watched.profile.name);
      },
    );
  }

  #probe(watched: Watched): void {
    const { endpoint, profile } = watched;
    watched.cancel?.();
    if (endpoint === undefined || profile.sync?.mode === 'Disabled') return this.tell(profile.name);
    const again = (ms: number) => {
      if (this.#started && this.#watched.get(profile.name) === watched)
        watched.cancel = this.#o.clock.after(ms, () => this.#probe(watched));
    };
    endpoint.readContract().then(
      () => {
        void this.#lookAtKeys(watched);
        again(PROBE_MS);
      },
      (error: unknown) => {
        watched.unread = error instanceof Error ? error.message : 'failed';
        this.tell(profile.name);
        again(PROBE_RETRY_MS);
      },
    );
    return undefined;
  }

  /** A key runs out while no run is sent, or is replaced before it does. */
  async #lookAtKeys(watched: Watched): Promise<void> {
    const signal = AbortSignal.timeout(KEY_TIMEOUT_MS);
    const looks = await Promise.allSettled(watched.sessions.map((session) => session.lookAtKey(signal)));
    for (const look of looks) if (look.status === 'rejected') this.#o.problem('read a sync key', look.reason);
    // Gone with its namespace, most likely. A run that needs it will say so.
    watched.sessions = watched.sessions.filter(({ key }) => key?.found !== false);
    if (this.#watched.get(watched.profile.name) === watched) this.tell(watched.profile.name);
  }

  #close(watched: Watched | undefined): void {
    watched?.cancel?.();
    void watched?.endpoint?.close();
  }

  #condition(
    profile: SyncProfile,
    type: string,
    status: Condition['status'],
    reason: SyncProfileReason,
    message: string,
  ): Condition {
    const before = profile.conditions?.find((c) => c.type === type);
    const now = new Date(Math.floor(this.#o.clock.now() / 1000) * 1000).toISOString().replace('.000Z', 'Z');
    const lastTransitionTime = before?.status === status ? before.lastTransitionTime : now;
    return {
      type,
      status,
      reason,
      message: message.slice(0, 1024),
      lastTransitionTime,
      observedGeneration: profile.generation,
    };
  }
}

function contractWords({ contract, unread }: Watched): [Condition['status'], SyncProfileReason, string] | undefined {
  if (contract === undefined) return unread === undefined ? undefined : ['Unknown', 'ContractUnread', unread];
  const { status, message } = verdictOf(contract);
  const reasons = { True: 'ContractMatches', False: 'ContractDiffers', Unknown: 'ContractNotServed' } as const;
  return [status, reasons[status], message];
}

const secretOf = ({ target }: TargetSession): string => `${target.key.namespace}/${target.key.name}`;

/** At most five: a condition is no inventory. */
const secretsOf = (sessions: readonly TargetSession[]): string =>
  [...new Set(sessions.map(secretOf))].toSorted().slice(0, 5).join(', ');

function keyWords(sessions: readonly TargetSession[], now: number): [Condition['status'], SyncProfileReason, string] {
  const bad = sessions.filter((s) => s.keyRefused || s.key?.found === false);
  if (bad.length > 0)
    return ['False', 'KeyNotAccepted', `The target refused the key, or the Secret cannot be read: ${secretsOf(bad)}`];
  const left = (s: TargetSession) =>
    s.key?.found === true && s.key.expiresAt !== undefined ? s.key.expiresAt - now : Number.POSITIVE_INFINITY;
  const expired = sessions.filter((s) => left(s) <= 0);
  if (expired.length > 0) return ['False', 'KeyExpired', `The key has expired: ${secretsOf(expired)}`];
  const expiring = sessions.filter((s) => left(s) < EXPIRING_MS);
  if (expiring.length > 0) return ['False', 'KeyExpiring', `The key expires within a week: ${secretsOf(expiring)}`];
  return ['True', 'KeysAccepted', `${sessions.length} key(s) in use.`];
}

const wordsOf = (uid: string, conditions: readonly Condition[]): string =>
  JSON.stringify([
    uid,
    ...conditions.map(({ type, status, reason, message, observedGeneration }) => [
      type,
      status,
      reason,
      message,
      observedGeneration,
    ]),
  ]);
