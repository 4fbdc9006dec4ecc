import { afterAll, expect, test } from 'vitest';
import type { Kind } from './run/api-server.ts';
import { complaints, play } from './run/play.ts';
import { EVERY_SCENARIO } from './run/every-scenario.ts';
import type { Delivery } from './run/simulation.ts';

/** Events that come late, twice, in another order across kinds, or not at all until the next list. */

const WATCHED: readonly Kind[] = ['runs', 'jobs', 'pods', 'nodes', 'pins'];
/** Of a long log, every so many-th event is enough. */
const POINTS = 8;
let runs = 0;
afterAll(() => console.log(`run controller: ${EVERY_SCENARIO.length} scenarios, ${runs} disturbed streams`));

/** Small, seeded, and the same everywhere. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return state / 2 ** 32;
  };
}

function* disturbances(log: readonly { kind: Kind }[], first: number): Generator<[string, () => Delivery]> {
  yield ['every event twice', () => ({ twice: true })];
  for (let seed = 1; seed <= 6; seed += 1) {
    yield [
      `kinds out of step, seed ${seed}`,
      () => {
        const next = random(seed);
        return { latency: () => Math.floor(next() ** 3 * 3000) };
      },
    ];
  }
  for (const kinds of [['runs'], ['jobs'], ['pods'], WATCHED] as Kind[][]) {
    for (const from of some(indexesOf(log, kinds, first))) {
      yield [`${kinds.join('+')} frozen for 20 s from event ${from}`, () => ({ frozen: { kinds, from, ms: 20_000 } })];
    }
  }
  for (const index of some(indexesOf(log, ['runs', 'jobs', 'pods'], first))) {
    yield [`event ${index} (${log[index]!.kind}) lost for 10 s`, () => ({ lost: { index, relistMs: 10_000 } })];
  }
}

const indexesOf = (log: readonly { kind: Kind }[], kinds: readonly Kind[], first: number) =>
  log.flatMap(({ kind }, index) => (index >= first && kinds.includes(kind) ? [index] : []));

const some = (indexes: readonly number[]) => indexes.filter((_, i) => i % Math.ceil(indexes.length / POINTS) === 0);

test.each(EVERY_SCENARIO)(
  '$name: ends the same however its events come',
  async (scenario) => {
    const { api } = await play(scenario);
    const first = api.log.findLastIndex(({ kind, type }) => kind === 'runs' && type === 'ADDED') + 1;
    const wrong: string[] = [];
    for (const [name, delivery] of disturbances(api.log, first)) {
      runs += 1;
      for (const words of await complaints(scenario, undefined, delivery())) wrong.push(`${name}: ${words}`);
    }
    expect(wrong).toEqual([]);
  },
  120_000,
);
