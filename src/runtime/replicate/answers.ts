import { z } from 'zod';

/** What the vendor's answers hold, as far as it is used. Whatever else stands in them is left out. */

/** Ids go into paths of requests; one that came from elsewhere must not lead anywhere else. */
export const PREDICTION_ID = /^[A-Za-z0-9]{1,64}$/;

export interface Prediction {
  readonly id: string;
  /** starting, processing, succeeded, failed, canceled, aborted; perhaps others one day. */
  readonly status: string;
  readonly model: string | undefined;
  /** 64 hexadecimal digits, or `hidden`. */
  readonly version: string | undefined;
  readonly deployment: string | undefined;
  readonly input: unknown;
  readonly output: unknown;
  readonly error: string | undefined;
  /** Lists hold none. */
  readonly logs: string | undefined;
  /** Input, output and logs are removed; about an hour after the end. */
  readonly dataRemoved: boolean;
  /** Milliseconds since the epoch, here and below. */
  readonly createdAt: number;
  readonly startedAt: number | undefined;
  readonly completedAt: number | undefined;
  /** When the vendor itself ends it. */
  readonly deadline: number | undefined;
  /** `api`, or `web` for its playground. */
  readonly source: string | undefined;
  readonly metrics: Readonly<Record<string, unknown>>;
}

const text = z
  .string()
  .nullish()
  .transform((value) => value ?? undefined);
const time = z
  .string()
  .nullish()
  .transform((value) => {
    const ms = Date.parse(value ?? '');
    return Number.isNaN(ms) ? undefined : ms;
  });

export const prediction = z
  .object({
    id: z.string().regex(PREDICTION_ID),
    status: z.string().max(64),
    model: text,
    version: text,
    deployment: text,
    input: z.unknown().optional(),
    output: z.unknown().optional(),
    error: z.unknown().optional(),
    logs: text,
    data_removed: z.boolean().nullish(),
    created_at: z.string(),
    started_at: time,
    completed_at: time,
    deadline: time,
    source: text,
    metrics: z.record(z.string(), z.unknown()).nullish(),
  })
  .transform((p, context): Prediction => {
    const createdAt = Date.parse(p.created_at);
    if (Number.isNaN(createdAt)) context.addIssue('created_at is no time');
    return {
      id: p.id,
      status: p.status,
      model: p.model,
      version: p.version,
      deployment: p.deployment,
      input: p.input,
      output: p.output,
      error: p.error === null || p.error === undefined ? undefined : wordsOf(p.error),
      logs: p.logs,
      dataRemoved: p.data_removed ?? false,
      createdAt,
      startedAt: p.started_at,
      completedAt: p.completed_at,
      deadline: p.deadline,
      source: p.source,
      metrics: p.metrics ?? {},
    };
  });

const wordsOf = (error: unknown): string => (typeof error === 'string' ? error : JSON.stringify(error));

export const page = z.object({
  next: text,
  results: z.array(z.unknown()),
});

export const account = z.object({ type: text, username: text });
export const model = z.object({
  is_official: z.boolean().nullish(),
  latest_version: z.object({ id: z.string() }).nullish(),
});
export const version = z.object({ id: z.string() });
export const deployment = z.object({
  current_release: z.object({ model: text, version: text }).nullish(),
});
export const webhookSecret = z.object({ key: z.string().min(1) });

export const file = z.object({
  id: z.string().regex(/^[A-Za-z0-9_-]{1,128}$/),
  size: z.number().nullish(),
  checksums: z.object({ sha256: text }).nullish(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
  expires_at: time,
  urls: z.object({ get: z.string() }),
});
export type VendorFile = z.output<typeof file>;
