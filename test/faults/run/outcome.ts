import type { WorldRun } from '../../../src/controller/run/view.ts';
import type { ApiServer } from './api-server.ts';
import type { Expected } from './scenarios.ts';
import type { Simulation } from './simulation.ts';
import type { VendorInMemory } from './vendor.ts';

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
  if (simulation.vendor !== undefined) found.push(...atTheVendor(simulation, simulation.vendor));
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

/** Nothing is bought twice, nothing that was bought is forgotten, nothing runs on, and no finalizer is left. */
function atTheVendor({ api, orphans }: Simulation, vendor: VendorInMemory): string[] {
  const found: string[] = [];
  const claims = new Map<string, string>();
  let attempts = 0;
  const everySeen = new Map<string, string>();
  for (const { kind, object } of api.log) {
    if (kind !== 'runs') continue;
    const run = object as WorldRun;
    for (const attempt of run.status?.attempts ?? [])
      if (attempt.externalId !== undefined) everySeen.set(`${run.metadata?.uid}/${attempt.number}`, attempt.externalId);
  }
  for (const [attempt, externalId] of everySeen) {
    attempts += 1;
    const other = claims.get(externalId);
    if (other !== undefined) found.push(`${externalId} is claimed by ${other} and ${attempt}`);
    claims.set(externalId, attempt);
  }
  for (const work of vendor.works) {
    if (claims.has(work.id) || work.stoppedAt !== undefined) continue;
    found.push(`${work.id} was bought and nobody claims it`);
  }
  if (
    vendor.works.length >
    attempts + vendor.works.filter((w) => !claims.has(w.id) && w.stoppedAt !== undefined).length
  )
    found.push(`${vendor.works.length} pieces were bought for ${attempts} attempts`);
  for (const work of vendor.works) if (vendor.runsOn(work)) found.push(`${work.id} runs on`);
  for (const run of api.list('runs'))
    if ((run.metadata?.finalizers?.length ?? 0) > 0) found.push(`run ${run.metadata?.name} keeps its finalizer`);
  if (orphans.length > 0) found.push(`given up: ${orphans.join(', ')}`);
  return found;
}
