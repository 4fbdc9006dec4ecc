import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { RuntimeContext } from '../../src/runtime/contract.ts';
import { VirtualClock } from '../faults/run/virtual-clock.ts';
import { Calls, Death, type Misfortune } from './calls.ts';
import { Driver, pass, type Entry } from './driver.ts';
import type { Account, Harness } from './harness.ts';
import { MemorySink } from './memory-sink.ts';
import type { Scenario } from './scenarios.ts';

export const INSTALLATION = '0d6f7f1e-3f5c-5f0e-9d2b-0c7c3f1f2f57';
const RESTART_MS = 3000;

export interface Played {
  readonly calls: Calls['made'];
  /** Everything that is not as the contract wants it, each as a sentence. */
  readonly wrong: string[];
  readonly outcomes: readonly (string | undefined)[];
  /** What was collected, run by run, without what depends on the time. */
  readonly collected: readonly unknown[];
}

/** Plays a scenario to its end in virtual time. `reference` is the same without a fault. */
export async function play(
  harness: Harness,
  scenario: Scenario,
  misfortune?: Misfortune,
  reference?: Played,
): Promise<Played> {
  const clock = new VirtualClock();
  const calls = new Calls();
  if (misfortune !== undefined) calls.misfortune = misfortune;
  const account = await harness.open(clock, calls, scenario.behaviour);
  try {
    const entries = Array.from({ length: scenario.runs }, (_, i) => entryOf(account, scenario, i));
    const wrong: string[] = [];
    for (;;) {
      calls.revive();
      const process = await account.start();
      const driver = new Driver(process, entries, clock, calls, (entry, change) =>
        scenario.when?.(change, entry, account),
      );
      const died = await driver.run().then(
        () => false,
        (error: unknown) => {
          if (error instanceof Death) return true;
          throw error;
        },
      );
      wrong.push(...driver.violations, ...driver.words.flatMap((words) => told(words, account)));
      if (!died) break;
      pass(clock, RESTART_MS);
    }
    const made = [...calls.made];
    // From here on nothing goes wrong, and a key that was to come has come.
    calls.misfortune = () => undefined;
    pass(clock, 120_000);
    wrong.push(...(await judge(account, scenario, entries, reference)));
    return { calls: made, wrong, outcomes: entries.map(({ done }) => done), collected: entries.map(collectedBy) };
  } finally {
    await account.close();
  }
}

function entryOf({ ask, profile }: Account, scenario: Scenario, index: number): Entry {
  const uid = `5b1e9c1a-0000-4000-8000-00000000000${index}`;
  const timeouts = { ...ask.spec.timeouts, runSeconds: scenario.deadlineSeconds };
  const context: RuntimeContext = {
    installationId: INSTALLATION,
    clientRunId: uid.replace('5b1e', 'c11e'),
    runId: `20261120T100000Z-0000000${index}`,
    namespace: 'team',
    name: `run-${index}`,
    uid,
    attempt: 1,
    profile,
    files: ask.files,
    spec: { ...ask.spec, timeouts },
  };
  return { context, sink: new MemorySink(), stop: undefined };
}

const collectedBy = ({ result, sink }: Entry): unknown => {
  if (result === undefined || result === 'none') return result;
  const { exitCode, metrics, artifacts } = result;
  return {
    exitCode,
    metrics: Object.keys(metrics).toSorted(),
    artifacts: artifacts.map(({ path, state, sha256 }) => `${path} ${state} ${sha256}`).toSorted(),
    files: [...sink.files]
      .map(([path, body]) => `${path} ${createHash('sha256').update(body).digest('hex')}`)
      .toSorted(),
    // A log may name times; that there is one does not depend on them.
    log: sink.logs.length > 0,
  };
};

/** A message that holds what no condition may show. */
function told(words: string, account: Account): string[] {
  const leaks = account.secrets().some((secret) => words.includes(secret));
  return leaks || /[?&]\w+=/.test(words) ? [`an error's message holds a secret or a query: ${words}`] : [];
}

async function judge(
  account: Account,
  { outcomes, created: [least, most] }: Scenario,
  entries: readonly Entry[],
  reference: Played | undefined,
): Promise<string[]> {
  const wrong: string[] = [];
  const before = await account.counts();
  if (before.created < least || before.created > most)
    wrong.push(`${before.created} pieces of work were created, ${least} to ${most} are right`);
  if (before.live > 0) wrong.push(`${before.live} pieces of work still cost`);
  const allowed = reference === undefined ? outcomes.slice(0, 1) : outcomes;
  for (const { done } of entries) if (!allowed.includes(done!)) wrong.push(`ended as ${done}`);
  const collected = entries.map(collectedBy);
  if (
    reference !== undefined &&
    isDeepStrictEqual(
      entries.map(({ done }) => done),
      reference.outcomes,
    )
  ) {
    if (!isDeepStrictEqual(collected, reference.collected))
      wrong.push(`collected ${JSON.stringify(collected)} instead of ${JSON.stringify(reference.collected)}`);
  }
  // A successor that knows nothing of the end tears down once more, looks once more and looks everywhere.
  const { runtime, io } = await account.start();
  for (const { handle } of entries) {
    if (handle === undefined) continue;
    await runtime.teardown(handle, io());
    const state = (await runtime.observe([handle], io())).get(handle.externalId);
    if (state?.at === 'queued' || state?.at === 'running') wrong.push('work that was torn down is at work');
  }
  for await (const work of runtime.list(0, io())) if (work.live) wrong.push('the list shows work that costs');
  const after = await account.counts();
  if (after.created !== before.created) wrong.push('looking created work');
  return wrong;
}
