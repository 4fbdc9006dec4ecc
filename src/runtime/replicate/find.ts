import { z } from 'zod';
import { digestOf } from '../../crds/manifest.ts';
import type { FoundWork, RuntimeIo } from '../contract.ts';
import { RuntimeError } from '../errors.ts';
import { deployment, prediction, PREDICTION_ID, type Prediction } from './answers.ts';
import { ask } from './client.ts';
import { isRefused } from './faults.ts';
import { pages } from './pages.ts';
import { fileInDigest, requestDigest } from './plan.ts';
import { mayBeOf, targetOf, type Target } from './target.ts';
import type { Uploads } from './uploads.ts';

const ENDED = new Set(['succeeded', 'failed', 'canceled', 'aborted']);
const named = z.looseObject({ id: z.string().regex(PREDICTION_ID) });

export interface FindOptions {
  /** Milliseconds since the epoch. */
  readonly since: number;
  readonly uploads: Uploads;
}

/**
 * The account's predictions since a time, newest first. The vendor keeps no mark of ours, so that others' are among
 * them; those that cannot have been asked for by this profile have a digest that no plan has. The others are doubtful whatever
 * their digest is: a model's inputs may come back completed or rounded, and nothing tells which model does that.
 */
export async function* find({ since, uploads }: FindOptions, io: RuntimeIo): AsyncGenerator<FoundWork> {
  const target = targetOf(io.profile.spec.replicate!);
  const releaseModel = target.kind === 'deployment' ? await modelOfRelease(target.name, io) : undefined;
  for await (const rows of pages(io, { class: 'polling', name: 'prediction list' }, '/predictions')) {
    for (const row of rows) {
      const { data } = prediction.safeParse(row);
      if (data === undefined) {
        // Not understood, so it may be anybody's: nothing is concluded from its absence.
        const id = named.safeParse(row).data?.id;
        if (id === undefined)
          throw new RuntimeError({ kind: 'terminal' }, 'replicate prediction list: an entry has no id');
        yield { externalId: id, createdAt: since, requestDigest: undefined, live: true };
        continue;
      }
      if (data.createdAt < since) return;
      // Made by a person in the vendor's playground.
      if (data.source === 'web') continue;
      const mayBeOurs = mayBeOf(target, data, releaseModel);
      yield {
        externalId: data.id,
        createdAt: data.createdAt,
        requestDigest: mayBeOurs ? await digestOfAnswer(target, data, uploads, io) : digestOf({ other: data.id }),
        live: !ENDED.has(data.status),
        ...(mayBeOurs && { doubtful: true }),
      };
    }
  }
}

/** As {@link requestDigest} has it of the plan; undefined where the vendor no longer has all of the request. */
export async function digestOfAnswer(
  target: Target,
  { dataRemoved, input }: Prediction,
  uploads: Uploads,
  io: RuntimeIo,
): Promise<string | undefined> {
  if (dataRemoved || typeof input !== 'object' || input === null) return undefined;
  const plain = await uploads.withoutUrls(input, fileInDigest, io);
  return plain.known ? requestDigest(target, plain.input) : undefined;
}

async function modelOfRelease(name: string, io: RuntimeIo): Promise<string | undefined> {
  const [owner = '', short = ''] = name.split('/');
  try {
    const { current_release } = await ask(
      io,
      { class: 'polling', name: 'deployment get' },
      (replicate) => replicate.deployments.get(owner, short),
      deployment,
    );
    return current_release?.model;
  } catch (error) {
    if (isRefused(error, 404)) return undefined;
    throw error;
  }
}
