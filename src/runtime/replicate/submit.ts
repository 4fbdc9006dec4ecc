import { z } from 'zod';
import type { Handle, Plan, RuntimeIo, SendOnce } from '../contract.ts';
import { prediction, PREDICTION_ID, type Prediction } from './answers.ts';
import { ask } from './client.ts';
import type { PredictionRequest } from './plan.ts';
import type { Target } from './target.ts';

/** What the answer must hold for the work to be ours to look after. */
const created = z.looseObject({ id: z.string().regex(PREDICTION_ID) });

/**
 * The one request that costs, sent once. `urls`: of the files, by digest. Throws RuntimeError; the answer's own view of
 * the prediction is undefined where it is not understood.
 */
export async function submit(
  { context, request, deadlineSeconds }: Plan,
  urls: ReadonlyMap<string, string>,
  io: RuntimeIo & { readonly once: SendOnce },
): Promise<{ handle: Handle; answered: Prediction | undefined }> {
  const { target, input, files } = request as PredictionRequest;
  const { webhookURL } = io.profile.spec.replicate!;
  const data = {
    ...(target.kind === 'version' ? { version: target.id } : {}),
    input: { ...input, ...Object.fromEntries(files.map((file) => [file.input, urls.get(file.sha256)])) },
    ...(webhookURL === undefined ? {} : { webhook: webhookURL, webhook_events_filter: ['completed'] }),
  };
  const answer = await ask(
    io,
    {
      class: 'request',
      name: 'prediction create',
      runId: context.runId,
      capability: context.spec.request?.capability ?? 'unknown',
      once: io.once,
    },
    // Not the library's own create: that rewrites inputs on the way, and loses all of them over a key like `toString`.
    async (replicate) => (await replicate.request(routeOf(target), { method: 'POST', data })).json(),
    created,
    { creates: true, headers: { 'cancel-after': `${deadlineSeconds}s` } },
  );
  const answered = prediction.safeParse(answer).data;
  return {
    handle: { externalId: answer.id, attempt: context.attempt, createdAt: answered?.createdAt ?? io.now() },
    answered,
  };
}

function routeOf(target: Target): string {
  switch (target.kind) {
    case 'version':
      return '/predictions';
    case 'model':
      return `/models/${target.name}/predictions`;
    case 'deployment':
      return `/deployments/${target.name}/predictions`;
  }
}
