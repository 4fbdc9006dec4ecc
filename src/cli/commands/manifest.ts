import { digestOf } from '../../crds/manifest.ts';
import type { WorldRun } from '../../results/api/world-run.ts';
import { answerOf, type Answer } from '../envelope.ts';
import { CliError } from '../errors.ts';
import { readResult } from '../results-reader.ts';
import { getRun, refOf, type Session } from '../session.ts';

/** The whole manifest, held against the digest that the run's status recorded. */
export async function manifest(session: Session, name: string): Promise<Answer<'Manifest'>> {
  const run = await getRun(session, name);
  const ref = refOf(run);
  const recorded = run.status?.manifestDigest;
  if (recorded === undefined)
    throw new CliError(
      'wrongState',
      `${name} has no manifest yet: it is ${run.status?.phase ?? 'Pending'}`,
      `kubectl wait -n ${ref.namespace} --for=condition=Finished worldrun/${name}`,
    );
  const found = inStatus(run) ?? (JSON.parse(await readResult(session, ref, 'manifest')) as Record<string, unknown>);
  const digest = digestOf(found);
  if (digest !== recorded)
    throw new CliError(
      'notVerified',
      `the manifest of ${name} has the digest ${digest}, and its status recorded ${recorded}`,
      `kubectl get worldrun ${name} -n ${ref.namespace} -o yaml`,
    );
  return answerOf('Manifest', { ...ref, digest, manifest: found }, JSON.stringify(found, null, 2));
}

/** A small manifest stands in the status whole: no further right is needed to read it. */
function inStatus({ status }: WorldRun): Record<string, unknown> | undefined {
  const found = status?.manifest;
  return found === undefined || found['excerpt'] === true ? undefined : found;
}
