/** Marks by which Argo CD and Flux find what they applied. */
const MARKS = ['argocd.argoproj.io/tracking-id', 'kustomize.toolkit.fluxcd.io/name', 'helm.toolkit.fluxcd.io/name'];
/** Argo CD's mark where it tracks by label, as it did before 3.0; helm and people set it too. */
const INSTANCE = 'app.kubernetes.io/instance';
/** Set by a real `helm install`; charts that Argo CD renders have no release. */
const HELM_RELEASE = 'meta.helm.sh/release-name';

/**
 * Whether a GitOps tool would create the object again if it were deleted. In doubt yes: a finished run that stays is an
 * object too many, one that is deleted and comes back runs again, and again after each time to live.
 */
export function trackedByGitOps(meta: {
  labels?: Record<string, string> | undefined;
  annotations?: Record<string, string> | undefined;
}): boolean {
  const marks = { ...meta.labels, ...meta.annotations };
  if (MARKS.some((mark) => mark in marks)) return true;
  return INSTANCE in marks && !(HELM_RELEASE in marks);
}
