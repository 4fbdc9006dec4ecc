import type { Readable } from 'node:stream';
import { isKubeError } from '../../kube/errors.ts';
import { pause } from '../../kube/pause.ts';
import type { WorldRun } from '../../results/api/world-run.ts';
import { answerOf, type Answer } from '../envelope.ts';
import { CliError } from '../errors.ts';
import { CONTAINER, podsOf, type RunPod } from '../pods.ts';
import { openResult } from '../results-reader.ts';
import { getRun, isFinished, refOf, type Session } from '../session.ts';

export interface LogsOptions {
  follow: boolean;
  rank: number;
  /** The last one when absent. */
  attempt: number | undefined;
}

const LOOK_AGAIN_MS = 1000;

/** The log from the pod while there is one, and from the run store when it is gone. */
export async function logs(session: Session, name: string, options: LogsOptions): Promise<Answer | undefined> {
  if (options.follow && session.json)
    throw new CliError(
      'usage',
      '-f prints lines as they come, --json one document: use one of them',
      `kubectl worldflux logs ${name} --json`,
    );
  const run = await getRun(session, name);
  if (options.follow) return follow(session, name, options);
  const pod = (await podsOf(session, run, options.rank)).find(
    ({ attempt, started }) => started && (options.attempt ?? attempt) === attempt,
  );
  const live = pod === undefined ? undefined : await openPodLog(session, run, pod, false);
  if (live !== undefined) return deliver(session, run, 'pod', live);
  return deliver(session, run, 'store', await openStored(session, run, options));
}

/** From attempt to attempt until the run has ended. */
async function follow(session: Session, name: string, options: LogsOptions): Promise<undefined> {
  const { signal } = session;
  const shown = new Set<string>();
  for (;;) {
    const run = await getRun(session, name);
    const pods = await podsOf(session, run, options.rank);
    const next = pods
      .toReversed()
      .find(({ uid, attempt, started }) => started && !shown.has(uid) && (options.attempt ?? attempt) === attempt);
    const live = next === undefined ? undefined : await openPodLog(session, run, next, true);
    if (next !== undefined && live !== undefined) {
      shown.add(next.uid);
      await copy(session, live);
      continue;
    }
    if (isFinished(run)) {
      if (shown.size === 0) await copy(session, await openStored(session, run, options));
      return undefined;
    }
    await pause(LOOK_AGAIN_MS, signal);
    signal.throwIfAborted();
  }
}

/** Undefined when there is nothing to read from it, or no right to. */
async function openPodLog(
  { client, signal }: Session,
  run: WorldRun,
  pod: RunPod,
  following: boolean,
): Promise<Readable | undefined> {
  const { namespace } = refOf(run);
  try {
    return await client.podLogStream(
      { namespace, name: pod.name },
      { container: CONTAINER, follow: following, signal },
    );
  } catch (error) {
    // Gone meanwhile, not started after all, its node does not answer, or forbidden.
    if (isKubeError(error, 'notFound', 'invalid', 'forbidden', 'serverError', 'unavailable')) return undefined;
    throw error;
  }
}

async function openStored(session: Session, run: WorldRun, { rank, attempt }: LogsOptions): Promise<Readable> {
  const ref = refOf(run);
  try {
    return (await openResult(session, ref, 'log', { rank: rank === 0 ? undefined : rank, attempt })).body;
  } catch (error) {
    if (error instanceof CliError && error.code === 'notFound' && !isFinished(run))
      throw new CliError(
        'wrongState',
        `${ref.name} has no log yet: it is ${run.status?.phase ?? 'Pending'}`,
        `kubectl worldflux logs -f ${ref.name} -n ${ref.namespace}`,
        error,
      );
    throw error;
  }
}

async function deliver(
  session: Session,
  run: WorldRun,
  source: 'pod' | 'store',
  stream: Readable,
): Promise<Answer | undefined> {
  if (!session.json) {
    await copy(session, stream);
    return undefined;
  }
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString('utf8');
  return answerOf('Log', { ...refOf(run), source, text }, text);
}

/** No faster than the reader takes it. */
async function copy({ stdout, signal }: Session, stream: Readable): Promise<void> {
  for await (const chunk of stream) {
    if (stdout.write(chunk)) continue;
    await new Promise<void>((resolve) => {
      const on = (): void => {
        stdout.off('drain', on);
        signal.removeEventListener('abort', on);
        resolve();
      };
      stdout.once('drain', on);
      signal.addEventListener('abort', on, { once: true });
    });
  }
}
