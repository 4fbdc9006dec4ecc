import { expect, it } from 'vitest';
import { drainAfterOutage, type LoadFigures } from './sync/load.ts';

const print = (title: string, figures: LoadFigures) => {
  const rounded = Object.entries(figures).map(
    ([name, value]: [string, number]) => `${name} ${Number(value.toFixed(1))}`,
  );
  console.log(`${title}: ${rounded.join(', ')}`);
};

it('drains 1,000 runs of a target that was down for an hour, in order, one at a time', async () => {
  const figures = await drainAfterOutage({ runs: 1000, perTarget: 4, ledger: true });
  print('1,000 runs, with a ledger', figures);
  expect(figures).toMatchObject({ outOfOrder: 0, copies: 1000 });
  // One run at a time, beside the one of the other target.
  expect(figures.peakRequests).toBeLessThanOrEqual(2);
  // Backing off to a quarter of an hour: some tries, not some thousand.
  expect(figures.requestsWhileDown).toBeLessThanOrEqual(30);
  // One word for each waiting run, one for each try.
  expect(figures.writesWhileDown).toBeLessThanOrEqual(1000 + 30);
}, 300_000);

it('drains a target without a ledger no faster than the set concurrency', async () => {
  const figures = await drainAfterOutage({ runs: 200, perTarget: 4, ledger: false });
  print('200 runs, without a ledger', figures);
  expect(figures.copies).toBe(200);
  expect(figures.peakRequests).toBeLessThanOrEqual(5);
}, 120_000);
