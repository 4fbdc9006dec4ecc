import { isDeepStrictEqual } from 'node:util';
import type { Fault } from './faults.ts';
import { allSettled, outcome, rightAfterCrash, violations } from './outcome.ts';
import type { Scenario } from './scenarios.ts';
import { Simulation, type Delivery } from './simulation.ts';

const HOURS = 4 * 3600;

/** Plays a scenario to its end and ten minutes beyond. */
export async function play({ scene }: Scenario, fault?: Fault, delivery?: Delivery): Promise<Simulation> {
  const simulation = new Simulation(scene, fault, delivery);
  const names = scene.runs ?? ['run'];
  await simulation.run(HOURS, () => allSettled(simulation.api, names));
  await simulation.run(600);
  return simulation;
}

/** Plays it with something going wrong; answers everything that is not as it should be. */
export async function complaints(scenario: Scenario, fault?: Fault, delivery?: Delivery): Promise<string[]> {
  const names = scenario.scene.runs ?? ['run'];
  const simulation = await play(scenario, fault, delivery);
  const before = simulation.calls.writes.length;
  await simulation.lookAgain(3);
  const found = violations(simulation, names);
  const after = simulation.calls.writes.slice(before);
  if (after.length > 0) found.push(`does not rest: ${after.join(', ')}`);
  const end = outcome(simulation, names);
  if (!rightAfterCrash(scenario.expected).some((right) => isDeepStrictEqual(right, end)))
    found.push(JSON.stringify(end));
  return found;
}
