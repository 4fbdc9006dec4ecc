import { aPaidProfile, aProfile } from '../../../src/controller/testing/a-profile.ts';
import { aRun, type RunBuilder } from '../../../src/controller/testing/a-run.ts';
import { fresh, type Scenario } from './scenarios.ts';
import type { Scene } from './simulation.ts';

/** Runs that go elsewhere, and runs that a day has no room for. */

const times = { runSeconds: 600, startupSeconds: 300, uploadSeconds: 60 };
const asked = aRun()
  .asking({ request: { prompt: 'a robot folds a towel' } })
  .within(times);
const elsewhere = { runtimeProfileRef: { name: 'absent' }, fallbackProfileRefs: [{ name: 'cpu' }] };

const scene = (run: RunBuilder, more: Partial<Scene> = {}): Scene => ({
  profile: aPaidProfile().spec(),
  workload: () => ({ seconds: 5 }),
  vendor: {},
  ...more,
  run: (name) => fresh(run.named(name).build()),
});

/** Of one run at most $1.40: two at a time are too much for this day, three one after the other are not. */
const day = { maxCostUSDPerRun: '5', maxRunSeconds: 600, maxConcurrentRuns: 5, maxCostUSDPerNamespacePerDay: '2.5' };
const narrow = { profile: aPaidProfile().limited(day).spec(), runs: ['run', 'second', 'third'] };

export const MONEY_SCENARIOS: readonly Scenario[] = [
  {
    name: 'its profile is not there: a fallback buys',
    scene: scene(asked.asking(elsewhere)),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['ProfileNotFound', 'Completed'], results: 'Stored' },
  },
  {
    name: 'its profile is not there: a fallback runs a Job',
    scene: scene(aRun().asking(elsewhere).within(times), { profile: aProfile().spec() }),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['ProfileNotFound', 'Completed'], results: 'Stored' },
  },
  {
    name: 'a fallback whose first try fails is told of once for each try',
    scene: scene(asked.asking(elsewhere).retrying(2, 'VendorFailed'), {
      vendor: { work: (n) => ({ seconds: 20, fails: n === 1 }) },
    }),
    expected: {
      ends: { run: 'Succeeded Completed' },
      attempts: ['ProfileNotFound', 'VendorFailed', 'ProfileNotFound', 'Completed'],
      results: 'Stored',
    },
  },
  {
    name: 'a day that has room for one at a time',
    scene: scene(asked, { ...narrow, vendor: { work: () => ({ seconds: 20 }) } }),
    expected: {
      ends: { run: 'Succeeded Completed', second: 'Succeeded Completed', third: 'Succeeded Completed' },
      attempts: ['Completed', 'Completed', 'Completed'],
      results: 'Stored',
    },
  },
];
