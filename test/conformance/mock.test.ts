import { runtimeProfileSpec } from '../../src/crds/runtime-profile.ts';
import { worldRunSpec } from '../../src/crds/world-run.ts';
import type { Handle, Plan, RuntimeIo } from '../../src/runtime/contract.ts';
import { MockRuntime } from '../../src/runtime/mock/runtime.ts';
import type { Calls } from './calls.ts';
import type { Harness } from './harness.ts';
import { conformance } from './suite.ts';

/** Its steps are its only calls: nothing lies behind them. */
class WatchedMock extends MockRuntime {
  readonly #calls: Calls;
  readonly #made: Map<string, 'live' | 'stopped'>;

  constructor(calls: Calls, made: Map<string, 'live' | 'stopped'>) {
    super();
    this.#calls = calls;
    this.#made = made;
  }

  override create(plan: Plan, io: RuntimeIo): Promise<Handle> {
    return this.#calls.do('create', async () => {
      const handle = await super.create(plan, io);
      if (!this.#made.has(handle.externalId)) this.#made.set(handle.externalId, 'live');
      return handle;
    });
  }

  override observe(...of: Parameters<MockRuntime['observe']>): ReturnType<MockRuntime['observe']> {
    return this.#calls.do('observe', () => super.observe(...of));
  }

  override collect(...of: Parameters<MockRuntime['collect']>): ReturnType<MockRuntime['collect']> {
    return this.#calls.do('collect', () => super.collect(...of));
  }

  override teardown(...of: Parameters<MockRuntime['teardown']>): ReturnType<MockRuntime['teardown']> {
    return this.#calls.do('teardown', () => {
      this.#made.set(of[0].externalId, 'stopped');
      return super.teardown(...of);
    });
  }
}

const mock: Harness = {
  name: 'mock',
  // Nothing lies behind it.
  has: [],
  async open(clock, calls, behaviour) {
    const spec = runtimeProfileSpec.parse({
      runtime: 'mock',
      mock: {
        runSeconds: behaviour.queueSeconds + behaviour.runSeconds,
        failure: behaviour.fails ? 'Fail' : 'None',
      },
    });
    const profile = { name: 'mock', digest: 'sha256:0', spec };
    const made = new Map<string, 'live' | 'stopped'>();
    const io = (): RuntimeIo => ({
      profile,
      credentials: {},
      http: {
        fetch: () => {
          throw new Error('the mock asks nobody');
        },
      },
      signal: new AbortController().signal,
      now: () => clock.now,
    });
    return {
      profile,
      ask: {
        spec: worldRunSpec.parse({ request: { capability: 'generate', prompt: 'a pendulum' } }),
        files: new Map(),
      },
      async start() {
        return { runtime: new WatchedMock(calls, made), io };
      },
      async counts() {
        const live = [...made.values()].filter((state) => state === 'live').length;
        return { created: made.size, live };
      },
      secrets: () => [],
      close: async () => undefined,
    };
  },
};

conformance(mock);
