import { isKubeError } from '../../kube/errors.ts';
import { WORLD_RUNS, type WorldRun } from '../../results/api/world-run.ts';
import { answerOf, type Answer } from '../envelope.ts';
import { CliError } from '../errors.ts';
import { getRun, isFinished, refOf, type Session } from '../session.ts';

/** Flux takes back, at its next round, what a manager changed whose name begins with `kubectl`; and a cancel cannot be taken back. */
const FIELD_MANAGER = 'worldflux-cli';

/** Stops a run for good; what it has written is collected first. A second time changes nothing. */
export async function cancel(session: Session, name: string): Promise<Answer<'Cancel'>> {
  const run = await getRun(session, name);
  const ref = refOf(run);
  if (isFinished(run))
    throw new CliError(
      'wrongState',
      `${name} has already ended: ${run.status?.phase ?? ''}`,
      `kubectl worldflux runs show ${name} -n ${ref.namespace}`,
    );
  const changed = run.spec.cancel !== true;
  if (changed) await change(session, run, { spec: { cancel: true } });
  return answerOf(
    'Cancel',
    { ...ref, changed },
    changed ? `${name} is being cancelled` : `${name} is already being cancelled`,
  );
}

/** Any other value than before asks for a sync now. */
export const SYNC_ANNOTATION = 'worldflux.ai/sync';

/** Sends the results of a run that has ended to WorldFlux, now. */
export async function sync(session: Session, name: string): Promise<Answer<'Sync'>> {
  const run = await getRun(session, name);
  const ref = refOf(run);
  if (!isFinished(run))
    throw new CliError(
      'wrongState',
      `${name} has not ended: it is ${run.status?.phase ?? 'Pending'}`,
      `kubectl wait -n ${ref.namespace} --for=condition=Finished worldrun/${name}`,
    );
  const synced = run.status?.conditions?.find(({ type }) => type === 'Synced');
  // Whatever is to be sent one day says so. A request that nobody will look at must not be waited for.
  if (synced === undefined || synced.reason === 'SyncDisabled')
    throw new CliError(
      'wrongState',
      synced?.message ?? `${name} is sent nowhere: neither it nor its profile asks for a sync (spec.sync)`,
      `kubectl worldflux runs show ${name} -n ${ref.namespace}`,
    );
  const request = new Date().toISOString();
  const merge = { metadata: { annotations: { [SYNC_ANNOTATION]: request } } };
  await change(session, run, merge);
  const text = `asked for the sync of ${name}\nwait for it: kubectl wait -n ${ref.namespace} --for=condition=Synced worldrun/${name}`;
  return answerOf('Sync', { ...ref, request }, text);
}

/** Every change that the plugin makes to a run that is there. */
export async function change(session: Session, run: WorldRun, merge: object): Promise<void> {
  const options = { fieldManager: FIELD_MANAGER, signal: session.signal };
  await session.client.patch(WORLD_RUNS, refOf(run), { merge }, options);
}

/** The record that this annotation names is not adopted by the new run: it is executed. */
export const RERUN_ANNOTATION = 'worldflux.ai/rerun';
const MOST_NAMES = 100;

/** A new run from the spec of one that has ended. Marks of whoever applied the old one do not go along. */
export async function retry(session: Session, name: string, newName: string | undefined): Promise<Answer<'Retry'>> {
  const run = await getRun(session, name);
  const ref = refOf(run);
  if (!isFinished(run))
    throw new CliError(
      'wrongState',
      `${name} has not ended: it is ${run.status?.phase ?? 'Pending'}`,
      `kubectl worldflux cancel ${name} -n ${ref.namespace}`,
    );
  const { cancel: _cancel, suspend: _suspend, ...spec } = run.spec;
  const runId = run.status?.runId;
  const annotations = spec.runKey !== undefined && runId !== undefined ? { [RERUN_ANNOTATION]: runId } : undefined;
  for (const candidate of newName === undefined ? names(name) : [newName]) {
    const wanted = {
      metadata: { namespace: ref.namespace, name: candidate, ...(annotations && { annotations }) },
      spec: spec as WorldRun['spec'],
    };
    try {
      await session.client.create(WORLD_RUNS, wanted, {
        strict: true,
        fieldManager: FIELD_MANAGER,
        signal: session.signal,
      });
      const text = `${candidate} is made from the spec of ${name}\nfollow it: kubectl worldflux logs -f ${candidate} -n ${ref.namespace}`;
      return answerOf('Retry', { namespace: ref.namespace, name: candidate, of: name }, text);
    } catch (error) {
      if (!isKubeError(error, 'alreadyExists')) throw error;
    }
  }
  throw new CliError(
    'wrongState',
    `${newName ?? `every name up to ${name}-retry-${MOST_NAMES}`} is taken`,
    `kubectl worldflux retry ${name} --name NEW-NAME -n ${ref.namespace}`,
  );
}

/** `a`, `a-retry-1` → `a-retry-1`, `a-retry-2`, …; long names are cut so that Kubernetes takes them. */
function* names(old: string): Generator<string> {
  const base = old
    .replace(/-retry-\d+$/, '')
    .slice(0, 240)
    .replace(/[-.]+$/, '');
  for (let number = 1; number <= MOST_NAMES; number += 1) yield `${base}-retry-${number}`;
}
