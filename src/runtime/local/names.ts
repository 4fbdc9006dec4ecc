import { hash } from 'node:crypto';

/** Names, labels and annotations of what a run makes in a cluster. All follow from the run: a lost answer changes none. */

/**
 * Name of an attempt's Job (and of the run's Service, without a number): at most 52 characters, so that pod names and
 * host names, which append to it, stay inside 63. Starts with a letter, as the name of a Service must.
 */
export function childName(run: { name: string; uid: string }, attempt?: number): string {
  const letter = /^[a-z]/.test(run.name) ? '' : 'r-';
  const readable = `${letter}${run.name.replaceAll('.', '-')}`.slice(0, 36).replace(/-+$/, '');
  const base = `${readable}-${shortHash(run.uid, 8)}`;
  return attempt === undefined ? base : `${base}-${attempt}`;
}

/** The first `length` hexadecimal digits of the text's SHA-256. */
export function shortHash(text: string, length: number): string {
  return hash('sha256', text).slice(0, length);
}

export const JOB_LABELS = {
  managedBy: 'app.kubernetes.io/managed-by',
  /** Uid of the WorldRun, on every child. */
  runUid: 'worldflux.ai/run-uid',
  /** Name of the WorldRun where it fits into a label. */
  runName: 'worldflux.ai/run',
  attempt: 'worldflux.ai/attempt',
  /** On a Job: whose it is, where several operators share a cluster. */
  installation: 'worldflux.ai/installation',
  clientRunId: 'worldflux.ai/client-run-id',
} as const;

/** The Kueue queue that a Job waits in: asked for by the run or its profile, or put there by Kueue. */
export const KUEUE_QUEUE_LABEL = 'kueue.x-k8s.io/queue-name';

export const JOB_ANNOTATIONS = {
  /** What the Job was made from. Decides whether a Job found under our name is ours. */
  templateDigest: 'worldflux.ai/template-digest',
  profileDigest: 'worldflux.ai/profile-digest',
  profileName: 'worldflux.ai/profile',
} as const;

export const MANAGER = 'worldflux-operator';
