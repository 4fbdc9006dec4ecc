import { expect, test } from 'vitest';
import { ANNOTATIONS, LABELS } from '../controller/identity.ts';
import { USER_CONTAINER } from '../runtime/local/pod-state.ts';
import { SYNC_ANNOTATION as SYNC } from '../controller/sync/ports.ts';
import { RERUN_ANNOTATION, SYNC_ANNOTATION } from './commands/change.ts';
import { ATTEMPT_LABEL, CONTAINER, RUN_UID_LABEL } from './pods.ts';

test('what the CLI looks for is what the operator writes', () => {
  expect({ RUN_UID_LABEL, ATTEMPT_LABEL, CONTAINER, RERUN_ANNOTATION, SYNC_ANNOTATION }).toEqual({
    RUN_UID_LABEL: LABELS.runUid,
    ATTEMPT_LABEL: LABELS.attempt,
    CONTAINER: USER_CONTAINER,
    RERUN_ANNOTATION: ANNOTATIONS.rerun,
    SYNC_ANNOTATION: SYNC,
  });
});
