import type { KubeClient } from './client.ts';
import { isKubeError } from './errors.ts';
import { microTime } from './micro-time.ts';
import { pause } from './pause.ts';
import { LEASES } from './resource.ts';
import type { Wire } from './resource.ts';
import type { V1Lease } from '@kubernetes/client-node';

type Lease = Wire<V1Lease>;

export interface LeaderElectorOptions {
  readonly client: Pick<KubeClient, 'get' | 'create' | 'replace'>;
  readonly namespace: string;
  readonly name: string;
  /** Unique to this process, not only to its Pod: a restarted container is another candidate. */
  readonly identity: string;
  /** Where other candidates reach this one while it leads; they read it from `holder`. */
  readonly address?: string;
  /** Others may take over when they have seen no renewal for this long. Whole seconds. */
  readonly leaseMs?: number;
  /** We stop leading when no renewal has succeeded for this long; below `leaseMs`. */
  readonly renewDeadlineMs?: number;
  readonly retryMs?: number;
  /**
   * Leads until `signal` aborts, which happens when leadership is lost or the elector is stopped. `epoch` is larger in
   * every later term, whoever leads. The Lease is given up only after this has settled.
   */
  readonly lead: (epoch: number, signal: AbortSignal) => Promise<void>;
  /** The highest epoch that is written down anywhere, so that a lost or restored Lease cannot make it fall. */
  readonly highestKnownEpoch?: () => number;
  /** Told of every failed attempt to read or write the Lease. */
  readonly onError: (error: unknown) => void;
}

/** Work was about to be done by a process that no longer leads, or never did. */
export class NotLeaderError extends Error {
  override readonly name = 'NotLeaderError';
}

/** How a term, or the wait for one, ended. `finished`: `lead` returned by itself. */
export type ElectionEnd = 'stopped' | 'lost' | 'finished';

/** Who holds the Lease, as its other candidates know it. */
export interface Holder {
  readonly identity: string;
  /** Undefined where it gave none. */
  readonly address: string | undefined;
}

const ADDRESS = 'worldflux.ai/holder-address';

interface Observation {
  readonly lease: Lease;
  /** When this renewal was first seen, on our own monotonic clock. */
  readonly since: number;
}

/**
 * Leader election over a Lease. No clock of another machine is ever compared with ours: others are judged by how long
 * ago we saw their last renewal, and we by the monotonic time at which our own last successful renewal began. A process
 * that was paused and wakes up is therefore not leader from its first instruction on, before any timer has fired.
 */
export class LeaderElector {
  readonly #options: LeaderElectorOptions;
  readonly #leaseMs: number;
  readonly #renewDeadlineMs: number;
  readonly #retryMs: number;
  #observed: Observation | undefined;
  #epoch: number | undefined;
  #renewedAt = -Infinity;

  constructor(options: LeaderElectorOptions) {
    this.#options = options;
    this.#leaseMs = options.leaseMs ?? 15_000;
    this.#renewDeadlineMs = options.renewDeadlineMs ?? 10_000;
    this.#retryMs = options.retryMs ?? 2_000;
    if (this.#retryMs >= this.#renewDeadlineMs || this.#renewDeadlineMs >= this.#leaseMs) {
      throw new RangeError('a Lease needs retryMs < renewDeadlineMs < leaseMs');
    }
  }

  /** True only while no other process can have become leader. Ask right before every effect. */
  isLeader(): boolean {
    return this.#epoch !== undefined && performance.now() - this.#renewedAt < this.#renewDeadlineMs;
  }

  /** The epoch of the current term; throws a NotLeaderError outside of one. */
  assertLeader(): number {
    if (this.#epoch === undefined || !this.isLeader()) {
      throw new NotLeaderError(`${this.#options.identity} does not hold the Lease ${this.#options.name}`);
    }
    return this.#epoch;
  }

