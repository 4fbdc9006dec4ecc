import type { ApiServer } from './api-server.ts';
import type { Expected } from './scenarios.ts';
import type { Simulation } from './simulation.ts';

/** How every run ended, in the words that `Expected` uses. */
export function outcome({ api }: Simulation, names: readonly string[]): Omit<Expected, 'resultsAfterCrash'> {
  const ends: Record<string, string> = {};
  const attempts: string[] = [];
  for (const name of names) {
    const run = api.get('runs', `team/${name}`);
    ends[name] =
      run === undefined
        ? 'gone'
        : `${run.status?.phase} ${run.status?.conditions?.find((c) => c.type === 'Ready')?.reason}`;
    attempts.push(...(run?.status?.attempts ?? []).map((a) => a.reason ?? 'open'));
  }
  const results = api
    .get('runs', `team/${names[0]}`)
    ?.status?.conditions?.find((c) => c.type === 'ResultsStored')?.reason;
  return { ends, attempts, ...(results !== undefined && { results }) };
}

export const allSettled = (api: ApiServer, names: readonly string[]): boolean =>
  names.every((name) => {
    const run = api.get('runs', `team/${name}`);
    return (
      run === undefined ||
      run.status?.phase === 'Refused' ||
      run.status?.conditions?.some((c) => c.type === 'Finished' && c.status === 'True')
    );
  });

/** The ends that are right when the process died on the way. */
export function rightAfterCrash({ resultsAfterCrash, ...expected }: Expected): Omit<Expected, 'resultsAfterCrash'>[] {
  return [expected, ...(resultsAfterCrash === undefined ? [] : [{ ...expected, results: resultsAfterCrash }])];
}

/** What must never be, whatever happened: each as a sentence. */
export function violations(simulation: Simulation, names: readonly string[]): string[] {
  const { api } = simulation;
  const found: string[] = [];
  const jobs = api.log
    .filter((event) => event.kind === 'jobs' && event.type === 'ADDED')
    .map(({ object }) => object.metadata?.name);
  const twice = jobs.filter((name, i) => jobs.indexOf(name) !== i);
  if (twice.length > 0) found.push(`Jobs that were created twice: ${twice.join(', ')}`);
  for (const job of api.list('jobs')) {
    if (!job.status?.conditions?.some((c) => c.type === 'Complete' || c.type === 'Failed'))
      found.push(`Job ${job.metadata?.name} is still there and has not ended`);
  }
  for (const pod of api.list('pods')) {
    if (pod.status?.phase === 'Running' || pod.status?.phase === 'Pending')
      found.push(`pod ${pod.metadata?.name} still runs`);
  }
  for (const name of names) found.push(...afterTheEnd(api, name));
  return [...new Set([...found, ...simulation.failures, ...simulation.listenerErrors.map(String)])];
}

/** A terminal run never creates anything again. */
function afterTheEnd(api: ApiServer, name: string): string[] {
  const end = api.log.findIndex(
    ({ kind, object }) =>
      kind === 'runs' &&
      object.metadata?.name === name &&
      (object as { status?: { conditions?: { type: string; status: string }[] } }).status?.conditions?.some(
        (c) => c.type === 'Finished' && c.status === 'True',
      ),
  );
  if (end === -1) return [];
  const { uid } = api.log[end]!.object.metadata!;
  return api.log
    .slice(end)
    .filter(
      ({ kind, type, object }) =>
        type === 'ADDED' &&
        (kind === 'jobs' || kind === 'services') &&
        object.metadata?.ownerReferences?.some((o) => o.uid === uid),
    )
    .map(({ kind, object }) => `${kind} ${object.metadata?.name} was created after the end of run ${name}`);
}
