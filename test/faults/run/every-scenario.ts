import { MONEY_SCENARIOS } from './money-scenarios.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';
import { VENDOR_SCENARIOS } from './vendor-scenarios.ts';

/** Jobs in the cluster, work that is bought at a vendor, and what that may cost. */
export const EVERY_SCENARIO: readonly Scenario[] = [...SCENARIOS, ...VENDOR_SCENARIOS, ...MONEY_SCENARIOS];
