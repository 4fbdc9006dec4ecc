import { createHash } from 'node:crypto';
import { digestOf } from '../../crds/manifest.ts';
import type { DoctorLine, MockProfile } from '../../crds/runtime-profile.ts';
import type {
  FoundWork,
  Handle,
  Plan,
  PlanRefusal,
  ProfileRef,
  ResultSink,
  Runtime,
  RuntimeContext,
  RuntimeIo,
  RuntimeResult,
  RuntimeTraits,
  WorkEnd,
  WorkState,
} from '../contract.ts';
import { RuntimeError } from '../errors.ts';
import { refuseJobFields } from '../job-fields.ts';
import {
  LONGEST_VIDEO,
  MOCK_CAPABILITIES,
  MOST_STEPS,
  numberOption,
  resultsOf,
  type MockCapability,
  type MockRequest,
} from './results.ts';

/**
 * Made-up results without any model, for the tests of people's own pipelines.
 *
 * There is no vendor behind it and nothing to remember: where work stands follows from when it was created, from the
 * profile, and from the deadline that stands in its id. It goes on over any restart.
 */
export class MockRuntime implements Runtime {
  readonly name = 'mock';
  readonly traits: RuntimeTraits = {
    kind: 'Vendor',
    paid: false,
    support: 'Production',
    idempotentCreate: true,
    marksWork: true,
    listLagMs: 0,
    pollMs: 1000,
    capabilities: MOCK_CAPABILITIES,
    credentials: [],
    hosts: [],
  };
  /** Work that was stopped before its time, by its id: when. A process that forgot it is told to stop it again. */
  readonly #stopped = new Map<string, number>();

  async doctor({ spec }: ProfileRef): Promise<DoctorLine[]> {
    const { failure } = spec.mock!;
    const made: DoctorLine = {
      check: 'mock',
      level: 'info',
      message: 'Results are made up from each request’s digest; no model runs.',
    };
    if (failure === 'None') return [made];
    const end = failure === 'Fail' ? 'fails' : 'is refused';
    return [
      made,
      { check: 'mock-failure', level: 'info', message: `Every run ${end}: spec.mock.failure is ${failure}.` },
    ];
  }

  plan(context: RuntimeContext): Plan | PlanRefusal {
    const { spec } = context;
    const refusal = refuseJobFields(spec, this.name) ?? refuseRequest(context);
    if (refusal !== undefined) return refusal;
    const request = requestOf(context);
    const deadlineSeconds = spec.timeouts.runSeconds;
    return {
      ok: true,
      context,
      creates: [`mock ${request.capability}, made up within ${deadlineSeconds} s`],
      requestDigest: digestOf({ request, deadlineSeconds }),
      request,
      deadlineSeconds,
    };
  }

  async create({ context, deadlineSeconds }: Plan, io: RuntimeIo): Promise<Handle> {
    if (mockOf(io).failure === 'Reject')
      throw new RuntimeError({ kind: 'user' }, 'the mock rejects every request: spec.mock.failure is Reject');
    const { clientRunId, attempt } = context;
    const identity = createHash('sha256').update(`${clientRunId}/${attempt}`).digest('hex').slice(0, 24);
    return { externalId: `mock-${identity}-${deadlineSeconds}`, attempt, createdAt: io.now() };
  }

