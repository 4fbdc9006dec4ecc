import type Replicate from 'replicate';
import { z } from 'zod';
import type { Handle, Plan, RuntimeIo, SendOnce } from '../contract.ts';
import { prediction, PREDICTION_ID, type Prediction } from './answers.ts';
import { ask } from './client.ts';
import type { PredictionRequest } from './plan.ts';

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
  const body = {
    input: { ...input, ...Object.fromEntries(files.map((file) => [file.input, urls.get(file.sha256)])) },
    ...(webhookURL === undefined ? {} : { webhook: webhookURL, webhook_events_filter: ['completed' as const] }),
  };
  const send = (replicate: Replicate): Promise<unknown> => {
    switch (target.kind) {
      case 'model':
        return replicate.predictions.create({ ...body, model: target.name });
      case 'version':
        return replicate.predictions.create({ ...body, version: target.id });
      case 'deployment': {
        const [owner = '', name = ''] = target.name.split('/');
        return replicate.deployments.predictions.create(owner, name, body);
      }
    }
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
    send,
    created,
    { creates: true, headers: { 'cancel-after': `${deadlineSeconds}s` } },
  );
  const answered = prediction.safeParse(answer).data;
  return {
    handle: { externalId: answer.id, attempt: context.attempt, createdAt: answered?.createdAt ?? io.now() },
    answered,
  };
}
