import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { SyncRun } from '../../../src/controller/sync/ports.ts';
import { plain, withoutLedger } from '../../fakes/worldflux/dialects.ts';
import { TEST_KEY } from '../../fakes/worldflux/server.ts';
import { ManualClock } from './manual-clock.ts';
import { SyncWorld, until } from './world.ts';

/** Many finished runs wait for one target that is down for an hour. */
export interface LoadOptions {
  runs: number;
  /** Runs sent at one time to one target. */
  perTarget: number;
  /** With a ledger the target takes one run at a time. */
  ledger: boolean;
}

export interface LoadFigures {
  runs: number;
  /** Requests that reached the target in the hour in which it answered none. */
  requestsWhileDown: number;
  /** Status writes in that hour. */
  writesWhileDown: number;
  drainSeconds: number;
  runsPerSecond: number;
  /** The most requests that were open at the target at one time. */
  peakRequests: number;
  /** Runs that arrived at another place in the row than that of their end, by more than what goes at one time. */
  outOfOrder: number;
  /** Milliseconds from a run's end to its arrival at another target, while the first was being drained. */
  otherTargetMs: number;
  /** Milliseconds, of the process that held the queue and the target. */
  eventLoopP99Ms: number;
  copies: number;
  writes: number;
}

export async function drainAfterOutage({ runs, perTarget, ledger }: LoadOptions): Promise<LoadFigures> {
  const clock = new ManualClock();
  const world = await SyncWorld.open({
    clock,
    concurrency: { total: 2 * perTarget, perTarget },
    fake: { dialect: ledger ? plain : withoutLedger, now: () => clock.now() },
  });
  try {
    const { fake } = world;
    world.setKey(TEST_KEY, 'team-b');
    const waiting: SyncRun[] = [];
    for (let i = 0; i < runs; i += 1)
      waiting.push(
        await world.addRun({
          artifacts: { result: Buffer.from(`result ${i}`) },
          log: `run ${i}\n`,
          finishedAt: clock.now() + i,
        }),
      );
    fake.setOutage('refuse');
    world.start();
    await clock.advance(3600_000);
    await world.queue.written();
    const requestsWhileDown = fake.traffic.accepted;
    const writesWhileDown = world.writes.length;

    fake.setOutage(undefined);
    // Long enough for requests to meet.
    if (!ledger) fake.faults.intercept = () => ({ slowMs: 20 });
    const lag = monitorEventLoopDelay({ resolution: 5 });
    let started = 0;
    lag.enable();
    await clock.runUntil(() => {
      if (started === 0 && fake.state.runs.size > 0) started = performance.now();
      return fake.state.runs.size > 0;
    });
    const other = await world.addRun({ name: 'other', namespace: 'team-b' });
    const since = performance.now();
    await until('the other target was served', () => world.conditionOf(other.uid)?.status === 'True', 60_000);
    const otherTargetMs = performance.now() - since;
    await until('drained', () => waiting.every(({ uid }) => world.conditionOf(uid)?.status === 'True'), 300_000);
    const drainSeconds = (performance.now() - started) / 1000;
    lag.disable();

    const arrived = [...fake.state.runs.values()]
      .map(({ clientRunId }) => waiting.findIndex((run) => run.clientRunId === clientRunId))
      .filter((index) => index >= 0);
    return {
      runs,
      requestsWhileDown,
      writesWhileDown,
      drainSeconds,
      runsPerSecond: runs / drainSeconds,
      peakRequests: fake.traffic.peak,
      outOfOrder: arrived.filter((index, at) => Math.abs(index - at) > (ledger ? 0 : perTarget)).length,
      otherTargetMs,
      eventLoopP99Ms: lag.percentile(99) / 1e6,
      copies: [...fake.state.committedCopies().values()].reduce((sum, copies) => sum + copies, 0),
      writes: world.writes.length,
    };
  } finally {
    await world.close();
  }
}
