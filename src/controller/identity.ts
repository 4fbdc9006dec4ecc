import { hash } from 'node:crypto';
import { inputDigest } from '../crds/input-digest.ts';
import type { WorldRunSpec } from '../crds/world-run.ts';
import { JOB_ANNOTATIONS, JOB_LABELS, shortHash } from '../runtime/local/names.ts';

export { inputDigest } from '../crds/input-digest.ts';
export { childName, MANAGER } from '../runtime/local/names.ts';

/** Every name and id that is derived rather than stored, so that a lost write yields the same one again. */

/** UUID v5 (RFC 9562 §5.5): SHA-1 over a namespace UUID and a name. */
export function uuid5(namespace: string, name: string): string {
  const input = Buffer.concat([Buffer.from(namespace.replaceAll('-', ''), 'hex'), Buffer.from(name)]);
  const id = hash('sha1', input, 'buffer').subarray(0, 16);
  id[6] = (id[6]! & 0x0f) | 0x50;
  id[8] = (id[8]! & 0x3f) | 0x80;
  const hex = id.toString('hex');
  // Joined, which makes one string; a template would keep a tree of its pieces, and a cache has many thousands of them.
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** Root of every id of this project; never changes. */
const ROOT = '6f1f6d6e-6f3b-5f0e-9d2b-0c7c3f1f2f57';

/**
 * One installation: this cluster and this release. Stands in store prefixes, token audiences and marks at vendors, so
 * two installations that share a bucket or an account never take each other's work.
 */
export function installationId(kubeSystemUid: string, releaseNamespace: string): string {
  return uuid5(ROOT, `${kubeSystemUid}/${releaseNamespace}`);
}

/** The run's identity in the store and upstream: the same on every retry, and with a `runKey` across re-creation. */
export function clientRunId(
  installation: string,
  run: { namespace: string; uid: string; runKey?: string | undefined },
): string {
  const own = run.runKey === undefined ? `uid/${run.uid}` : `key/${run.runKey}`;
  return uuid5(installation, `${run.namespace}/${own}`);
}

/**
 * What a paid run asks for, by its name and spec: the same for a run that is deleted and applied again, or restored
 * without its status, so that neither buys a second time.
 */
export function purchaseId(installation: string, run: { namespace: string; name: string; spec: WorldRunSpec }): string {
  return uuid5(installation, `${run.namespace}/purchase/${run.name}/${inputDigest(run.spec)}`);
}

/** Sortable by creation; needs no write to choose. */
export function runId(createdAt: string, uid: string): string {
  const stamp = new Date(createdAt).toISOString().replaceAll(/[-:]|\.\d+/g, '');
  return `${stamp}-${shortHash(uid, 8)}`;
}

/** ConfigMap of a pinned profile. `digest` is `sha256:<hex>`. */
export function pinName(digest: string): string {
  return `rtp-${digest.replace(/^sha256:/, '').slice(0, 16)}`;
}

export const LABELS = { ...JOB_LABELS, pinnedProfile: 'worldflux.ai/pinned-profile' } as const;

export const ANNOTATIONS = {
  ...JOB_ANNOTATIONS,
  /** On a WorldRun: `<runId>` of the recorded run that shall be executed again. */
  rerun: 'worldflux.ai/rerun',
  /** On a WorldRun: `<attempt>=<vendor id>` or `<attempt>=none`, what a person found out where looking could not tell. */
  submitOutcome: 'worldflux.ai/submit-outcome',
  /** On a WorldRun: digest of the spec that is approved, and the user who says so; an admission policy holds both true. */
  approve: 'worldflux.ai/approve',
  approvedBy: 'worldflux.ai/approved-by',
} as const;

/** On a WorldRun that buys work at a vendor, from before the first request until the work has ended. */
export const FINALIZER = 'worldflux.ai/vendor-work';
