import { afterAll, expect, test } from 'vitest';
import { complaints, play } from './run/play.ts';
import { EVERY_SCENARIO } from './run/every-scenario.ts';

/**
 * Two operators at once, the older of which never learns that it leads no more: its statuses are refused by their
 * epoch, everything else that it does must be what the other one would do too.
 */

const POINTS = 6;
let runs = 0;
afterAll(() => console.log(`run controller: ${EVERY_SCENARIO.length} scenarios, ${runs} takeovers`));

test.each(EVERY_SCENARIO)(
  '$name: ends the same with two operators at work',
  async (scenario) => {
    const { api } = await play(scenario);
    const first = api.log.findLastIndex(({ kind, type }) => kind === 'runs' && type === 'ADDED') + 1;
    const step = Math.ceil((api.log.length - first) / POINTS);
    const wrong: string[] = [];
    for (let takeover = first; takeover < api.log.length; takeover += step) {
      runs += 1;
      for (const words of await complaints(scenario, undefined, { takeover }))
        wrong.push(`after event ${takeover}: ${words}`);
    }
    expect(wrong).toEqual([]);
  },
  120_000,
);
