// Generated from docs/runtimes/writing-a-runtime.md by `npm run generate`.
import { runtimeProfileSpec } from '../../../src/crds/runtime-profile.ts';
import { worldRunSpec } from '../../../src/crds/world-run.ts';
import { AcmeRuntime } from './runtime.ts';
import { Acme } from './vendor.ts';
import { Gate } from '../gate.ts';
import type { Harness } from '../harness.ts';
import { HttpProcess } from '../http-process.ts';

export const acme: Harness = {
  name: 'acme',
  has: ['queue', 'loss', 'strangers'],
  async open(clock, calls, { queueSeconds, runSeconds, fails, listsLag }) {
    const vendor = await Acme.open({
      now: () => clock.now,
      queueMs: queueSeconds * 1000,
      runMs: runSeconds * 1000,
      fails,
      listLagMs: listsLag ? 9000 : 0,
    });
    let key = 'acme-key-1';
    vendor.keys.add(key);
    const rotate = (when: 'at once' | 'later') => {
      const exchange = () => {
        key = 'acme-key-2';
        vendor.keys.add(key);
      };
      vendor.keys.clear();
      if (when === 'at once') exchange();
      else clock.after(60_000, exchange);
    };
    const gate = await Gate.open({ calls, rotate, target: vendor.origin });
    const endpoint = gate.origin;
    const spec = runtimeProfileSpec.parse({
      runtime: 'replicate',
      replicate: { model: 'acme/acme', endpoint },
      credentials: { secretRef: { name: 'acme' } },
      allowedNamespaces: {},
      network: { allowPlainHTTP: true, allowPrivateEndpoints: true },
    });
    const profile = { name: 'acme', digest: `sha256:${'0'.repeat(64)}`, spec };
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
          credentials: () => ({ ACME_API_KEY: key }),
        });
        processes.push(process);
        return { runtime: new AcmeRuntime(), io: () => process.io() };
      },
      counts: async () => ({ created: vendor.created, live: vendor.live }),
      loseEverything: () => vendor.jobs.clear(),
      strangers: async () => [vendor.add({ prompt: 'somebody else’s', max_seconds: 1 }).id],
      secrets: () => ['acme-key-1', 'acme-key-2'],
      async close() {
        await Promise.all(processes.map((process) => process.end()));
        await Promise.all([gate.close(), vendor.close()]);
      },
    };
  },
};
