import type { WorkState } from '../contract.ts';
import { byCause, COMPLETED, endWithoutPods, type EndedPod, type JobEnd } from './job-end.ts';
import { queueWords, type JobView } from './job-view.ts';
import { podState, type PodView } from './pod-state.ts';

/**
 * From a Job and its pods as they were just read to where the work stands. Pure. `job` is undefined when it is gone; its
 * pods may outlive it by their grace period, and cost until then. `now`: milliseconds since the epoch.
 */
export function workState(
  job: (JobView & { readonly nodes: number }) | undefined,
  pods: readonly PodView[],
  now: number,
): WorkState {
  const states = pods.map(podState);
  const ended = states.filter((state): state is EndedPod => state.at === 'ended');
  const startedAt = earliest(states.flatMap((state) => ('startedAt' in state ? [state.startedAt] : [])));
  const end = ({ reason, message, exitCode }: JobEnd, at: string): WorkState => ({
    at: 'ended',
    outcome: reason === 'Completed' ? 'succeeded' : 'failed',
    reason,
    message,
    ...(exitCode !== undefined && { exitCode }),
    ...(startedAt !== undefined && { startedAt }),
    finishedAt: Date.parse(at) || now,
  });
  const lives = ended.length < states.length;
  if (job === undefined) return lives ? { at: 'running', startedAt: startedAt ?? now } : { at: 'gone' };
  const [failed] = ended.filter(({ ok }) => !ok).toSorted(byCause);
  if (failed !== undefined) return end(failed, failed.finishedAt);
  const hopeless = states.flatMap((state) => (state.at === 'waiting' && state.hopeless ? [state.hopeless] : []))[0];
  if (hopeless !== undefined) return end({ ...hopeless, exitCode: undefined }, '');
  const isWhole = ended.length >= job.nodes && !lives;
  if (isWhole || (job.end?.status === 'Complete' && !lives))
    return end(COMPLETED, ended.at(-1)?.finishedAt ?? job.end!.at);
  if (job.end !== undefined && !lives) return end(endWithoutPods(job.end), job.end.at);
  if (startedAt !== undefined) return { at: 'running', startedAt };
  return { at: 'queued', message: whyItWaits(job, states) };
}

function whyItWaits(job: JobView, states: readonly ReturnType<typeof podState>[]): string {
  const waiting = states.find((state) => state.at === 'waiting');
  if (waiting !== undefined) return waiting.message;
  return job.suspended ? queueWords(job) : 'The Job has no pod yet.';
}

function earliest(times: readonly (string | undefined)[]): number | undefined {
  const known = times.map((time) => Date.parse(time ?? '')).filter((time) => !Number.isNaN(time));
  return known.length === 0 ? undefined : Math.min(...known);
}
