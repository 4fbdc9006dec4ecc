// Generated from docs/runtimes/writing-a-runtime.md by `npm run generate`.
import { z } from 'zod';
import { digestOf } from '../../../src/crds/manifest.ts';
import type { DoctorLine } from '../../../src/crds/runtime-profile.ts';
import type { StoredArtifact } from '../../../src/crds/world-run-status.ts';
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
  SendOnce,
  WorkEnd,
  WorkState,
} from '../../../src/runtime/contract.ts';
import { isRuntimeError, RuntimeError, type RuntimeFault } from '../../../src/runtime/errors.ts';
import { refuseJobFields } from '../../../src/runtime/job-fields.ts';
import type { Operation } from '../../../src/runtime/vendor-http.ts';

const KEY = 'ACME_API_KEY';

const jobAnswer = z.object({
  id: z.string().regex(/^job_[a-z0-9]{1,64}$/),
  input: z.object({ prompt: z.string(), max_seconds: z.number() }),
  status: z.enum(['queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired']),
  created_at: z.iso.datetime(),
  started_at: z.iso.datetime().nullable(),
  finished_at: z.iso.datetime().nullable(),
});
type JobAnswer = z.output<typeof jobAnswer>;

const listAnswer = z.object({ jobs: z.array(jobAnswer), next_page: z.string().nullable() });

async function ask(io: RuntimeIo, operation: Operation, path: string, init: RequestInit = {}): Promise<Response> {
  const endpoint = io.profile.spec.replicate?.endpoint ?? 'https://api.acme.example';
  const send = io.http.fetch({ ...operation, credentials: true });
  const headers = { ...init.headers, authorization: `Bearer ${io.credentials[KEY]}` };
  const response = await send(`${endpoint}${path}`, { ...init, headers });
  if (response.ok) return response;
  throw new RuntimeError(faultOf(response, operation), `acme ${operation.name}: answered ${response.status}`);
}

function faultOf({ status, headers }: Response, { once }: Operation): RuntimeFault {
  if (status === 401 || status === 403) return { kind: 'credentials' };
  if (status === 429) return { kind: 'throttled', retryAfterMs: (Number(headers.get('retry-after')) || 10) * 1000 };
  if (status >= 500) return { kind: once === undefined ? 'retryable' : 'unknownOutcome' };
  return { kind: status === 400 || status === 422 ? 'user' : 'terminal' };
}

/** Parses an answer; what cannot be read leaves a create in doubt. */
async function read<T>(response: Response, shape: z.ZodType<T>, fault: RuntimeFault): Promise<T> {
  try {
    return shape.parse(await response.json());
  } catch (cause) {
    throw new RuntimeError(fault, 'acme: the answer is not what its documentation says', cause);
  }
}

/** Undefined where the vendor does not know the job. */
async function readJob(io: RuntimeIo, id: string): Promise<JobAnswer | undefined> {
  try {
    const response = await ask(io, { class: 'polling', name: 'job read' }, `/v1/jobs/${id}`);
    return await read(response, jobAnswer, { kind: 'retryable' });
  } catch (error) {
    if (isStatus(error, 404)) return undefined;
    throw error;
  }
}

const isStatus = (error: unknown, ...statuses: number[]): boolean =>
  isRuntimeError(error) && statuses.some((status) => error.message.endsWith(`answered ${status}`));

interface AcmeRequest {
  readonly prompt: string;
  readonly max_seconds: number;
}

const digestOfInput = ({ prompt, max_seconds }: AcmeRequest): string => digestOf({ prompt, max_seconds });

function planFor(context: RuntimeContext): Plan | PlanRefusal {
  const { request, timeouts } = context.spec;
  const refusal = refuseJobFields(context.spec, 'acme');
  if (refusal !== undefined) return refusal;
  if (request?.prompt === undefined)
    return refuse('FieldNotSupported', 'spec.request.prompt: say what Acme shall make');
  if (request.capability !== 'generate')
    return refuse('CapabilityNotSupported', `spec.request.capability: Acme can generate, not ${request.capability}`);
  if (request.files !== undefined || request.options !== undefined)
    return refuse('FieldNotSupported', 'spec.request: Acme takes a prompt, and neither files nor options');
  const body: AcmeRequest = { prompt: request.prompt, max_seconds: timeouts.runSeconds };
  return {
    ok: true,
    context,
    creates: [`1 job at Acme, ended after ${body.max_seconds} s at the latest`],
    requestDigest: digestOfInput(body),
    request: body,
    deadlineSeconds: body.max_seconds,
  };
}

const refuse = (reason: PlanRefusal['reason'], message: string): PlanRefusal => ({ ok: false, reason, message });

const at = (time: string | null): number | undefined => (time === null ? undefined : Date.parse(time));

