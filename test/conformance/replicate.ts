import { runtimeProfileSpec } from '../../src/crds/runtime-profile.ts';
import { worldRunSpec } from '../../src/crds/world-run.ts';
import type { Runtime } from '../../src/runtime/contract.ts';
import { ReplicateRuntime } from '../../src/runtime/replicate/runtime.ts';
import { MODEL, startReplicate, TOKEN } from '../fakes/replicate/server.ts';
import { Gate } from './gate.ts';
import type { Harness } from './harness.ts';
import { HttpProcess } from './http-process.ts';

const NEXT_TOKEN = 'r8_NextTokenForTestsOnly0000000000000000';
const MINUTE = 60_000;

/** `of` makes the runtime of a process; another than the real one shows what the suite finds. */
export const replicateHarness = (of: () => Runtime = () => new ReplicateRuntime()): Harness => ({
  name: 'replicate',
  has: ['queue', 'loss', 'strangers', 'changes'],
  async open(clock, calls, { queueSeconds, runSeconds, fails, listsLag, changesRequests = false }) {
    const fake = await startReplicate({
      now: () => clock.now,
      behaviour: {
        queueMs: queueSeconds * 1000,
        runMs: runSeconds * 1000,
        outcome: fails ? 'fail' : 'succeed',
        output: [{ $file: 'clip.mp4', type: 'video/mp4', text: 'frames' }],
        logs: ['one', 'two', 'three'],
      },
    });
    if (listsLag) fake.state.listLagMs = new ReplicateRuntime().traits.listLagMs - 1000;
    if (changesRequests) fake.state.echo = (input) => ({ guidance: 3.5, ...(input as object) });
    let held = TOKEN;
    const rotate = (when: 'at once' | 'later') => {
      fake.state.tokens.clear();
      const put = () => {
        fake.state.tokens.add(NEXT_TOKEN);
        held = NEXT_TOKEN;
      };
      if (when === 'at once') put();
      else clock.after(MINUTE, put);
    };
    const api = await Gate.open({ calls, rotate, target: fake.controlUrl });
    const delivery = await Gate.open({
      calls,
      rotate,
      target: fake.deliveryUrl,
      // No key goes there.
      faults: [
        'the process dies before it',
        'the process dies after its effect',
        'the connection is lost before it',
        'throttled, with Retry-After',
        '503, nothing done',
      ],
    });
    const endpoint = `${api.origin}/v1`;
    fake.publicUrl = endpoint;
    fake.state.deliveryUrl = delivery.origin;
    const profile = {
      name: 'hosted',
      digest: `sha256:${'0'.repeat(64)}`,
      spec: runtimeProfileSpec.parse({
        runtime: 'replicate',
        replicate: { model: MODEL, endpoint },
        credentials: { secretRef: { name: 'replicate' } },
        allowedNamespaces: {},
        network: { allowPlainHTTP: true, allowPrivateEndpoints: true },
      }),
    };
    const processes: HttpProcess[] = [];
    return {
      profile,
      ask: { spec: worldRunSpec.parse({ request: { prompt: 'a cup on a table' } }), files: new Map() },
      async start() {
        const process = new HttpProcess({
          profile,
          endpoint,
          clock,
          calls,
          credentials: () => ({ REPLICATE_API_TOKEN: held }),
        });
        processes.push(process);
        return { runtime: of(), io: () => process.io() };
      },
      counts: async () => ({ created: fake.state.created, live: fake.state.live }),
      loseEverything: () => fake.state.predictions.clear(),
      async strangers() {
        const target = { model: MODEL, version: 'a'.repeat(64) };
        return [{ prompt: 'somebody else’s' }, {}].map((input) => fake.state.create(target, input, {}).id);
      },
      secrets: () => [TOKEN, NEXT_TOKEN],
      async close() {
        await Promise.all(processes.map((process) => process.end()));
        await Promise.all([api.close(), delivery.close(), fake.close()]);
      },
    };
  },
});
