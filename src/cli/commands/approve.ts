import type { V1SelfSubjectReview } from '@kubernetes/client-node';
import { inputDigest } from '../../crds/input-digest.ts';
import { resourceType, type Wire } from '../../kube/resource.ts';
import { answerOf, type Answer } from '../envelope.ts';
import { CliError } from '../errors.ts';
import { getRun, refOf, type Session } from '../session.ts';
import { change } from './change.ts';

const SELF_SUBJECT_REVIEWS = resourceType<Wire<V1SelfSubjectReview>>({
  group: 'authentication.k8s.io',
  version: 'v1',
  plural: 'selfsubjectreviews',
  namespaced: false,
  kind: 'SelfSubjectReview',
});

export const APPROVE_ANNOTATION = 'worldflux.ai/approve';
export const APPROVED_BY_ANNOTATION = 'worldflux.ai/approved-by';

/** Approves the spec as it is now, in the name under which the cluster knows whoever asks. */
export async function approve(session: Session, name: string): Promise<Answer<'Approval'>> {
  const { client, signal } = session;
  const run = await getRun(session, name);
  const ref = refOf(run);
  const reason = run.status?.conditions?.find(({ type }) => type === 'Ready')?.reason ?? 'Pending';
  if (reason !== 'AwaitingApproval')
    throw new CliError(
      'wrongState',
      `${name} does not wait for an approval: it is ${run.status?.phase ?? 'Pending'} (${reason})`,
      `kubectl worldflux runs show ${name} -n ${ref.namespace}`,
    );
  const { status } = await client.create(SELF_SUBJECT_REVIEWS, { metadata: {} }, { signal });
  const approvedBy = status?.userInfo?.username ?? '';
  const specDigest = inputDigest(run.spec);
  const annotations = { [APPROVE_ANNOTATION]: specDigest, [APPROVED_BY_ANNOTATION]: approvedBy };
  await change(session, run, { metadata: { annotations } });
  return answerOf(
    'Approval',
    { ...ref, approvedBy, specDigest },
    `${name} is approved by ${approvedBy}, as its spec is now: ${specDigest}`,
  );
}
