import { replicateHarness } from './replicate.ts';
import { conformance } from './suite.ts';

conformance(replicateHarness());
