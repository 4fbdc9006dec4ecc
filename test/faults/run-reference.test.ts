import { describe, expect, test } from 'vitest';
import { SCENARIOS } from './run/scenarios.ts';
import { Simulation } from './run/simulation.ts';
import { allSettled, outcome, violations } from './run/outcome.ts';

/** Every scenario with nothing going wrong: what must come of it, and what it may cost. */

const HOURS_MS = 4 * 3600;

describe.each(SCENARIOS)('$name', ({ scene, expected }) => {
  const names = scene.runs ?? ['run'];

  test('ends as it should, leaves nothing at work, and then rests', async () => {
    const simulation = new Simulation(scene);
    await simulation.run(HOURS_MS, () => allSettled(simulation.api, names));
    await simulation.run(600);
    const { resultsAfterCrash: _, ...right } = expected;
    expect(outcome(simulation, names)).toEqual(right);
    expect(violations(simulation, names)).toEqual([]);
    const before = simulation.calls.writes.length;
    await simulation.lookAgain(5);
    expect(simulation.calls.writes.slice(before)).toEqual([]);
  });
});
