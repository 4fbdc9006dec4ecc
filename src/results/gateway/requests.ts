import { z } from 'zod';
import { MOST_ENTRIES, WINDOWS } from '../../telemetry/fingerprints.ts';
import { RefusalError } from './http.ts';

/** The bodies as they must be; a run's own code may have a hand in every one. */

const hex = z.string().regex(/^[0-9a-f]{64}$/);
const bytes = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

export const progressPost = z.strictObject({
  percent: z.number().min(0).max(100).optional(),
  etaSeconds: z.number().min(0).max(1e9).optional(),
  step: z.int().min(0).optional(),
});

export const fingerprintPost = z.strictObject({
  salt: z.base64().length(44),
  base: z.int().min(1).max(0xffffffff),
  entries: z
    .array(
      z.strictObject({
        length: z.int().refine((length) => (WINDOWS as readonly number[]).includes(length)),
        rolling: z
          .int()
          .min(-(2 ** 31))
          .max(2 ** 31 - 1),
        strong: z.string().length(22),
      }),
    )
    .max(MOST_ENTRIES),
});

export const uploadPost = z.strictObject({
  kind: z.enum(['artifact', 'series']),
  name: z.string().min(1).max(63),
  extension: z.string().regex(/^[a-z0-9]{0,12}$/),
  size: bytes,
  sha256: hex,
  contentType: z
    .string()
    .max(128)
    .regex(/^[\w.+-]+\/[\w.+-]+(; ?charset=[\w-]+)?$/),
  partSha256: z.array(hex).max(256).optional(),
  uploadId: z.string().min(1).max(1024).optional(),
});

const artifact = z.strictObject({
  name: z.string().min(1).max(63),
  path: z.string().max(512),
  rank: z.int().min(0).optional(),
  count: z.int().min(0).optional(),
  sizeBytes: bytes.optional(),
  sha256: z.string().max(71).optional(),
  treeDigest: z.string().max(71).optional(),
  contentType: z.string().max(128).optional(),
  commit: z.boolean(),
  state: z.enum(['Stored', 'Missing', 'Refused', 'Failed', 'Skipped']),
  message: z.string().max(512).optional(),
});

export const MOST_METRICS = 256;

export const resultPost = z.strictObject({
  metrics: z
    .record(z.string().min(1).max(128), z.number())
    .refine((metrics) => Object.keys(metrics).length <= MOST_METRICS, `at most ${MOST_METRICS} metrics`),
  metricsOmitted: z.int().min(0),
  metricsProblem: z.string().max(512).optional(),
  series: z.strictObject({ path: z.string().max(900), bytes, lines: bytes, dropped: bytes }).optional(),
  artifacts: z.array(artifact).max(64),
});

/** Throws RefusalError that names the field. */
export function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new RefusalError(
    400,
    'invalid',
    `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not valid'}`.slice(0, 300),
  );
}
