import { isDeepStrictEqual } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import type { Fault } from './run/faults.ts';
import { SCENARIOS, type Scenario } from './run/scenarios.ts';
import { Simulation } from './run/simulation.ts';
import { allSettled, outcome, rightAfterCrash, violations } from './run/outcome.ts';

/**
 * The process dies before every call of the reference run, and after its effect but before its answer; the next one
 * knows nothing. Once more with a first list from before that effect, as a lagging API server gives it.
 */

const HOURS = 4 * 3600;
let runs = 0;
afterAll(() => console.log(`run controller, crashes: ${runs} runs of ${SCENARIOS.length} scenarios`));

async function play({ scene }: Scenario, fault?: Fault): Promise<Simulation> {
  const simulation = new Simulation(scene, fault);
  const names = scene.runs ?? ['run'];
  await simulation.run(HOURS, () => allSettled(simulation.api, names));
  await simulation.run(600);
  runs += 1;
  return simulation;
}

describe.each(SCENARIOS)('$name', (scenario) => {
  const names = scenario.scene.runs ?? ['run'];

  test('ends the same wherever the process dies', async () => {
    const calls = (await play(scenario)).calls.made;
    const right = rightAfterCrash(scenario.expected);
    const wrong: string[] = [];
    for (let call = 1; call <= calls.length; call += 1) {
      for (const fault of [
        { is: 'crash', call, effect: 'before' },
        { is: 'crash', call, effect: 'after' },
        { is: 'staleRestart', call },
      ] satisfies Fault[]) {
        const simulation = await play(scenario, fault);
        const before = simulation.calls.writes.length;
        await simulation.lookAgain(3);
        const found = violations(simulation, names);
        if (simulation.calls.writes.length > before)
          found.push(`does not rest: ${simulation.calls.writes.slice(before).join(', ')}`);
        const end = outcome(simulation, names);
        if (!right.some((each) => isDeepStrictEqual(each, end))) found.push(JSON.stringify(end));
        if (found.length > 0) wrong.push(`${JSON.stringify(fault)} at "${calls[call - 1]}": ${found.join('; ')}`);
      }
    }
    expect(wrong).toEqual([]);
  }, 120_000);
});
