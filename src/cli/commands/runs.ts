import { WORLD_RUNS, type WorldRun } from '../../results/api/world-run.ts';
import { answerOf, type Answer } from '../envelope.ts';
import { getRun, refOf, type Session } from '../session.ts';
import { age, duration, table } from '../table.ts';

export async function list(
  session: Session,
  options: { allNamespaces: boolean; project: string | undefined },
): Promise<Answer<'RunList'>> {
  const items = [];
  const namespace = options.allNamespaces ? undefined : session.namespace;
  for await (const run of session.client.list(WORLD_RUNS, { namespace, signal: session.signal })) {
    if (options.project === undefined || projectOf(run) === options.project) items.push(lineOf(run));
  }
  const where = options.allNamespaces ? 'this cluster' : `namespace ${session.namespace}`;
  const rows = items.map((run) => [
    ...(options.allNamespaces ? [run.namespace] : []),
    run.name,
    run.phase,
    run.reason,
    run.profile ?? '',
    run.durationSeconds === null ? '' : duration(run.durationSeconds),
    age(run.createdAt),
  ]);
  const head = [
    ...(options.allNamespaces ? ['NAMESPACE'] : []),
    'NAME',
    'PHASE',
    'REASON',
    'PROFILE',
    'DURATION',
    'AGE',
  ];
  return answerOf('RunList', { items }, rows.length === 0 ? `there are no WorldRuns in ${where}` : table(head, rows));
}

export async function show(session: Session, name: string): Promise<Answer<'Run'>> {
  const run = await getRun(session, name);
  const { status = {} } = run;
  const data = {
    ...lineOf(run),
    uid: run.metadata?.uid ?? '',
    message: ready(run)?.message ?? '',
    conditions: (status.conditions ?? []).map(({ type, status, reason, message = '' }) => ({
      type,
      status,
      reason,
      message,
    })),
    attemptList: (status.attempts ?? []).map(({ number, node, exitCode, reason }) => ({
      number,
      node: node ?? null,
      exitCode: exitCode ?? null,
      reason: reason ?? null,
    })),
    metrics: (status.manifest?.['metrics'] ?? {}) as Record<string, number>,
    costEstimateUSD: status.result?.costEstimateUSD ?? null,
    manifestDigest: status.manifestDigest ?? null,
    artifactCount: status.artifactCount ?? status.artifacts?.length ?? 0,
  };
  return answerOf('Run', data, describe(data));
}

type Run = Answer<'Run'>['data'];

function describe(run: Run): string {
  const facts: [string, string | null][] = [
    ['Name', `${run.namespace}/${run.name}`],
    ['Phase', `${run.phase} (${run.reason})`],
    ['', run.message],
    ['Profile', run.profile],
    ['Project', run.project],
    [
      'Attempts',
      run.attemptList
        .map(
          (a) =>
            `${a.number}: ${a.reason ?? 'open'}${a.exitCode === null ? '' : `, exit code ${a.exitCode}`}${a.node === null ? '' : `, on ${a.node}`}`,
        )
        .join('; '),
    ],
    ['Duration', run.durationSeconds === null ? null : duration(run.durationSeconds)],
    ['Cost', run.costEstimateUSD === null ? null : `${run.costEstimateUSD} USD, estimated`],
    [
      'Metrics',
      Object.entries(run.metrics)
        .map(([name, value]) => `${name}=${value}`)
        .join(' '),
    ],
    ['Manifest', run.manifestDigest],
    ['Artifacts', run.artifactCount === 0 ? null : String(run.artifactCount)],
    ['Results', wordsOf(run, 'ResultsStored', 'stored')],
    ['Sync', wordsOf(run, 'Synced', 'done')],
  ];
  const given = facts.filter(([, value]) => value !== null && value !== '');
  return table(
    ['', ''],
    given.map(([name, value]) => [name, value ?? '']),
  )
    .split('\n')
    .slice(1)
    .join('\n');
}

/** What a condition says; null where there is none. */
function wordsOf({ conditions }: Run, type: string, good: string): string | null {
  const found = conditions.find((condition) => condition.type === type);
  if (found === undefined) return null;
  return found.status === 'True' ? good : `${found.reason}: ${found.message}`;
}

const ready = ({ status }: WorldRun) => status?.conditions?.find((c) => c.type === 'Ready');
const projectOf = ({ spec }: WorldRun): string | undefined => spec.sync?.project;

function lineOf(run: WorldRun) {
  const { spec, status = {}, metadata } = run;
  return {
    ...refOf(run),
    phase: status.phase ?? 'Pending',
    reason: ready(run)?.reason ?? 'Pending',
    profile: status.profile?.name ?? spec.runtimeProfileRef?.name ?? null,
    project: projectOf(run) ?? null,
    attempts: status.attemptCount ?? 0,
    createdAt: metadata?.creationTimestamp ?? '',
    durationSeconds: status.result?.durationSeconds ?? null,
  };
}
