import type { Runtime } from './contract.ts';
import { GenieRuntime } from './genie/runtime.ts';
import { MockRuntime } from './mock/runtime.ts';
import { ReplicateRuntime } from './replicate/runtime.ts';

/** Every runtime whose work does not lie in this cluster: a new one is a line here. */
export function makeVendors(): Runtime[] {
  return [new ReplicateRuntime(), new MockRuntime(), new GenieRuntime()];
}
