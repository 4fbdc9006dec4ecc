import { afterAll, expect, test } from 'vitest';
import type { Fault } from './run/faults.ts';
import { complaints, play } from './run/play.ts';
import { EVERY_SCENARIO } from './run/every-scenario.ts';

/**
 * The process dies before every call of the reference run, and after its effect but before its answer; the next one
 * knows nothing. Once more with a first list from before that effect, as a lagging API server gives it.
 */

let runs = 0;
afterAll(() => console.log(`run controller: ${EVERY_SCENARIO.length} scenarios, ${runs} deaths`));

test.each(EVERY_SCENARIO)(
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
