import type {
  FoundWork,
  Handle,
  Plan,
  PlanRefusal,
  ResultSink,
  Runtime,
  RuntimeContext,
  RuntimeIo,
  RuntimeResult,
  SendOnce,
  WorkState,
} from '../../../src/runtime/contract.ts';
import { RuntimeError } from '../../../src/runtime/errors.ts';
import { isKubeError } from '../../../src/kube/errors.ts';
import { digestOf } from '../../../src/crds/manifest.ts';
import type { Calls } from './faults.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** What becomes of a request, counted from 1 over all of them. */
export interface VendorScript {
  /** Seconds until it starts, and that it then takes; without `seconds` it runs until it is stopped. */
  work?(nth: number): { queuedSeconds?: number; seconds?: number; fails?: boolean };
  /** Refuses it, or loses the answer after the effect. */
  create?(nth: number): 'throttled' | 'capacity' | 'user' | 'lostBefore' | 'lostAfter' | undefined;
  /** Seconds until work is in the list. */
  listLagSeconds?: number;
  /** Seconds after its creation, from and to, in which it does not know the work. */
  unknown?: readonly [from: number, to: number];
  /** It gives requests back otherwise than they were sent. */
  changes?: boolean;
}

interface Work {
  id: string;
  digest: string;
  createdAt: number;
  startsAt: number;
  endsAt: number;
  fails: boolean;
  stoppedAt: number | undefined;
  collected: number;
}

/** A paid vendor without idempotency keys, in virtual time, whose every call may be the last one of the process. */
export class VendorInMemory implements Runtime {
  readonly name = 'replicate' as const;
  readonly traits = {
    kind: 'Vendor',
    paid: true,
    support: 'Production',
    idempotentCreate: false,
    marksWork: false,
    listLagMs: 10_000,
    pollMs: 2000,
    capabilities: ['generate'],
    credentials: [],
    hosts: [],
  } as const;
  readonly works: Work[] = [];
  #requests = 0;
  readonly #clock: VirtualClock;
  readonly #calls: Calls;
  readonly #script: VendorScript;

  constructor(clock: VirtualClock, calls: Calls, script: VendorScript) {
    this.#clock = clock;
    this.#calls = calls;
    this.#script = script;
  }

  doctor(): Promise<[]> {
    return Promise.resolve([]);
  }

  plan(context: RuntimeContext): Plan | PlanRefusal {
    const { prompt } = context.spec.request ?? {};
    if (prompt === undefined)
      return { ok: false, reason: 'FieldNotSupported', message: 'spec.request.prompt: say what is wanted' };
    return {
      ok: true,
      context,
      creates: ['one piece of work'],
      requestDigest: digestOf({ prompt }),
      request: { prompt },
      deadlineSeconds: context.spec.timeouts.startupSeconds + context.spec.timeouts.runSeconds,
    };
  }

