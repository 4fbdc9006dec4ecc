import { expect, test } from 'vitest';
import { aRun } from '../testing/a-run.ts';
import { withTimeLeft } from './time-left.ts';

const run = aRun().within({ startupSeconds: 100, runSeconds: 600 });
const after = (startupSeconds: number, runSeconds: number) =>
  withTimeLeft(run.status({ clocks: { queueSeconds: 0, startupSeconds, runSeconds } }).live()).timeouts;

test('the first attempt has the whole time', () => {
  expect(withTimeLeft(run.live()).timeouts).toEqual(run.live().spec.timeouts);
});

test.each([
  ['what is left of it', 30.2, 599.5, 69, 1],
  ['never more than that', 0.001, 0.001, 99, 599],
  ['a second where nothing is left: the clocks themselves end the run', 500, 5000, 1, 1],
])('the next has %s', (_, startup, runs, startupSeconds, runSeconds) => {
  expect(after(startup, runs)).toMatchObject({ startupSeconds, runSeconds });
});