  async observe(handles: readonly Handle[], io: RuntimeIo): Promise<ReadonlyMap<string, WorkState>> {
    return new Map(handles.map((handle) => [handle.externalId, this.#stateOf(handle, io)]));
  }

  async collect(handle: Handle, context: RuntimeContext, sink: ResultSink, io: RuntimeIo): Promise<RuntimeResult> {
    const seen = this.#stateOf(handle, io);
    // Only ended work is collected: what seems to run was stopped by a process that is no more.
    const state = seen.at === 'ended' ? seen : stoppedWork(handle.createdAt, io.now());
    const request = requestOf(context);
    const ok = state.outcome === 'succeeded';
    const lines = [`mock ${request.capability}`, `request ${digestOf(request)}`, `${state.outcome}: ${state.message}`];
    const facts = {
      exitCode: ok ? 0 : 1,
      durationSeconds: (state.finishedAt - handle.createdAt) / 1000,
      logPath: await sink.log(one(Buffer.from(`${lines.join('\n')}\n`))),
      costEstimateUSD: 0,
    };
    const metadata = { provider: 'mock', capability: request.capability };
    if (!ok) return { ...facts, artifacts: [], metrics: {}, metadata };
    const made = resultsOf(request, digestOf(request).slice('sha256:'.length), context);
    const artifacts = [
      await sink.artifact({
        name: 'result',
        path: 'result.json',
        contentType: 'application/json',
        body: one(Buffer.from(`${JSON.stringify(made.result)}\n`)),
      }),
    ];
    if (made.frames !== undefined) {
      artifacts.push(
        await sink.artifact({
          name: 'frames',
          path: 'frames.bin',
          contentType: 'application/octet-stream',
          body: each(made.frames()),
        }),
      );
    }
    return { ...facts, artifacts, metrics: made.metrics, metadata: { ...metadata, ...made.metadata } };
  }

  async teardown(handle: Handle, io: RuntimeIo): Promise<void> {
    for (const [id, at] of this.#stopped) if (io.now() - at > MEMORY_MS) this.#stopped.delete(id);
    if (this.#stateOf(handle, io).at !== 'ended') this.#stopped.set(handle.externalId, io.now());
  }

  /** Nothing is anywhere: there is no outcome to look up and no orphan to find. */
  async *list(): AsyncIterable<FoundWork> {}

  #stateOf({ externalId, createdAt }: Handle, io: RuntimeIo): WorkEnd | (WorkState & { at: 'running' }) {
    const { runSeconds, failure } = mockOf(io);
    const deadlineSeconds = Number(/-(\d+)$/.exec(externalId)?.[1] ?? Infinity);
    const finishedAt = createdAt + Math.min(runSeconds, deadlineSeconds) * 1000;
    const stoppedAt = this.#stopped.get(externalId);
    const end = (what: Pick<WorkEnd, 'outcome' | 'reason' | 'message'>): WorkEnd => ({
      at: 'ended',
      ...what,
      startedAt: createdAt,
      finishedAt,
    });
    if (stoppedAt !== undefined && stoppedAt < finishedAt) return stoppedWork(createdAt, stoppedAt);
    if (io.now() < finishedAt) {
      const percent = Math.floor((100 * (io.now() - createdAt)) / (finishedAt - createdAt));
      return { at: 'running', startedAt: createdAt, percent: Math.max(0, percent) };
    }
    if (deadlineSeconds < runSeconds)
      return end({
        outcome: 'failed',
        reason: 'VendorDeadline',
        message: `The work takes ${runSeconds} s and was given ${deadlineSeconds} s.`,
      });
    if (failure === 'Fail')
      return end({
        outcome: 'failed',
        reason: 'VendorFailed',
        message: 'The mock fails every run: spec.mock.failure is Fail.',
      });
    return end({ outcome: 'succeeded', reason: 'Completed', message: 'The mock made up a result.' });
  }
}

/** Longer than any work of the mock lasts (`runSeconds` is an hour at most). */
const MEMORY_MS = 2 * 3600 * 1000;

const stoppedWork = (startedAt: number, finishedAt: number): WorkEnd => ({
  at: 'ended',
  outcome: 'cancelled',
  reason: 'VendorCancelled',
  message: 'The work was stopped.',
  startedAt,
  finishedAt,
});

const mockOf = (io: RuntimeIo): MockProfile => io.profile.spec.mock!;

const isMockCapability = (name: string): name is MockCapability =>
  (MOCK_CAPABILITIES as readonly string[]).includes(name);

function refuseRequest({ spec, files }: RuntimeContext): PlanRefusal | undefined {
  const { request } = spec;
  const field = (message: string): PlanRefusal => ({ ok: false, reason: 'FieldNotSupported', message });
  if (request === undefined) return field('spec.request: say what the mock shall do, such as {capability: generate}');
  if (!isMockCapability(request.capability))
    return {
      ok: false,
      reason: 'CapabilityNotSupported',
      message: `spec.request.capability: the mock knows ${MOCK_CAPABILITIES.join(', ')}, not ${request.capability}`,
    };
  for (const [name, most] of [
    ['duration', LONGEST_VIDEO],
    ['steps', MOST_STEPS],
    ['step', Number.MAX_SAFE_INTEGER - MOST_STEPS],
    ['objects', Number.MAX_SAFE_INTEGER],
  ] as const) {
    const value = numberOption(spec, name, 0);
    if (value === 'wrong' || value > most)
      return field(`spec.request.options.${name}: a number from 0 to ${most} is right`);
  }
  const missing = (request.files ?? []).find(({ path }) => !files.has(path));
  if (missing !== undefined) return field(`spec.request.files: the source holds no ${missing.path}`);
  if (request.capability === 'transfer' && (request.files ?? []).length === 0)
    return field('spec.request.files: a transfer copies the frames of a file; name one');
  return undefined;
}

/** Of a context that `plan` accepts. */
function requestOf({ spec, files }: RuntimeContext): MockRequest {
  const { capability, prompt = '', options = {}, files: named = [] } = spec.request!;
  return {
    capability: capability as MockCapability,
    prompt,
    options,
    files: named.map(({ input, path }) => ({ input, path, sha256: files.get(path)!.sha256 })),
  };
}

async function* one(body: Buffer): AsyncGenerator<Buffer> {
  yield body;
}

async function* each(parts: Iterable<Buffer>): AsyncGenerator<Buffer> {
  yield* parts;
}