  /** The other candidate that leads, as of our last look; undefined where we do, or nobody is known to. */
  holder(): Holder | undefined {
    const lease = this.#observed?.lease;
    const identity = lease?.spec?.holderIdentity ?? '';
    if (lease === undefined || identity === this.#options.identity || this.#isFree(lease)) return undefined;
    return { identity, address: lease.metadata?.annotations?.[ADDRESS] || undefined };
  }

  /** Waits for leadership, leads one term, gives it up. Never rejects but with what `lead` rejected with. */
  async run(signal: AbortSignal): Promise<ElectionEnd> {
    const epoch = await this.#acquire(signal);
    if (epoch === undefined) return 'stopped';
    const term = new AbortController();
    const stop = () => term.abort(signal.reason);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
    const renewing = this.#renewUntil(term);
    try {
      if (!signal.aborted) await this.#options.lead(epoch, term.signal);
      return signal.aborted ? 'stopped' : term.signal.aborted ? 'lost' : 'finished';
    } finally {
      signal.removeEventListener('abort', stop);
      term.abort(new DOMException('the term is over', 'AbortError'));
      await renewing;
      await this.#release();
    }
  }

  async #acquire(signal: AbortSignal): Promise<number | undefined> {
    while (!signal.aborted) {
      try {
        const startedAt = performance.now();
        const lease = await this.#takeIfFree(signal);
        if (lease !== undefined) {
          this.#hold(lease, startedAt);
          return (this.#epoch = lease.spec?.leaseTransitions ?? 0);
        }
      } catch (error) {
        // Losing the race for a free Lease is how most candidates learn that there is a leader.
        if (!signal.aborted && !isKubeError(error, 'conflict', 'alreadyExists')) this.#options.onError(error);
      }
      await this.#pauseBeforeNextLook(signal);
    }
    return undefined;
  }

  /** Not past the moment at which the Lease may be taken: every second without a leader is one too many. */
  async #pauseBeforeNextLook(signal: AbortSignal): Promise<void> {
    const freeIn = this.#observed === undefined ? 0 : this.#freeAt(this.#observed) - performance.now();
    if (freeIn > 0 && freeIn < this.#retryMs) await pause(freeIn + Math.random() * 100, signal);
    else await this.#pause(signal);
  }

  async #takeIfFree(signal: AbortSignal): Promise<Lease | undefined> {
    const { client, namespace, name } = this.#options;
    const call = { signal, timeoutMs: this.#renewDeadlineMs };
    const current = await client.get(LEASES, { namespace, name }, call).catch((error: unknown) => {
      if (isKubeError(error, 'notFound')) return undefined;
      throw error;
    });
    if (current === undefined) return client.create(LEASES, this.#leaseOfOurs(undefined), call);
    this.#observe(current);
    return this.#isFree(current) ? client.replace(LEASES, this.#leaseOfOurs(current), call) : undefined;
  }

  /** The Lease as we want it for a new term. Its resource version makes the write fail if anybody came first. */
  #leaseOfOurs(current: Lease | undefined): Lease {
    const { namespace, name, identity, address = '' } = this.#options;
    const now = microTime(new Date());
    const highest = Math.max(current?.spec?.leaseTransitions ?? 0, this.#options.highestKnownEpoch?.() ?? 0);
    return {
      metadata: {
        ...(current?.metadata ?? { namespace, name }),
        annotations: { ...current?.metadata?.annotations, [ADDRESS]: address },
      },
      spec: {
        holderIdentity: identity,
        leaseDurationSeconds: Math.ceil(this.#leaseMs / 1000),
        acquireTime: now,
        renewTime: now,
        // Raised in every term, even when the last holder had our name: a fencing token must never come twice.
        leaseTransitions: highest + 1,
      },
    };
  }

  #observe(lease: Lease): void {
    const before = this.#observed?.lease;
    const isSame = before?.metadata?.uid === lease.metadata?.uid && before?.spec?.renewTime === lease.spec?.renewTime;
    if (!isSame || before?.spec?.holderIdentity !== lease.spec?.holderIdentity) {
      this.#observed = { lease, since: performance.now() };
    }
  }

  #isFree(lease: Lease): boolean {
    if ((lease.spec?.holderIdentity ?? '') === '') return true;
    return performance.now() >= this.#freeAt({ lease, since: this.#observed?.since ?? Infinity });
  }

  /** On our own monotonic clock, unless it is renewed before. */
  #freeAt({ lease, since }: Observation): number {
    return since + ((lease.spec?.leaseDurationSeconds ?? 0) * 1000 || this.#leaseMs);
  }

  async #renewUntil(term: AbortController): Promise<void> {
    // A timer of its own: the request in flight may be what hangs.
    const expire = () => {
      if (this.isLeader()) timer = setTimeout(expire, this.#renewedAt + this.#renewDeadlineMs - performance.now());
      else term.abort(new NotLeaderError(`the Lease ${this.#options.name} could not be renewed in time`));
    };
    let timer = setTimeout(expire, this.#renewDeadlineMs);
    while (!term.signal.aborted) {
      await this.#pause(term.signal);
      if (term.signal.aborted) break;
      try {
        await this.#renew(term.signal);
      } catch (error) {
        if (error instanceof NotLeaderError) term.abort(error);
        else if (!term.signal.aborted) this.#options.onError(error);
      }
    }
    clearTimeout(timer);
  }

  async #renew(signal: AbortSignal): Promise<void> {
    const { client, namespace, name } = this.#options;
    const startedAt = performance.now();
    const call = { signal, timeoutMs: this.#renewDeadlineMs };
    const lease = this.#observed!.lease;
    try {
      const renewed = { ...lease, spec: { ...lease.spec, renewTime: microTime(new Date()) } };
      this.#hold(await client.replace(LEASES, renewed, call), startedAt);
    } catch (error) {
      if (!isKubeError(error, 'conflict')) throw error;
      // Somebody wrote the Lease: another holder, or our own renewal whose answer got lost.
      const current = await client.get(LEASES, { namespace, name }, call);
      if (!this.#isOurTerm(current)) {
        this.#epoch = undefined;
        throw new NotLeaderError(`the Lease ${name} is held by ${current.spec?.holderIdentity ?? 'nobody'}`);
      }
      this.#observed = { lease: current, since: startedAt };
    }
  }

  #isOurTerm({ spec }: Lease): boolean {
    return spec?.holderIdentity === this.#options.identity && spec.leaseTransitions === this.#epoch;
  }

  #hold(lease: Lease, startedAt: number): void {
    this.#observed = { lease, since: startedAt };
    this.#renewedAt = startedAt;
  }

  /** Lets a successor start at once rather than after `leaseMs`. Only what is still ours is given up. */
  async #release(): Promise<void> {
    const { client, namespace, name, onError } = this.#options;
    const call = { timeoutMs: this.#retryMs };
    try {
      if (!this.isLeader()) return;
      await client.replace(LEASES, released(this.#observed!.lease), call).catch(async (error: unknown) => {
        if (!isKubeError(error, 'conflict')) throw error;
        // The last renewal was cut off by the end of the term, and arrived all the same.
        const current = await client.get(LEASES, { namespace, name }, call);
        if (this.#isOurTerm(current)) await client.replace(LEASES, released(current), call);
      });
    } catch (error) {
      onError(error);
    } finally {
      this.#epoch = undefined;
    }
  }

  async #pause(signal: AbortSignal): Promise<void> {
    // Jittered, so that candidates that started together do not ask together for ever.
    await pause(this.#retryMs * (1 + Math.random() * 0.2), signal);
  }
}

function released(lease: Lease): Lease {
  const now = microTime(new Date());
  return {
    ...lease,
    spec: { ...lease.spec, holderIdentity: '', leaseDurationSeconds: 1, acquireTime: now, renewTime: now },
  };
}
