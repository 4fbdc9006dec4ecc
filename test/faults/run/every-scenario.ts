import { SCENARIOS, type Scenario } from './scenarios.ts';
import { VENDOR_SCENARIOS } from './vendor-scenarios.ts';

/** Jobs in the cluster, and work that is bought at a vendor. */
export const EVERY_SCENARIO: readonly Scenario[] = [...SCENARIOS, ...VENDOR_SCENARIOS];
