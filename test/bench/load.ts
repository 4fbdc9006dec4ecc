import { availableParallelism, loadavg } from 'node:os';
import { Meter, type Usage } from './accounting.ts';
import type { Writes } from './audit.ts';
import { Driver, type Form, type Load, type Trace, type Who } from './driver.ts';
import { AGENT, type Entry } from './operator-process.ts';
import { openStage } from './stage.ts';

export interface LoadResult {
  form: Form;
  who: Who;
  load: Load;
  count: number;
  cores: number;
  /** Not terminal when patience ended. */
  unfinished: number;
  /** From the answer to the create until the Job was seen; milliseconds. */
  createToJobMs: Spread;
  /** From seeing the Job complete to seeing the run finished. */
  endToTerminalMs: Spread | undefined;
  /** From the first create to the last Job, and to the last terminal status. */
  jobsPerSecond: number;
  terminalPerSecond: number;
  usage: Usage;
  writes: Writes | undefined;
  eventLoopLagMs: { p50: number; p99: number; max: number } | undefined;
  /** Watches that the API server ended because the driver was too slow. */
  watchesCut: number;
  loadAverage: number;
}

export interface Spread {
  p50: number;
  p90: number;
  p99: number;
  max: number;
}

export const describeLoad = (load: Load): string =>
  'burst' in load ? `burst ${load.burst}` : `${load.perSecond}/s for ${load.seconds} s`;

/** Connections open and code warm, as in an operator that has been up for a while. */
const WARM_UP: Load = { perSecond: 10, seconds: 5 };

export async function measureLoad(form: Form, who: Who, load: Load, entry: Entry): Promise<LoadResult> {
  const loadAverage = loadavg()[0]!;
  const stage = await openStage({ form, who, entry });
  const driver = new Driver(stage.client, { who, endJobs: form === 'nojob' });
  try {
    await driver.watch();
    await driver.put(WARM_UP, 'warm');
    await stage.operator?.eventLoopLagMs();
    const mark = stage.audit.mark();
    const meter = new Meter(stage.pids());
    const traces = await driver.put(load, 'run');
    const usage = meter.stop();
    const eventLoopLagMs = await stage.operator?.eventLoopLagMs();
    const writes = who !== 'raw Job' ? await stage.audit.writesSince(mark, AGENT) : undefined;
    return {
      form,
      who,
      load,
      cores: availableParallelism(),
      ...spreads(traces, who),
      usage,
      writes,
      eventLoopLagMs,
      watchesCut: driver.watchesCut,
      loadAverage,
    };
  } finally {
    driver.stop();
    await stage.close();
  }
}

function spreads(traces: readonly Trace[], who: Who) {
  const first = Math.min(...traces.map((t) => t.sentAt));
  const rate = (times: (number | undefined)[]): number => {
    const seen = times.filter((t) => t !== undefined);
    return seen.length / ((Math.max(...seen) - first) / 1000);
  };
  // The watch can be ahead of the answer.
  const differences = (from: keyof Trace, to: keyof Trace) =>
    traces.flatMap((t) => (t[from] === undefined || t[to] === undefined ? [] : [Math.max(0, t[to] - t[from])]));
  return {
    count: traces.length,
    unfinished: traces.filter((t) => t.terminalAt === undefined).length,
    createToJobMs: spread(differences('answeredAt', 'jobSeenAt')),
    endToTerminalMs: who !== 'raw Job' ? spread(differences('jobEndSeenAt', 'terminalAt')) : undefined,
    jobsPerSecond: rate(traces.map((t) => t.jobSeenAt)),
    terminalPerSecond: rate(traces.map((t) => t.terminalAt)),
  };
}

/** Nearest rank. */
export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}
