import { aPaidProfile } from '../../../src/controller/testing/a-profile.ts';
import { aRun, type RunBuilder } from '../../../src/controller/testing/a-run.ts';
import type { ApiServer } from './api-server.ts';
import { fresh, type Scenario } from './scenarios.ts';
import type { Scene } from './simulation.ts';

/** Runs whose work is bought at a vendor without idempotency keys. */

const base = aRun()
  .asking({ request: { prompt: 'a robot folds a towel' } })
  .within({ runSeconds: 600, startupSeconds: 300, uploadSeconds: 60 });

function scene(more: Omit<Partial<Scene>, 'run'> & { run?: RunBuilder } = {}): Scene {
  const { run = base, ...rest } = more;
  return {
    profile: aPaidProfile().spec(),
    workload: () => ({}),
    vendor: {},
    ...rest,
    run: (name) => fresh(run.named(name).build()),
  };
}

const reason = (api: ApiServer, name = 'run') =>
  api.get('runs', `team/${name}`)?.status?.conditions?.find((c) => c.type === 'Ready')?.reason;
const change = (does: (spec: { cancel: boolean; suspend: boolean }) => void) => (api: ApiServer) =>
  api.updateSpec('team/run', does);
const say = (outcome: string) => (api: ApiServer) =>
  api.update('runs', 'team/run', ({ metadata }) => {
    metadata!.annotations = { ...metadata!.annotations, 'worldflux.ai/submit-outcome': outcome };
  });
const POLICY = { health: {}, request: {}, polling: {}, download: {} };
const forever = { work: () => ({}) };

export const VENDOR_SCENARIOS: readonly Scenario[] = [
  {
    name: 'bought, done, copied',
    scene: scene(),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['Completed'], results: 'Stored' },
  },
  {
    name: 'planned, and nothing bought',
    scene: scene({ run: base.dry() }),
    expected: { ends: { run: 'Succeeded DryRun' }, attempts: [] },
  },
  {
    name: 'bought, and its answer lost',
    scene: scene({ vendor: { create: (n) => (n === 1 ? 'lostAfter' : undefined) } }),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['Completed'], results: 'Stored' },
  },
  {
    name: 'bought, its answer lost, and what was asked for comes back changed: a person says which it is',
    scene: scene({
      vendor: { create: (n) => (n === 1 ? 'lostAfter' : undefined), changes: true },
      steps: [{ when: (api) => reason(api) === 'SubmitOutcomeUnknown', does: say('1=work-1') }],
    }),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['Completed'], results: 'Stored' },
  },
  {
    name: 'lost on its way to the vendor',
    scene: scene({ vendor: { create: (n) => (n === 1 ? 'lostBefore' : undefined) } }),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['Completed'], results: 'Stored' },
  },
  {
    name: 'three of one kind, one answer lost, one request lost',
    scene: scene({
      runs: ['run', 'second', 'third'],
      vendor: { create: (n) => (n === 1 ? 'lostAfter' : n === 2 ? 'lostBefore' : undefined) },
    }),
    expected: {
      ends: { run: 'Succeeded Completed', second: 'Succeeded Completed', third: 'Succeeded Completed' },
      attempts: ['Completed', 'Completed', 'Completed'],
      results: 'Stored',
    },
  },
  {
    name: 'a list that lags behind the purchase',
    scene: scene({ vendor: { create: (n) => (n === 1 ? 'lostAfter' : undefined), listLagSeconds: 8 } }),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['Completed'], results: 'Stored' },
  },
  {
    name: 'throttled, then without capacity, then bought',
    scene: scene({ vendor: { create: (n) => (['throttled', 'capacity'] as const)[n - 1] } }),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['Completed'], results: 'Stored' },
  },
  {
    name: 'refused by the vendor',
    scene: scene({ vendor: { create: () => 'user' } }),
    expected: { ends: { run: 'Failed VendorRejected' }, attempts: ['VendorRejected'], results: 'NothingProduced' },
  },
  {
    name: 'fails there, and is bought once more because the run says so',
    scene: scene({
      run: base.retrying(2, 'VendorFailed'),
      vendor: { work: (n) => ({ seconds: 20, fails: n === 1 }) },
    }),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['VendorFailed', 'Completed'], results: 'Stored' },
  },
  {
    name: 'the vendor does not know it for half a minute',
    scene: scene({ vendor: { work: () => ({ seconds: 120 }), unknown: [20, 50] } }),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['Completed'], results: 'Stored' },
  },
  {
    name: 'the vendor loses it',
    scene: scene({ vendor: { work: () => ({ seconds: 120 }), unknown: [20, Infinity] } }),
    expected: {
      ends: { run: 'Failed WorkLost' },
      attempts: ['WorkLost'],
      results: 'CollectionCutShort',
      // Lost before anybody saw it start.
      resultsAfterCrash: 'NothingProduced',
    },
  },
  {
    name: 'cancelled while it runs there',
    scene: scene({
      vendor: forever,
      steps: [{ when: (api) => reason(api) === 'Running', does: change((s) => (s.cancel = true)) }],
    }),
    expected: { ends: { run: 'Cancelled Cancelled' }, attempts: ['Cancelled'], results: 'Stored' },
  },
  {
    name: 'longer than it may run',
    scene: scene({ run: base.within({ runSeconds: 30 }), vendor: forever }),
    expected: { ends: { run: 'Failed RunDeadlineExceeded' }, attempts: ['RunDeadlineExceeded'], results: 'Stored' },
  },
  {
    name: 'longer than the request policy gives it',
    scene: scene({
      vendor: forever,
      profile: aPaidProfile()
        .asking({ requestPolicy: { ...POLICY, polling: { maxElapsedSeconds: 45 } } })
        .spec(),
    }),
    expected: { ends: { run: 'Failed BudgetExceeded' }, attempts: ['BudgetExceeded'], results: 'Stored' },
  },
  {
    name: 'applied again after it was deleted',
    scene: scene({
      steps: [
        { when: (api) => reason(api) === 'Completed', does: (api) => api.deleteRun('team/run') },
        {
          when: (api) => api.get('runs', 'team/run') === undefined,
          does: (api) => void api.create('runs', scene().run('run')),
        },
      ],
    }),
    expected: { ends: { run: 'Succeeded AlreadyRecorded' }, attempts: [], results: 'Stored' },
  },
  {
    name: 'suspended and resumed',
    scene: scene({
      vendor: { work: (n) => (n === 1 ? {} : { seconds: 20 }) },
      steps: [
        { when: (api) => reason(api) === 'Running', does: change((s) => (s.suspend = true)) },
        { when: (api) => reason(api) === 'Suspended', afterMs: 60_000, does: change((s) => (s.suspend = false)) },
      ],
    }),
    expected: { ends: { run: 'Succeeded Completed' }, attempts: ['Suspended', 'Completed'], results: 'Stored' },
  },
  {
    name: 'deleted while it runs there',
    scene: scene({
      vendor: forever,
      steps: [{ when: (api) => reason(api) === 'Running', does: (api) => api.deleteRun('team/run') }],
    }),
    expected: { ends: { run: 'gone' }, attempts: [] },
  },
  {
    name: 'deleted while nobody knows whether it was bought',
    scene: scene({
      vendor: { ...forever, create: (n) => (n === 1 ? 'lostAfter' : undefined) },
      steps: [{ when: (api) => reason(api) === 'ResolvingSubmit', does: (api) => api.deleteRun('team/run') }],
    }),
    expected: { ends: { run: 'gone' }, attempts: [] },
  },
];
