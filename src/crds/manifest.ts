import { hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { z } from 'zod';

/**
 * The run manifest: the same shape whatever runtime did the work.
 *
 * `metrics` and `runtime` are documented upstream; every other key is this project's own. Numbers survive the API
 * server's JSON round trip, so that the digest can be checked by anybody who reads the object back.
 */

const key = z.string().min(1).max(128);
const short = z.string().max(512);
const timestamp = z.iso.datetime();
const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
/** Finite: NaN and the infinities are not JSON. Every finite double survives JSON → etcd → JSON. */
const number = z.number();

export const SECRET_LIKE_KEY = /(secret|passw(or)?d|token|api[_-]?key|credential|private[_-]?key|authorization)s?$/i;
/** A query parameter that makes a URL a credential, with its value. */
export const SIGNED_PARAMETER =
  /([?&])(?:x-amz-signature|x-amz-credential|x-goog-signature|signature|sig|token|access_token)=[^&\s#]*/gi;

const publicText = short.refine((s) => s.search(SIGNED_PARAMETER) === -1, {
  message: 'must not hold a signed URL: drop its query',
});
const publicKey = key.refine((k) => !SECRET_LIKE_KEY.test(k), {
  message: 'looks like the name of a secret: leave it out',
});

export const manifestSchema = z.strictObject({
  schema_version: z.literal('worldflux-operator.run_manifest.v1'),
  client_run_id: z.uuid(),
  run_id: short,
  status: z.enum(['succeeded', 'failed', 'cancelled']),
  reason: short,
  task: short.nullable(),
  adapter: z.strictObject({ id: short, source: publicText.nullable(), revision: short.nullable() }).nullable(),
  runtime_name: short,
  /** Documented upstream: leaves that the runtime reports. */
  runtime: z.record(publicKey, publicText),
  /** Documented upstream: what the run measured. */
  metrics: z.record(key, number),
  metrics_omitted: z.int().min(0),
  command: z.array(publicText).max(256),
  image: z.strictObject({ reference: publicText, digest: digest.nullable() }).nullable(),
  source: z.strictObject({ url: publicText, ref: short, commit: short.nullable() }).nullable(),
  datasets: z.array(z.strictObject({ id: short, revision: short.nullable() })).max(32),
  profile: z.strictObject({ name: short, digest: short }),
  operator_version: short,
  nodes: z.int().min(1),
  gpu: z.strictObject({ resource: short, per_node: z.int().min(0) }).nullable(),
  /** Names only: whether a variable was there, never what it held. */
  environment: z.array(z.strictObject({ name: key, source: z.enum(['literal', 'provider']) })).max(512),
  input_digest: digest,
  result_digest: digest.nullable(),
  event_count: z.int().min(0),
  attempts: z
    .array(
      z.strictObject({
        number: z.int().min(1),
        started_at: timestamp.nullable(),
        finished_at: timestamp.nullable(),
        exit_code: z.int().nullable(),
        reason: short.nullable(),
      }),
    )
    .max(16),
  attempt_count: z.int().min(0),
  exit_code: z.int().nullable(),
  started_at: timestamp.nullable(),
  finished_at: timestamp,
  duration_seconds: number.nullable(),
  cost_estimate_usd: number.nullable(),
  log_path: short.nullable(),
  artifacts: z
    .array(
      z.strictObject({
        name: short,
        path: publicText,
        rank: z.int().min(0).nullable(),
        size_bytes: z.int().min(0).nullable(),
        count: z.int().min(0).nullable(),
        sha256: short.nullable(),
        tree_digest: short.nullable(),
        content_type: short.nullable(),
        commit: z.boolean(),
        state: short,
      }),
    )
    .max(1024),
});
export type Manifest = z.output<typeof manifestSchema>;

/** SHA-256 over the RFC 8785 canonical JSON of any JSON value, as `sha256:<hex>`. */
export function digestOf(value: unknown): string {
  const text = canonicalize(value);
  if (text === undefined) throw new TypeError('not a JSON value');
  return `sha256:${hash('sha256', text)}`;
}
