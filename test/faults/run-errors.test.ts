import { afterAll, expect, test } from 'vitest';
import { ERROR_KINDS } from './run/faults.ts';
import { complaints, play } from './run/play.ts';
import { SCENARIOS } from './run/scenarios.ts';

/** Every call fails once, in every way; a timeout also with the effect having happened. */

let runs = 0;
afterAll(() => console.log(`run controller: ${SCENARIOS.length} scenarios, ${runs} failed calls`));

test.each(SCENARIOS)(
  '$name: ends the same whichever call fails',
  async (scenario) => {
    const calls = (await play(scenario)).calls.made;
    const wrong: string[] = [];
    for (const [i, name] of calls.entries()) {
      for (const kind of ERROR_KINDS) {
        runs += 1;
        for (const words of await complaints(scenario, { is: 'error', call: i + 1, kind }))
          wrong.push(`${kind} at call ${i + 1} "${name}": ${words}`);
      }
    }
    expect(wrong).toEqual([]);
  },
  120_000,
);
