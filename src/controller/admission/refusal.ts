import type { RefusedReason } from '../../crds/vocabulary.ts';

/** Why a profile does not let a run be, for good. */
export interface Refusal {
  reason: RefusedReason;
  /** Names the field and says what would be right. */
  message: string;
}
