import { afterAll, expect, test } from 'vitest';
import type { ErrorKind } from './run/faults.ts';
import { complaints, play } from './run/play.ts';
import { EVERY_SCENARIO } from './run/every-scenario.ts';

/** Every call fails once, in every way; a timeout also with the effect having happened. */

/** Ways that make a difference for this call. What throws without effect is all the same: a call gets one of those. */
function* waysToFail(name: string, index: number): Generator<ErrorKind> {
  yield (['tooManyRequests', 'serverError', 'timeout'] as const)[index % 3]!;
  yield 'timeoutAfterEffect';
  // A delete names the uid: there a conflict says truthfully that what was meant is gone.
  if (!/ pod$|^delete/.test(name)) yield 'conflict';
  if (name.startsWith('create')) yield 'forbidden';
}

let runs = 0;
afterAll(() => console.log(`run controller: ${EVERY_SCENARIO.length} scenarios, ${runs} failed calls`));

test.each(EVERY_SCENARIO)(
  '$name: ends the same whichever call fails',
  async (scenario) => {
    const calls = (await play(scenario)).calls.made;
    const wrong: string[] = [];
    for (const [i, name] of calls.entries()) {
      for (const kind of waysToFail(name, i)) {
        runs += 1;
        for (const words of await complaints(scenario, { is: 'error', call: i + 1, kind }))
          wrong.push(`${kind} at call ${i + 1} "${name}": ${words}`);
      }
    }
    expect(wrong).toEqual([]);
  },
  120_000,
);
