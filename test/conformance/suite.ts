import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { findOrphans } from '../../src/controller/remote/sweep.ts';
import { VirtualClock } from '../faults/run/virtual-clock.ts';
import { Calls, type Fault, type Misfortune } from './calls.ts';
import { pass } from './driver.ts';
import type { Account, Harness, Process } from './harness.ts';
import { INSTALLATION, play, type Played } from './play.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';
import type { Handle, Plan, RuntimeContext, RuntimeIo } from '../../src/runtime/contract.ts';

/** How often one and the same call of a scenario is befallen: the fifth poll of many is like the second. */
const SAME_CALL = 2;
/** Plays with several faults at random places; a failure prints its seed. */
const WALKS = 60;
const SEED = process.env['CONFORMANCE_SEED'] === undefined ? undefined : Number(process.env['CONFORMANCE_SEED']);

/** Everything that the contract promises, asked of one runtime. */
export function conformance(harness: Harness): void {
  describe(`${harness.name} keeps the contract`, () => {
    const scenarios = SCENARIOS.filter(({ needs }) => needs === undefined || harness.has.includes(needs));
    let plays = 0;
    let befallen = 0;
    let walks = 0;
    afterAll(() =>
      console.log(
        `conformance of ${harness.name}: ${scenarios.length} scenarios × faults = ${befallen} (${plays} plays), and ${walks} random walks`,
      ),
    );

    test.each(scenarios)(
      '$name: ends the same whatever befalls each call',
      async (scenario) => {
        const reference = await play(harness, scenario);
        plays += 1;
        expect(reference.wrong).toEqual([]);
        const wrong: string[] = [];
        for (const { call, name, fault } of faultsOf(reference.calls)) {
          plays += 1;
          befallen += 1;
          const once: Misfortune = (each) => (each === call ? fault : undefined);
          const played = await play(harness, scenario, once, reference);
          wrong.push(...played.wrong.map((words) => `${fault} (call ${call}, ${name}): ${words}`));
        }
        expect(wrong).toEqual([]);
      },
      300_000,
    );

    test('whatever goes wrong in whatever order, nothing is bought twice and everything ends', async () => {
      const references = new Map<Scenario, Played>();
      for (const scenario of scenarios) references.set(scenario, await play(harness, scenario));
      const misfortunes = fc.array(fc.record({ call: fc.nat(40), which: fc.nat(20) }), { minLength: 2, maxLength: 6 });
      const walk = fc.asyncProperty(fc.constantFrom(...scenarios), misfortunes, async (scenario, list) => {
        const misfortune: Misfortune = (call, faults) => {
          const found = list.find((each) => each.call === call);
          return found && faults[found.which % faults.length];
        };
        walks += 1;
        expect((await play(harness, scenario, misfortune, references.get(scenario))).wrong).toEqual([]);
      });
      await fc.assert(walk, { numRuns: WALKS, ...(SEED !== undefined && { seed: SEED }) });
    }, 300_000);

    singleSteps(harness);
  });
}

function* faultsOf(calls: Calls['made']): Generator<{ call: number; name: string; fault: Fault }> {
  const seen = new Map<string, number>();
  for (const [call, { name, faults }] of calls.entries()) {
    const times = (seen.get(name) ?? 0) + 1;
    seen.set(name, times);
    if (times > SAME_CALL) continue;
    for (const fault of faults) yield { call, name, fault };
  }
}

const BEHAVIOUR = { queueSeconds: 10, runSeconds: 600, fails: false, listsLag: false };

interface Stage {
  clock: VirtualClock;
  account: Account;
  process: Process;
  context: RuntimeContext;
}

async function onStage(harness: Harness, act: (stage: Stage) => Promise<void>): Promise<void> {
  const clock = new VirtualClock();
  const account = await harness.open(clock, new Calls(), BEHAVIOUR);
  const context: RuntimeContext = {
    ...account.ask,
    installationId: INSTALLATION,
    clientRunId: 'c11e9c1a-0000-4000-8000-000000000001',
    runId: '20261120T100000Z-00000001',
    namespace: 'team',
    name: 'run',
    uid: '5b1e9c1a-0000-4000-8000-000000000001',
    attempt: 1,
    profile: account.profile,
  };
  try {
    await act({ clock, account, process: await account.start(), context });
  } finally {
    await account.close();
  }
}