  async create(plan: Plan, { once }: RuntimeIo & { once: SendOnce }): Promise<Handle> {
    once.maySend();
    return this.#asVendor(async () => {
      const work = await this.#calls.do('vendor create', () => {
        const outcome = this.#script.create?.((this.#requests += 1));
        if (outcome === 'throttled') throw new RuntimeError({ kind: 'throttled', retryAfterMs: 5000 }, 'slow down');
        if (outcome === 'capacity') throw new RuntimeError({ kind: 'capacity' }, 'no GPU');
        if (outcome === 'user') throw new RuntimeError({ kind: 'user' }, 'no such input');
        if (outcome === 'lostBefore') throw new RuntimeError({ kind: 'unknownOutcome' }, 'no answer');
        const made = this.#make(plan.requestDigest);
        if (outcome === 'lostAfter') throw new RuntimeError({ kind: 'unknownOutcome' }, 'no answer');
        return made;
      });
      return { externalId: work.id, attempt: plan.context.attempt, createdAt: work.createdAt };
    }, 'unknownOutcome');
  }

  #make(digest: string): Work {
    const {
      queuedSeconds = 1,
      seconds = Infinity,
      fails = false,
    } = this.#script.work?.(this.works.length + 1) ?? {
      seconds: 20,
    };
    const now = this.#clock.now;
    const work: Work = {
      id: `work-${this.works.length + 1}`,
      digest,
      createdAt: now,
      startsAt: now + queuedSeconds * 1000,
      endsAt: now + (queuedSeconds + seconds) * 1000,
      fails,
      stoppedAt: undefined,
      collected: 0,
    };
    this.works.push(work);
    return work;
  }

  observe(handles: readonly Handle[]): Promise<Map<string, WorkState>> {
    // Polls change nothing and happen at any time: they are no points at which a process may die.
    return Promise.resolve(new Map(handles.map(({ externalId }) => [externalId, this.#stateOf(externalId)])));
  }

  #stateOf(id: string): WorkState {
    const work = this.works.find((each) => each.id === id);
    if (work === undefined || this.#isUnknown(work)) return { at: 'gone' };
    const { startsAt, endsAt, stoppedAt, fails } = work;
    const now = this.#clock.now;
    const finishedAt = Math.min(endsAt, stoppedAt ?? Infinity);
    if (now < finishedAt)
      return now < startsAt ? { at: 'queued', message: 'waits' } : { at: 'running', startedAt: startsAt };
    const times = { at: 'ended', startedAt: startsAt, finishedAt } as const;
    if (stoppedAt !== undefined && stoppedAt < endsAt)
      return { ...times, outcome: 'cancelled', reason: 'VendorCancelled', message: 'stopped' };
    if (fails) return { ...times, outcome: 'failed', reason: 'VendorFailed', message: 'it failed' };
    return { ...times, outcome: 'succeeded', reason: 'Completed', message: 'done' };
  }

  #isUnknown({ createdAt }: Work): boolean {
    const [from, to] = this.#script.unknown ?? [Infinity, Infinity];
    const age = (this.#clock.now - createdAt) / 1000;
    return age >= from && age < to;
  }

  async collect(handle: Handle, _context: RuntimeContext, sink: ResultSink): Promise<RuntimeResult> {
    const none = (async function* () {})() as AsyncGenerator<Buffer>;
    const artifact = await sink.artifact({ name: 'output', path: 'out.mp4', contentType: 'video/mp4', body: none });
    this.works.find((work) => work.id === handle.externalId)!.collected += 1;
    return {
      exitCode: 0,
      durationSeconds: 20,
      logPath: undefined,
      artifacts: [artifact],
      costEstimateUSD: undefined,
      metrics: { predict_time: 20 },
      metadata: {},
    };
  }

  teardown({ externalId }: Handle): Promise<void> {
    return this.#asVendor(
      () =>
        this.#calls.do('vendor stop', () => {
          const work = this.works.find((each) => each.id === externalId);
          if (work !== undefined) work.stoppedAt ??= this.#clock.now;
        }),
      'retryable',
    );
  }

  async *list(since: number): AsyncGenerator<FoundWork> {
    const works = await this.#asVendor(() => this.#calls.do('vendor list', () => [...this.works]), 'retryable');
    const lag = (this.#script.listLagSeconds ?? 0) * 1000;
    for (const { id, createdAt, digest } of works.toReversed()) {
      if (createdAt < since || createdAt + lag > this.#clock.now) continue;
      const asked = this.#script.changes === true ? { requestDigest: digestOf({ digest }), doubtful: true } : undefined;
      yield { externalId: id, createdAt, requestDigest: digest, live: this.#stateOf(id).at !== 'ended', ...asked };
    }
  }

  /** The faults of the simulation are those of an API server; a runtime has words of its own. */
  async #asVendor<T>(work: () => Promise<T>, lost: 'unknownOutcome' | 'retryable'): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!isKubeError(error)) throw error;
      if (error.kind === 'tooManyRequests')
        throw new RuntimeError({ kind: 'throttled', retryAfterMs: 1000 }, 'slow down');
      if (error.kind === 'forbidden') throw new RuntimeError({ kind: 'credentials' }, 'no');
      throw new RuntimeError({ kind: lost }, 'no answer');
    }
  }

  runsOn({ endsAt, stoppedAt }: Work): boolean {
    return Math.min(endsAt, stoppedAt ?? Infinity) > this.#clock.now;
  }
}

export function ioOf(signal: AbortSignal, now: () => number): RuntimeIo {
  return { profile: undefined as never, credentials: {}, http: undefined as never, signal, now };
}
