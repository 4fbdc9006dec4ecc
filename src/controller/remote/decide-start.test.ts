import { expect, test } from 'vitest';
import { ms } from '../../runtime/local/testing/clock.ts';
import { decide } from '../run/decide.ts';
import { aPaidProfile } from '../testing/a-profile.ts';
import { aRun, type RunBuilder } from '../testing/a-run.ts';
import { aWorld } from '../testing/a-world.ts';
import { emptyVendorMemory, type VendorWorld } from './world.ts';

const asking = aRun()
  .asking({
    request: { prompt: 'x', files: [{ input: 'image', path: 'a.png' }] },
    source: { configMap: { name: 'in' } },
  })
  .asking({ acknowledgeExperimental: true });

test.each<[string, RunBuilder]>([
  ['a run', asking],
  ['a dry run', asking.dry()],
])('%s whose files are not there waits for them, and says so', (_, run) => {
  const profile = aPaidProfile().asking({ supportLevel: 'Production' });
  const world = aWorld({ run, profile, now: 10, memory: { record: null }, isPinned: true });
  const problem = 'there is no ConfigMap in, which spec.source names';
  world.memory.vendor = { ...emptyVendorMemory(), files: { problem, at: ms(9) } };
  world.vendor = {
    traits: { kind: 'Vendor', paid: true, support: 'Production', capabilities: ['generate'] },
    plan: undefined,
    access: { ready: true },
  } as unknown as VendorWorld;
  const decision = decide(world);
  expect(decision).toMatchObject({ do: 'writeStatus', situation: { is: 'waiting', message: problem } });
});
