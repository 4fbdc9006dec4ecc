import { expect, test } from 'vitest';
import type { FoundWork, Plan, RuntimeIo, SendOnce } from '../../src/runtime/contract.ts';
import { isRuntimeError, RuntimeError } from '../../src/runtime/errors.ts';
import { ReplicateRuntime } from '../../src/runtime/replicate/runtime.ts';
import type { Fault } from './calls.ts';
import { play } from './play.ts';
import { replicateHarness } from './replicate.ts';
import { SCENARIOS } from './scenarios.ts';

/** Runtimes that break one promise each: the suite has to say so. */

/** Says of a lost answer that nothing was created. */
class Overconfident extends ReplicateRuntime {
  override async create(plan: Plan, io: RuntimeIo & { readonly once: SendOnce }) {
    return super.create(plan, io).catch((error: unknown) => {
      if (isRuntimeError(error, 'unknownOutcome')) throw new RuntimeError({ kind: 'retryable' }, 'try again');
      throw error;
    });
  }
}

/** Tries again by itself. */
class Impatient extends ReplicateRuntime {
  override async create(plan: Plan, io: RuntimeIo & { readonly once: SendOnce }) {
    return super.create(plan, io).catch(() => super.create(plan, io));
  }
}

/** Says of work that it was asked for something else, and has no doubts about it. */
class Forgetful extends ReplicateRuntime {
  override async *list(since: number, io: RuntimeIo): AsyncIterable<FoundWork> {
    for await (const work of super.list(since, io))
      yield { ...work, requestDigest: `sha256:${'f'.repeat(64)}`, doubtful: false };
  }
}

/** Looks away from what it should stop. */
class Idle extends ReplicateRuntime {
  override async teardown(): Promise<void> {}
}

/** Lets the key into its words. */
class Chatty extends ReplicateRuntime {
  override async observe(...of: Parameters<ReplicateRuntime['observe']>) {
    return super.observe(...of).catch((error: unknown) => {
      throw new RuntimeError({ kind: 'retryable' }, `Bearer ${of[1].credentials['REPLICATE_API_TOKEN']}`, error);
    });
  }
}

const AFTER: Fault = 'it takes effect and the connection is lost';
const scenario = (name: string) => SCENARIOS.find((each) => each.name === name)!;

test.each([
  { of: Overconfident, where: 'succeeds', fault: AFTER, at: 'POST', finds: /2 pieces of work were created/ },
  { of: Impatient, where: 'succeeds', fault: AFTER, at: 'POST', finds: /2 pieces of work were created/ },
  { of: Forgetful, where: 'succeeds', fault: AFTER, at: 'POST', finds: /2 pieces of work were created/ },
  { of: Idle, where: 'deleted at running', fault: AFTER, at: 'POST', finds: /ended as succeeded/ },
  {
    of: Chatty,
    where: 'succeeds',
    fault: 'the key is revoked before it',
    at: 'record queued',
    finds: /holds a secret/,
  },
] as const)('$of.name is found out', async ({ of, where, fault, at, finds }) => {
  const reference = await play(replicateHarness(), scenario(where));
  expect(reference.wrong).toEqual([]);
  const from = reference.calls.findIndex(({ name }) => name.startsWith(at));
  const call = at === 'record queued' ? from + 1 : from;
  const harness = replicateHarness(() => new of());
  const { wrong } = await play(harness, scenario(where), (each) => (each === call ? fault : undefined), reference);
  expect(wrong.join('\n')).toMatch(finds);
});
