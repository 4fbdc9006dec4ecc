import { afterAll, expect, test } from 'vitest';
import type { Fault } from './run/faults.ts';
import { complaints, play } from './run/play.ts';
import { VENDOR_SCENARIOS } from './run/vendor-scenarios.ts';

/**
 * Work is bought at a vendor without idempotency keys, and the process dies before and after every call, those to the
 * vendor included: nothing is bought twice, and nothing that was bought is forgotten.
 */

let runs = 0;
afterAll(() => console.log(`vendor runs: ${VENDOR_SCENARIOS.length} scenarios, ${runs} deaths`));

test.each(VENDOR_SCENARIOS)('$name: ends as it should', async (scenario) => {
  expect(await complaints(scenario)).toEqual([]);
});

test.each(VENDOR_SCENARIOS)(
  '$name: ends the same wherever the process dies',
  async (scenario) => {
    const calls = (await play(scenario)).calls.made;
    const wrong: string[] = [];
    for (const [i, name] of calls.entries()) {
      const call = i + 1;
      const faults: Fault[] = [
        { is: 'crash', call, effect: 'before' },
        { is: 'crash', call, effect: 'after' },
        { is: 'staleRestart', call },
      ];
      for (const fault of faults) {
        runs += 1;
        for (const words of await complaints(scenario, fault))
          wrong.push(`${JSON.stringify(fault)} at "${name}": ${words}`);
      }
    }
    expect(wrong).toEqual([]);
  },
  120_000,
);
