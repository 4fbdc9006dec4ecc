import { describe, expect, test } from 'vitest';
import { outcome, violations } from './run/outcome.ts';
import { play } from './run/play.ts';
import { SCENARIOS } from './run/scenarios.ts';

/** Every scenario with nothing going wrong: what must come of it, and what it may cost. */

describe.each(SCENARIOS)('$name', (scenario) => {
  const { scene, expected } = scenario;
  const names = scene.runs ?? ['run'];

  test('ends as it should, leaves nothing at work, and then rests', async () => {
    const simulation = await play(scenario);
    const { resultsAfterCrash: _, ...right } = expected;
    expect(outcome(simulation, names)).toEqual(right);
    expect(violations(simulation, names)).toEqual([]);
    const before = simulation.calls.writes.length;
    await simulation.lookAgain(5);
    expect(simulation.calls.writes.slice(before)).toEqual([]);
  });
});

/** The profile is pinned once for all runs that start with it. */
const writesOf = async (name: string) => {
  const simulation = await play(SCENARIOS.find((each) => each.name === name)!);
  return simulation.calls.writes.filter((write) => write !== 'create pin');
};

const happy = ['create job', 'status run Running', 'status run Completed'];

describe('what a run costs at the API server', () => {
  test.each([
    ['happy', happy],
    ['no collector', happy],
    ['exit code 3', ['create job', 'status run Running', 'status run NonZeroExit']],
    ['two nodes', ['create service', ...happy]],
    ['dry run', ['status run DryRun']],
    ['refused', ['status run OverrideNotAllowed']],
    ['recorded before under its runKey', ['status run AlreadyRecorded']],
    ['preempted, then well', ['create job', 'status run Running', 'status run WaitingForRetry', ...happy]],
    ['created suspended', ['status run Suspended', ...happy]],
  ])('%s', async (name, writes) => {
    expect(await writesOf(name)).toEqual(writes);
  });

  test('a second run with the same profile pins nothing', async () => {
    const { scene, ...rest } = SCENARIOS[0]!;
    const { writes } = (await play({ ...rest, scene: { ...scene, runs: ['run', 'other'] } })).calls;
    expect(writes.filter((write) => write === 'create pin')).toHaveLength(1);
    expect(writes).toHaveLength(1 + 2 * happy.length);
  });
});
