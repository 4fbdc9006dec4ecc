import type { LiveRun } from './view.ts';
import type { PodView, PodState } from '../../runtime/local/pod-state.ts';

/**
 * The three clocks of a run, in seconds, over all its attempts: waiting for a place, starting, running. They stop while
 * the run is suspended. All of it is derived from the status and the pods: nothing ticks.
 */
export interface Clocks {
  queueSeconds: number;
  startupSeconds: number;
  runSeconds: number;
}

export interface AttemptTimes {
  /** Every pod has a node; milliseconds since the epoch. */
  scheduledAt: number | undefined;
  /** Every user container has started. */
  startedAt: number | undefined;
  /** All have ended, or one has failed. */
  finishedAt: number | undefined;
}

const time = (text: string | undefined): number | undefined => {
  const ms = Date.parse(text ?? '');
  return Number.isNaN(ms) ? undefined : ms;
};

/** The latest of all, or undefined while one is missing. */
function latest(times: readonly (number | undefined)[]): number | undefined {
  if (times.length === 0 || times.includes(undefined)) return undefined;
  return Math.max(...(times as number[]));
}

export function attemptTimes(nodes: number, pods: readonly { pod: PodView; state: PodState }[]): AttemptTimes {
  const complete = pods.length >= nodes;
  const startedAt = pods.map(({ state }) => (state.at === 'waiting' ? undefined : time(state.startedAt)));
  const ended = pods.map(({ state }) => state).filter((state) => state.at === 'ended');
  // One node that is done does not stop the clock of the others; one that failed ends them all.
  const isOver = (complete && ended.length === pods.length) || ended.some((state) => !state.ok);
  const finished = ended.map((state) => time(state.finishedAt)).filter((t) => t !== undefined);
  return {
    scheduledAt: complete ? latest(pods.map(({ pod }) => time(pod.scheduledAt))) : undefined,
    startedAt: complete ? latest(startedAt) : undefined,
    finishedAt: isOver && finished.length > 0 ? Math.max(...finished) : undefined,
  };
}

/** When the present wait began. */
export function queuedSince(run: LiveRun): number {
  return time(run.status.queuedSince) ?? time(run.createdAt) ?? 0;
}

const seconds = (from: number | undefined, to: number): number =>
  from === undefined ? 0 : Math.max(0, (to - from) / 1000);

/**
 * Time used up to `now`, with the open attempt at `times`. While the status says Suspended nothing waits; the first
 * write after a resume begins the next wait.
 */
export function clocksAt(run: LiveRun, times: AttemptTimes, now: number): Clocks {
  const used = run.status.clocks ?? { queueSeconds: 0, startupSeconds: 0, runSeconds: 0 };
  const end = times.finishedAt ?? now;
  return {
    queueSeconds:
      used.queueSeconds + (run.status.phase === 'Suspended' ? 0 : seconds(queuedSince(run), times.scheduledAt ?? now)),
    startupSeconds: used.startupSeconds + seconds(times.scheduledAt, times.startedAt ?? end),
    runSeconds: used.runSeconds + seconds(times.startedAt, end),
  };
}

export const NO_TIMES: AttemptTimes = { scheduledAt: undefined, startedAt: undefined, finishedAt: undefined };
