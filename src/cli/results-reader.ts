import type { Readable } from 'node:stream';
import { isKubeError } from '../kube/errors.ts';
import type { HttpAnswer } from '../kube/transport.ts';
import { resultsPath, type ArtifactList, type ResultsPart, type ResultsQuery } from '../results/api/protocol.ts';
import { CliError } from './errors.ts';
import type { Session } from './session.ts';

type Ref = { namespace: string; name: string };

/** Asks the results API, and says what is wrong where it is not there. */
export async function openResult(
  { client, signal }: Pick<Session, 'client' | 'signal'>,
  run: Ref,
  part: ResultsPart,
  query: ResultsQuery = {},
  headers: Record<string, string> = {},
): Promise<HttpAnswer<Readable>> {
  try {
    return await client.open(resultsPath(run, part, query), { signal, headers });
  } catch (error) {
    // Without a reason it is no answer of the results API but of an API server that knows no such group.
    if (isKubeError(error, 'notFound') && error.reason === '')
      throw new CliError(
        'wrongState',
        'this cluster does not serve results.worldflux.ai: the operator’s chart has it off (resultsApi.enabled)',
        'kubectl worldflux doctor',
        error,
      );
    if (isKubeError(error, 'unavailable'))
      throw new CliError(
        'unreachable',
        'the operator does not serve results at present',
        'kubectl get apiservice v1alpha1.results.worldflux.ai',
        error,
      );
    if (isKubeError(error, 'notFound')) {
      const message = error.message.replace(`${error.request}: `, '');
      throw new CliError('notFound', message, `kubectl worldflux runs show ${run.name} -n ${run.namespace}`, error);
    }
    throw error;
  }
}

const LARGEST = 16 * 1024 * 1024;

/** A small result as text. */
export async function readResult(
  session: Session,
  run: Ref,
  part: ResultsPart,
  query: ResultsQuery = {},
): Promise<string> {
  const { body } = await openResult(session, run, part, query);
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += (chunk as Buffer).length;
    if (size > LARGEST) throw new CliError('failed', `the ${part} is larger than it can be`);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString('utf8');
}

export async function listArtifacts(session: Session, run: Ref): Promise<ArtifactList> {
  return JSON.parse(await readResult(session, run, 'artifacts')) as ArtifactList;
}
