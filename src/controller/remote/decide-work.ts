import type { WorkEnd } from '../../runtime/contract.ts';
import type { End } from '../run/attempt-end.ts';
import { iso } from '../run/attempt.ts';
import { closeAs, type Stop } from '../run/closing.ts';
import type { Decision } from '../run/decision.ts';
import type { Situation } from '../run/situation.ts';
import { writeOrWait } from '../run/status.ts';
import { UNCOUNTED } from '../run/world.ts';
import { DEADLINE_MARGIN_MS } from './decide-submit.ts';
import { shownVendorAttempt, type VendorAttempt } from './attempt.ts';

/** The vendor has the work: wait, stop, collect, and have the last word. */

/** Asked to stop again if it still runs. */
const STOP_AGAIN_MS = 30_000;
const COLLECT_PAUSE_MS = 5000;

export function decideWork(attempt: VendorAttempt): Decision {
  const { vendor, open, world } = attempt;
  // The id is worth a write of its own: with it a crash costs nothing.
  if (open.externalId === undefined) return say(attempt, queued('The vendor has accepted the work.'), Infinity);
  const { work } = vendor;
  if (work?.at === 'ended') return settle(attempt, endOf(attempt, work));
  const stop = stopOf(attempt);
  if (work?.at === 'gone') {
    const message = `The vendor does not know ${open.externalId} any more; it is not sent again.`;
    return close(attempt, stop ?? { reason: 'WorkLost', message, exitCode: undefined });
  }
  if (stop !== undefined) return halt(attempt, stop);
  if (world.now > attempt.deadlineAt + DEADLINE_MARGIN_MS && !vendor.access.ready)
    return close(attempt, {
      reason: 'CredentialsRefused',
      message: `The vendor-side deadline has passed and the work could not be looked at: ${vendor.access.message}`,
      exitCode: undefined,
    });
  return watch(attempt);
}

function watch(attempt: VendorAttempt): Decision {
  const { vendor, world, clocks, open } = attempt;
  const { timeouts } = world.run.spec;
  const { work, pollBudgetMs = Infinity } = vendor;
  const budget = Date.parse(open.intent.recordedAt) + pollBudgetMs - world.now;
  if (work?.at === 'running')
    return say(
      attempt,
      { is: 'running', message: 'The vendor works on it.' },
      Math.min(budget, (timeouts.runSeconds - clocks.runSeconds) * 1000),
    );
  const left = Math.min(budget, (timeouts.startupSeconds - clocks.startupSeconds) * 1000);
  return say(attempt, queued(work?.at === 'queued' ? work.message : 'The vendor has accepted the work.'), left);
}

const queued = (message: string): Situation => ({ is: 'waiting', reason: 'VendorQueued', message, admitted: true });

/** Why the operator itself must end the work now. */
function stopOf({ world, vendor, open, clocks, times }: VendorAttempt): Stop | undefined {
  const { cancel, suspend, timeouts } = world.run.spec;
  if (cancel) return { reason: 'Cancelled', message: 'spec.cancel was set.' };
  if (suspend) return { reason: UNCOUNTED.suspended, message: 'spec.suspend was set.' };
  // Counted from the recorded intent: a restart gives no new budget.
  if (vendor.pollBudgetMs !== undefined && world.now >= Date.parse(open.intent.recordedAt) + vendor.pollBudgetMs)
    return {
      reason: 'BudgetExceeded',
      message: `The work did not end within requestPolicy.polling.maxElapsedSeconds (${vendor.pollBudgetMs / 1000} s).`,
    };
  if (times.startedAt !== undefined && clocks.runSeconds >= timeouts.runSeconds)
    return {
      reason: 'RunDeadlineExceeded',
      message: `The run took longer than timeouts.runSeconds (${timeouts.runSeconds} s).`,
    };
  if (times.startedAt === undefined && clocks.startupSeconds >= timeouts.startupSeconds)
    return {
      reason: 'StartupDeadlineExceeded',
      message: `The vendor did not start the work within timeouts.startupSeconds (${timeouts.startupSeconds} s).`,
    };
  return undefined;
}

/** Stop it there, and go on only when the vendor says that it has ended: a stop that is accepted is not yet done. */
function halt(attempt: VendorAttempt, stop: Stop): Decision {
  const { world, memory, deadlineAt } = attempt;
  // The vendor itself has ended it by now, whatever it answers.
  if (world.now > deadlineAt + DEADLINE_MARGIN_MS) return close(attempt, { ...stop, exitCode: undefined });
  const asked = memory.tornDownAt;
  if (asked === undefined || world.now - asked >= STOP_AGAIN_MS)
    return { do: 'stopWork', externalId: attempt.open.externalId! };
  return say(attempt, { is: 'stopping', message: `${stop.message} The vendor is asked to stop.` }, STOP_AGAIN_MS);
}

/** The vendor's word, unless it is the answer to our own stop. */
function endOf(attempt: VendorAttempt, work: WorkEnd): End | Stop {
  if (work.outcome === 'succeeded') return { reason: 'Completed', message: work.message, exitCode: work.exitCode ?? 0 };
  const stop = work.outcome === 'cancelled' ? stopOf(attempt) : undefined;
  return stop ?? { reason: work.reason, message: work.message, exitCode: work.exitCode };
}

/** It has ended: what it left is copied, then the last word. */
function settle(attempt: VendorAttempt, end: End | Stop): Decision {
  const { world, memory, open } = attempt;
  if (world.results.results.has(0)) return close(attempt, end);
  if (!world.memory.loaded.has(open.number)) return { do: 'loadResults', attempt: open.number };
  const { collect } = memory;
  if (collect === undefined) return { do: 'collect', externalId: open.externalId! };
  const say = (message: string, againMs: number): Decision => {
    const situation: Situation = { is: 'collecting', message };
    const age = world.now - collect.since;
    return age < COLLECT_PAUSE_MS
      ? { do: 'nothing', againMs: COLLECT_PAUSE_MS - age }
      : writeOrWait(world, situation, againMs, shownVendorAttempt(attempt));
  };
  if (collect.underWay) return say('The work has ended; its results are being copied.', Infinity);
  // Outputs expire at the vendor and stores come back: tried for as long as a run may upload.
  if (world.now - collect.since >= world.run.spec.timeouts.uploadSeconds * 1000) return close(attempt, end);
  const next = collect.failedAt + Math.min(60_000, 1000 * 2 ** collect.tries);
  if (world.now >= next) return { do: 'collect', externalId: open.externalId! };
  return say(`The results could not be copied yet: ${collect.problem}`, next - world.now);
}

function close(attempt: VendorAttempt, end: End | Stop): Decision {
  const { world, open, clocks, times } = attempt;
  const shown = shownVendorAttempt(attempt);
  return closeAs({ world, number: open.number, shown, finishedAt: iso(times.finishedAt ?? world.now), clocks }, end);
}

function say(attempt: VendorAttempt, situation: Situation, againMs: number): Decision {
  const { world, open, externalId } = attempt;
  const shown = shownVendorAttempt(attempt);
  // `writeOrWait` knows attempts by their number alone: the id must stand there at once.
  if (open.externalId !== externalId || (open.startedAt === undefined && shown.startedAt !== undefined)) {
    const left = Number.isFinite(againMs) ? Math.max(50, Math.min(againMs, 0x7fffffff)) : undefined;
    return { do: 'writeStatus', situation, attempt: shown, againMs: left };
  }
  return writeOrWait(world, situation, againMs, shown);
}
