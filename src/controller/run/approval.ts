import { inputDigest, ANNOTATIONS } from '../identity.ts';
import type { LiveRun } from './view.ts';
import type { RuntimeProfileSpec } from '../../crds/runtime-profile.ts';

/**
 * An approval names the digest of the spec, so that nobody approves what they have not seen, and the user who gave it.
 * That the name is true, and that its bearer may approve, is held by an admission policy in the API server. Pure.
 */

/** What has been approved; once the status says so it stays. */
export function approvalOf(run: LiveRun): LiveRun['approval'] {
  if (run.status.approval !== undefined) return run.status.approval;
  if (run.approval === undefined) return undefined;
  return run.approval.specDigest === inputDigest(run.spec) ? run.approval : undefined;
}

/** Why the run waits for a person, in words that say how to go on; undefined when it does not. */
export function awaitsApproval(run: LiveRun, profile: RuntimeProfileSpec): string | undefined {
  if (profile.approval?.required !== true && run.spec.approval?.required !== true) return undefined;
  if (approvalOf(run) !== undefined) return undefined;
  const digest = inputDigest(run.spec);
  const stale = run.approval === undefined ? '' : ' The approval that is there names another spec.';
  return `Somebody who may update worldruns/approval approves with: kubectl annotate worldrun ${run.name} -n ${run.namespace} --overwrite ${ANNOTATIONS.approve}=${digest} ${ANNOTATIONS.approvedBy}=<your user name>.${stale}`;
}
