import { setTimeout as sleep } from 'node:timers/promises';
import { dim, say } from './screen.ts';
import type { Target } from './target.ts';

/** The part of a WorldRun that the demo looks at. */
export interface Run {
  metadata: { name: string };
  status?: {
    phase?: string;
    conditions?: { type: string; status: string; reason: string; message: string; lastTransitionTime: string }[];
    progress?: { percent?: number; step?: number; etaSeconds?: number };
    manifest?: { metrics?: Record<string, number>; gpu?: { resource: string; per_node: number } | null };
    manifestDigest?: string;
    result?: { log?: { bytes: number; complete: boolean } };
    artifacts?: { name: string; sizeBytes?: number; sha256?: string; state: string }[];
    attempts?: { node?: string }[];
  };
}

export const RUN_NAMESPACE = 'worldflux-demo';
const LONGEST_WAIT_MS = 15 * 60_000;

export async function listRuns(target: Target): Promise<Run[]> {
  const text = await target.kubectl(['-n', RUN_NAMESPACE, 'get', 'worldruns', '-o', 'json']);
  return (JSON.parse(text) as { items: Run[] }).items;
}

export const condition = (run: Run, type: string) => run.status?.conditions?.find((c) => c.type === type);

/** Says what becomes of the runs until all have ended. A line for each change; each run's progress as it reports it. */
export async function watchRuns(target: Target, signal: AbortSignal): Promise<Run[]> {
  const since = performance.now();
  const said = new Map<string, string>();
  for (;;) {
    const runs = await listRuns(target);
    for (const run of runs) {
      const line = lineOf(run);
      if (said.get(run.metadata.name) === line) continue;
      said.set(run.metadata.name, line);
      const time = dim(`${((performance.now() - since) / 1000).toFixed(1).padStart(6)} s`);
      say(`  ${time}  ${run.metadata.name.padEnd(20)} ${line}`);
    }
    if (runs.length > 0 && runs.every((run) => condition(run, 'Finished')?.status === 'True')) return runs;
    if (performance.now() - since > LONGEST_WAIT_MS) throw new Error('the runs did not end in 15 minutes');
    await sleep(500, undefined, { signal });
  }
}

function lineOf(run: Run): string {
  const { phase = 'Pending', progress } = run.status ?? {};
  const ready = condition(run, 'Ready');
  const words = ready === undefined || ready.reason === phase ? phase : `${phase} (${ready.reason})`;
  if (phase !== 'Running' || progress?.percent === undefined) return words;
  const eta = progress.etaSeconds === undefined ? '' : `, about ${Math.round(progress.etaSeconds)} s to go`;
  return `${words} ${Math.round(progress.percent)} %${eta}`;
}
