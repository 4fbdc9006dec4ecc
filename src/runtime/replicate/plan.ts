import { digestOf } from '../../crds/manifest.ts';
import type { Capability } from '../../crds/vocabulary.ts';
import type { Plan, PlanRefusal, RuntimeContext } from '../contract.ts';
import { refuseJobFields } from '../job-fields.ts';
import { describeTarget, targetKey, targetOf, type Target } from './target.ts';

/** What a run asks of the vendor. Pure. */

/** A model answers these with a value or with files, which are kept as they are. Actions and scores have a shape of their own. */
export const CAPABILITIES: readonly Capability[] = ['generate', 'predict', 'reason', 'embed', 'transfer'];

/** The least that the vendor takes for `Cancel-After`. */
const LEAST_DEADLINE_SECONDS = 5;

export interface PredictionRequest {
  readonly target: Target;
  /** Without the inputs that are files. */
  readonly input: Readonly<Record<string, unknown>>;
  readonly files: readonly InputFile[];
}

export interface InputFile {
  /** The model's input that takes it. */
  readonly input: string;
  /** Lower-case hex. */
  readonly sha256: string;
  /** Its path in the source. */
  readonly path: string;
}

export function plan(context: RuntimeContext): Plan | PlanRefusal {
  const { spec, profile } = context;
  const { request } = spec;
  const refusal = refuseJobFields(spec, 'replicate') ?? refuseRequest(context);
  if (refusal !== undefined) return refusal;
  const target = targetOf(profile.spec.replicate!);
  const { prompt, options = {}, files = [] } = request!;
  const asked: PredictionRequest = {
    target,
    input: { ...(prompt === undefined ? {} : { prompt }), ...options },
    files: files.map(({ input, path }) => ({ input, path, sha256: context.files.get(path)!.sha256 })),
  };
  // Waiting and booting there count from the moment when it is accepted, as the run's own clocks do.
  const deadlineSeconds = Math.max(LEAST_DEADLINE_SECONDS, spec.timeouts.startupSeconds + spec.timeouts.runSeconds);
  return {
    ok: true,
    context,
    creates: [
      `a prediction with ${describeTarget(target)}, ended by Replicate after ${deadlineSeconds} s at the latest`,
      ...asked.files.map(
        ({ path, input }) => `an uploaded file for input ${input} (${path}), unless it is there already`,
      ),
    ],
    requestDigest: requestDigest(target, {
      ...asked.input,
      ...Object.fromEntries(asked.files.map(({ input, sha256 }) => [input, fileInDigest(sha256)])),
    }),
    request: asked,
    deadlineSeconds,
  };
}

/**
 * What a request is told by: its target and its input, a file in it by its content. Nothing that the vendor does not
 * give back with the prediction goes in (deadline, webhook), so that the same digest can be computed from its list.
 * Statuses hold it: were it computed otherwise one day, what an older operator has sent would not be found again.
 */
export function requestDigest(target: Target, input: unknown): string {
  return digestOf({ target: targetKey(target), input });
}

export const fileInDigest = (sha256: string): Record<string, string> => ({ 'worldflux.ai/file': sha256 });

function refuseRequest({ spec, files }: RuntimeContext): PlanRefusal | undefined {
  const { request } = spec;
  const refuse = (message: string): PlanRefusal => ({ ok: false, reason: 'FieldNotSupported', message });
  if (request === undefined)
    return refuse('spec.request: say what the model is asked, such as {prompt: "…"} or options as its inputs');
  if (!CAPABILITIES.includes(request.capability))
    return {
      ok: false,
      reason: 'CapabilityNotSupported',
      message: `spec.request.capability: replicate does ${CAPABILITIES.join(', ')}, not ${request.capability}`,
    };
  const named = request.files ?? [];
  if (spec.source !== undefined && named.length === 0)
    return refuse('spec.source: a hosted model reads no source; name the files that it takes in spec.request.files');
  if (named.length > 0 && spec.source?.configMap === undefined)
    return refuse('spec.request.files: set spec.source.configMap, whose keys they are');
  for (const { input, path } of named) {
    if (!files.has(path)) return refuse(`spec.request.files: the source holds no ${path}`);
    if (Object.hasOwn(request.options ?? {}, input) || (input === 'prompt' && request.prompt !== undefined))
      return refuse(`spec.request.files: input ${input} is set in spec.request as well; leave one of them out`);
  }
  const foreign = Object.entries(request.options ?? {}).find(([, value]) => namesUpload(value));
  if (foreign !== undefined)
    return refuse(
      `spec.request.options.${foreign[0].slice(0, 64)}: files of the vendor’s account are not referenced by URL; name a file of the source in spec.request.files`,
    );
  return undefined;
}

/** An upload is the account's, and so every tenant's who uses the profile: nobody reaches into another's by its URL. */
function namesUpload(value: unknown): boolean {
  if (typeof value === 'string') return uploadId(value) !== undefined;
  if (typeof value !== 'object' || value === null) return false;
  return Object.values(value).some(namesUpload);
}

/** The id of the uploaded file that a URL names, whatever the host: a gateway may show itself or the vendor. */
export function uploadId(value: string): string | undefined {
  if (!/^https?:/i.test(value) || !URL.canParse(value)) return undefined;
  return /\/files\/([A-Za-z0-9_-]{1,128})(?:\/download)?\/?$/.exec(new URL(value).pathname)?.[1];
}