function stateOf(job: JobAnswer): WorkState {
  const startedAt = at(job.started_at);
  const end = (what: Pick<WorkEnd, 'outcome' | 'reason' | 'message'>): WorkEnd => ({
    at: 'ended',
    ...what,
    ...(startedAt !== undefined && { startedAt }),
    finishedAt: at(job.finished_at) ?? startedAt ?? Date.parse(job.created_at),
  });
  switch (job.status) {
    case 'queued':
      return { at: 'queued', message: 'Acme has accepted the job and has not started it.' };
    case 'running':
      return { at: 'running', startedAt: startedAt ?? Date.parse(job.created_at) };
    case 'succeeded':
      return end({ outcome: 'succeeded', reason: 'Completed', message: 'The job succeeded.' });
    case 'failed':
      return end({ outcome: 'failed', reason: 'VendorFailed', message: 'Acme reports that the job failed.' });
    case 'expired':
      return end({ outcome: 'failed', reason: 'VendorDeadline', message: 'Acme ended the job at its deadline.' });
    case 'cancelled':
      return end({ outcome: 'cancelled', reason: 'VendorCancelled', message: 'The job was cancelled.' });
  }
}

export class AcmeRuntime implements Runtime {
  readonly name = 'replicate'; // Borrowed: 'acme'.
  readonly traits: RuntimeTraits = {
    kind: 'Vendor',
    paid: true,
    // Registered is not production-backed: the platform team's profile or an adapter has to vouch for it.
    support: 'ProductionDisabled',
    idempotentCreate: false,
    marksWork: false,
    listLagMs: 10_000,
    pollMs: 5000,
    capabilities: ['generate'],
    credentials: [{ name: KEY, aliases: ['ACME_TOKEN'], required: true }],
    hosts: ['api.acme.example'],
  };

  async doctor(_profile: ProfileRef, io: RuntimeIo): Promise<DoctorLine[]> {
    try {
      await ask(io, { class: 'health', name: 'account read' }, '/v1/account');
      return [{ check: 'key', level: 'ok', message: 'Acme accepts the key.' }];
    } catch (error) {
      if (isRuntimeError(error, 'credentials')) return [{ check: 'key', level: 'error', message: error.message }];
      throw error;
    }
  }

  plan(context: RuntimeContext): Plan | PlanRefusal {
    return planFor(context);
  }

  async create(plan: Plan, io: RuntimeIo & { readonly once: SendOnce }): Promise<Handle> {
    const operation: Operation = { class: 'request', name: 'job create', capability: 'generate', once: io.once };
    const response = await ask(io, operation, '/v1/jobs', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(plan.request),
    });
    const job = await read(response, jobAnswer, { kind: 'unknownOutcome' });
    return { externalId: job.id, attempt: plan.context.attempt, createdAt: Date.parse(job.created_at) };
  }

  async observe(handles: readonly Handle[], io: RuntimeIo): Promise<ReadonlyMap<string, WorkState>> {
    const states = new Map<string, WorkState>();
    for (const { externalId } of handles) {
      const job = await readJob(io, externalId);
      states.set(externalId, job === undefined ? { at: 'gone' } : stateOf(job));
    }
    return states;
  }

  async collect(handle: Handle, _: RuntimeContext, sink: ResultSink, io: RuntimeIo): Promise<RuntimeResult> {
    const job = await readJob(io, handle.externalId);
    const started = at(job?.started_at ?? null);
    const finished = at(job?.finished_at ?? null);
    const durationSeconds = started === undefined || finished === undefined ? 0 : (finished - started) / 1000;
    const succeeded = job?.status === 'succeeded';
    return {
      exitCode: succeeded ? 0 : 1,
      durationSeconds,
      logPath: undefined,
      artifacts: succeeded ? [await copyOutput(handle, sink, io)] : [],
      // Undefined: from the profile's price and the duration.
      costEstimateUSD: undefined,
      metrics: succeeded ? { duration_seconds: durationSeconds } : {},
      metadata: { provider: 'acme' },
    };
  }

  async teardown({ externalId }: Handle, io: RuntimeIo): Promise<void> {
    try {
      await ask(io, { class: 'request', name: 'job cancel' }, `/v1/jobs/${externalId}/cancel`, { method: 'POST' });
    } catch (error) {
      // Over already, or unknown there: that is what was wanted.
      if (!isStatus(error, 404, 409)) throw error;
    }
  }

  async *list(since: number, io: RuntimeIo): AsyncIterable<FoundWork> {
    const after = new Date(since).toISOString();
    let page: string | null = '0';
    while (page !== null) {
      const query = new URLSearchParams({ created_after: after, page });
      const response: Response = await ask(io, { class: 'polling', name: 'job list' }, `/v1/jobs?${query}`);
      const answer: z.output<typeof listAnswer> = await read(response, listAnswer, { kind: 'retryable' });
      for (const job of answer.jobs) {
        yield {
          externalId: job.id,
          createdAt: Date.parse(job.created_at),
          requestDigest: digestOfInput(job.input),
          live: job.status === 'queued' || job.status === 'running',
        };
      }
      page = answer.next_page;
    }
  }
}

async function copyOutput({ externalId }: Handle, sink: ResultSink, io: RuntimeIo): Promise<StoredArtifact> {
  const what = { name: 'output', path: 'output.bin' };
  try {
    const operation: Operation = { class: 'download', name: 'output download' };
    const { body } = await ask(io, operation, `/v1/jobs/${externalId}/output`);
    return await sink.artifact({ ...what, contentType: 'application/octet-stream', body: buffers(body!) });
  } catch (error) {
    if (!isStatus(error, 404)) throw error;
    return { ...what, commit: false, state: 'Missing', message: 'Acme no longer has the output.' };
  }
}

async function* buffers(body: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  for await (const chunk of body) yield Buffer.from(chunk);
}
