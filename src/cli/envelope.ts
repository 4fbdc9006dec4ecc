import { z } from 'zod';

/**
 * What `--json` prints: one document, `{apiVersion, kind, data}` or `{apiVersion, kind: "Error", error}`. Fields are only
 * ever added within one version.
 */

export const CLI_API_VERSION = 'cli.worldflux.ai/v1';

const ref = { namespace: z.string(), name: z.string() };
const condition = z.object({ type: z.string(), status: z.string(), reason: z.string(), message: z.string() });
const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const check = z.object({ check: z.string(), level: z.enum(['ok', 'info', 'error']), message: z.string() });

const runLine = z.object({
  ...ref,
  phase: z.string(),
  reason: z.string(),
  profile: z.string().nullable(),
  project: z.string().nullable(),
  attempts: z.int(),
  createdAt: z.string(),
  durationSeconds: z.number().nullable(),
});

const artifact = z.object({
  name: z.string(),
  rank: z.int(),
  state: z.string(),
  fileName: z.string().nullable(),
  sizeBytes: z.int().nullable(),
  sha256: digest.nullable(),
  message: z.string().nullable(),
});

/** Ids that an event may have besides are passed on. */
const providerEvent = z.looseObject({
  at: z.string(),
  provider: z.string(),
  operation: z.string(),
  phase: z.string(),
  attempt: z.int(),
  max_attempts: z.int(),
  method: z.string().nullable(),
  target: z.string().nullable(),
  status_code: z.int().nullable(),
  duration_ms: z.number().nullable(),
  message: z.string(),
  metadata: z.record(z.string(), z.unknown()),
});

/** The `data` of each kind. */
export const KINDS = {
  Doctor: z.object({
    healthy: z.boolean(),
    checks: z.array(check),
    /** `capabilities` is null where they are those of the profile's images. */
    runtimes: z.array(
      z.object({
        name: z.string(),
        capabilities: z.array(z.string()).nullable(),
        profiles: z.array(
          z.object({ name: z.string(), ready: z.boolean(), degraded: z.boolean(), reason: z.string() }),
        ),
      }),
    ),
  }),
  RuntimeList: z.object({
    items: z.array(
      z.object({
        name: z.string(),
        runtime: z.string(),
        isDefault: z.boolean(),
        ready: z.boolean(),
        reason: z.string(),
        image: z.string().nullable(),
        degraded: z.boolean(),
        supportLevel: z.string().nullable(),
        capabilities: z.array(z.string()).nullable(),
      }),
    ),
  }),
  RuntimeDoctor: z.object({
    healthy: z.boolean(),
    items: z.array(
      z.object({
        name: z.string(),
        runtime: z.string(),
        ready: z.boolean(),
        degraded: z.boolean(),
        message: z.string(),
        checks: z.array(check),
        /** What it is configured with, by name: never a value. */
        config: z.array(
          z.object({
            name: z.string(),
            present: z.boolean(),
            source: z.string().nullable(),
            required: z.boolean(),
            valid: z.boolean(),
          }),
        ),
      }),
    ),
  }),
  RunList: z.object({ items: z.array(runLine) }),
  Run: z.object({
    ...runLine.shape,
    uid: z.string(),
    message: z.string(),
    conditions: z.array(condition),
    attemptList: z.array(
      z.object({
        number: z.int(),
        node: z.string().nullable(),
        exitCode: z.int().nullable(),
        reason: z.string().nullable(),
      }),
    ),
    metrics: z.record(z.string(), z.number()),
    costEstimateUSD: z.string().nullable(),
    manifestDigest: digest.nullable(),
    artifactCount: z.int(),
  }),
  /** `source`: the live pod, or the run store. */
  Log: z.object({ ...ref, source: z.enum(['pod', 'store']), text: z.string() }),
  /** Lines of `provider-events.jsonl`, under the names that they have there. */
  EventList: z.object({ ...ref, items: z.array(providerEvent) }),
  Manifest: z.object({ ...ref, digest, manifest: z.record(z.string(), z.unknown()) }),
  ArtifactList: z.object({ ...ref, complete: z.boolean(), items: z.array(artifact) }),
  ArtifactFile: z.object({ ...ref, artifact: z.string(), file: z.string(), sizeBytes: z.int(), sha256: digest }),
  Approval: z.object({ ...ref, approvedBy: z.string(), specDigest: digest }),
  Cancel: z.object({ ...ref, changed: z.boolean() }),
  Retry: z.object({ ...ref, of: z.string() }),
  Sync: z.object({ ...ref, request: z.string() }),
} as const;
export type Kind = keyof typeof KINDS;

export const ERROR_CODES = [
  'failed',
  'usage',
  'notFound',
  'forbidden',
  'unreachable',
  'notVerified',
  'wrongState',
  'interrupted',
] as const;
export type ErrorCode = (typeof ERROR_CODES)[number];

export const errorBody = z.object({
  code: z.enum(ERROR_CODES),
  message: z.string(),
  /** A command to try next. */
  next: z.string().nullable(),
});

/** What a command answers: data for programs and the same as text for people. */
export interface Answer<K extends Kind = Kind> {
  kind: K;
  data: z.input<(typeof KINDS)[K]>;
  text: string;
  /** Instead of 0. */
  exitCode?: number;
}

export function answerOf<K extends Kind>(
  kind: K,
  data: z.input<(typeof KINDS)[K]>,
  text: string,
  exitCode?: number,
): Answer<K> {
  return { kind, data, text, ...(exitCode === undefined ? {} : { exitCode }) };
}