async function create(process: Process, context: RuntimeContext, clock: VirtualClock): Promise<Handle> {
  const plan = process.runtime.plan(context);
  if (!plan.ok) throw new Error(plan.message);
  await process.runtime.prepare?.(plan, process.io());
  return process.runtime.create(plan, {
    ...process.io(),
    once: { notAfter: clock.now + 60_000, maySend: () => undefined },
  });
}

async function listed({ runtime, io }: Process, since: number) {
  const found = [];
  for await (const work of runtime.list(since, io())) found.push(work);
  return found;
}

/** What single steps promise, without a fault. */
function singleSteps(harness: Harness): void {
  test('plan is pure: the same context gives the same plan, another request another digest', () =>
    onStage(harness, async ({ process, context }) => {
      const { runtime } = process;
      const plan = runtime.plan(context);
      expect(plan).toMatchObject({ ok: true, creates: [expect.any(String)] });
      expect(runtime.plan(structuredClone(context))).toEqual(plan);
      expect(plan).toMatchObject({
        requestDigest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
        deadlineSeconds: expect.any(Number),
      });
    }));

  test('the doctor has words for a profile that is well', () =>
    onStage(harness, async ({ process, account }) => {
      const lines = await process.runtime.doctor(account.profile, process.io());
      expect(lines.length).toBeGreaterThan(0);
      expect(lines.filter(({ level }) => level === 'error')).toEqual([]);
    }));

  test('a handle fits into a run’s status', () =>
    onStage(harness, async ({ process, context, clock }) => {
      const handle = await create(process, context, clock);
      expect(handle).toMatchObject({ attempt: 1 });
      expect(handle.externalId.length).toBeGreaterThan(0);
      expect(handle.externalId.length).toBeLessThanOrEqual(253);
      expect(JSON.parse(JSON.stringify(handle))).toEqual(handle);
    }));

  test('created twice is created once, where the vendor knows idempotency', () =>
    onStage(harness, async ({ account, process, context, clock }) => {
      if (!process.runtime.traits.idempotentCreate) return;
      const first = await create(process, context, clock);
      const second = await create(await account.start(), context, clock);
      expect(second.externalId).toBe(first.externalId);
      expect((await account.counts()).created).toBe(1);
    }));

  test('a request that may not be sent any more is not sent', () =>
    onStage(harness, async ({ account, process, context, clock }) => {
      if (process.runtime.traits.idempotentCreate) return;
      const plan = process.runtime.plan(context);
      if (!plan.ok) throw new Error(plan.message);
      const late = process.runtime.create(plan, {
        ...process.io(),
        once: {
          notAfter: clock.now + 60_000,
          maySend: () => {
            throw new Error('leads no more');
          },
        },
      });
      await expect(late).rejects.toMatchObject({ name: 'RuntimeError', kind: 'aborted' });
      expect((await account.counts()).created).toBe(0);
    }));

  test('another attempt is other work', () =>
    onStage(harness, async ({ account, process, context, clock }) => {
      const first = await create(process, context, clock);
      const second = await create(process, { ...context, attempt: 2 }, clock);
      expect(second).toMatchObject({ attempt: 2 });
      expect(second.externalId).not.toBe(first.externalId);
      const states = await process.runtime.observe([first, second], process.io());
      expect([...states.keys()].toSorted()).toEqual([first.externalId, second.externalId].toSorted());
      expect((await account.counts()).created).toBe(2);
    }));

  test('torn down twice is no failure, and ends the work', () =>
    onStage(harness, async ({ account, process, context, clock }) => {
      const { runtime, io } = process;
      const handle = await create(process, context, clock);
      await runtime.teardown(handle, io());
      await runtime.teardown(handle, io());
      pass(clock, 120_000);
      await runtime.teardown(handle, io());
      const state = (await runtime.observe([handle], io())).get(handle.externalId);
      expect(['ended', 'gone']).toContain(state?.at);
      expect((await account.counts()).live).toBe(0);
    }));

  if (harness.has.includes('loss'))
    test('work that nobody ever created is gone, and tearing it down is no failure', () =>
      onStage(harness, async ({ account, process, context, clock }) => {
        const { runtime, io } = process;
        const handle = await create(process, context, clock);
        account.loseEverything!();
        pass(clock, 120_000);
        expect((await runtime.observe([handle], io())).get(handle.externalId)).toEqual({ at: 'gone' });
        await runtime.teardown(handle, io());
      }));

  if (harness.has.includes('strangers'))
    test('the list has our work with what a claim needs, and nothing of strangers that could be taken for it', () =>
      onStage(harness, async ({ account, process, context, clock }) => {
        const strange = await account.strangers!();
        expect(strange.length).toBeGreaterThan(0);
        const plan = process.runtime.plan(context);
        const handle = await create(process, context, clock);
        pass(clock, process.runtime.traits.listLagMs + 1000);
        const found = await listed(process, 0);
        const ours = found.find(({ externalId }) => externalId === handle.externalId);
        expect(ours).toMatchObject({ live: true, createdAt: handle.createdAt });
        const { marksWork } = process.runtime.traits;
        const digest = plan.ok && plan.requestDigest;
        const claimable = marksWork
          ? found.filter(({ mark }) => mark?.clientRunId === context.clientRunId && mark.attempt === 1)
          : found.filter(({ requestDigest }) => requestDigest === digest);
        expect(claimable.map(({ externalId }) => externalId)).toEqual([handle.externalId]);
        // Where the vendor keeps our mark, other people's work is not even shown.
        const shown = found.filter(({ externalId }) => strange.includes(externalId));
        expect(marksWork ? shown : []).toEqual([]);
      }));

  if (harness.has.includes('strangers'))
    test('the sweep finds what no run names, at the second sight, and spares what is young, claimed or a stranger’s', () =>
      onStage(harness, async ({ account, process, context, clock }) => {
        const { runtime, io } = process;
        const { requestDigest } = runtime.plan(context) as Plan;
        const iso = (ms: number) => new Date(ms).toISOString();
        const intent = {
          requestDigest,
          recordedAt: iso(clock.now),
          notAfter: iso(clock.now + 60_000),
          deadlineAt: iso(clock.now + 3_600_000),
        };
        const claimed = await create(process, context, clock);
        const again = runtime.traits.idempotentCreate ? { ...context, attempt: 2 } : context;
        const nobodys = await create(process, again, clock);
        await account.strangers!();
        const sweep = async (seenBefore: ReadonlySet<string>) =>
          findOrphans({
            now: clock.now,
            works: await listed(process, 0),
            claimOf: (id) => (id === claimed.externalId ? 'open' : undefined),
            intents: [{ intent, open: false }],
            requestTimeoutMs: 60_000,
            minAgeMs: 300_000,
            seenBefore,
          });
        pass(clock, runtime.traits.listLagMs + 1000);
        const young = await sweep(new Set());
        expect([...young.seen]).toEqual([]);
        pass(clock, 300_000);
        const first = await sweep(young.seen);
        expect(first.orphans).toEqual([]);
        const second = await sweep(first.seen);
        expect(second.orphans.map(({ externalId }) => externalId)).toEqual([nobodys.externalId]);
        await runtime.teardown({ ...nobodys, attempt: 0 }, io());
        pass(clock, 60_000);
        expect((await sweep(first.seen)).orphans).toEqual([]);
        const states = await runtime.observe([claimed], io());
        expect(states.get(claimed.externalId)).toMatchObject({ at: 'running' });
      }));

  if (harness.has.includes('strangers'))
    test('the list goes back as far as it is asked, newest first', () =>
      onStage(harness, async ({ process, context, clock }) => {
        const first = await create(process, context, clock);
        pass(clock, 60_000);
        const since = clock.now;
        pass(clock, 60_000);
        const second = await create(process, { ...context, attempt: 2 }, clock);
        pass(clock, process.runtime.traits.listLagMs + 1000);
        const all = (await listed(process, 0)).map(({ externalId }) => externalId);
        expect(all).toEqual([second.externalId, first.externalId]);
        // Older work of our mark may be there as well; what is younger than asked must be.
        expect((await listed(process, since)).map(({ externalId }) => externalId)).toContain(second.externalId);
      }));

  test('an ended signal ends every step, with words', () =>
    onStage(harness, async ({ process, context, clock }) => {
      const handle = await create(process, context, clock);
      const io: RuntimeIo = { ...process.io(), signal: AbortSignal.abort() };
      const observed = process.runtime.observe([handle], io);
      await expect(observed.catch((error: unknown) => (error as Error).name)).resolves.toSatisfy(
        (answer) => answer instanceof Map || answer === 'RuntimeError',
      );
    }));
}
