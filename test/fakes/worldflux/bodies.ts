import { z } from 'zod';
import type { BodyName, Dialect, Names } from './dialects.ts';

/** What each request must hold, under canonical names; a dialect renames, wraps and drops. All of it is inferred. */

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

const SHAPES = {
  runs: {
    client_run_id: z.uuid(),
    project: z.string().min(1),
    manifest: z.looseObject({ client_run_id: z.string() }),
    metrics: z.record(z.string(), z.number()).optional(),
    log_lines: z.array(z.string()).optional(),
  },
  initiate: {
    run_id: z.uuid(),
    name: z.string().min(1).max(255),
    path: z.string().min(1),
    size_bytes: z.int().min(0),
    sha256,
    content_type: z.string().min(1),
  },
  commit: { artifact_id: z.uuid(), sha256, size_bytes: z.int().min(0) },
  abort: { artifact_id: z.uuid() },
  ledger: {
    project: z.string().min(1),
    expected_head: z.string().nullable(),
    head: z.string().min(1),
    client_run_id: z.uuid().optional(),
  },
} satisfies Record<BodyName, z.ZodRawShape>;

export type Canonical = { [K in BodyName]: z.infer<z.ZodObject<(typeof SHAPES)[K]>> };

function wireName(names: Names, field: string): string | null {
  const name = names[field];
  return name === undefined ? field : name;
}

/** The strict schema of one body as this dialect has it; undefined where no field is left. */
export function wireSchema(dialect: Dialect, body: BodyName): z.ZodObject | undefined {
  const shape: Record<string, z.ZodType> = {};
  const names = dialect.names[body] ?? {};
  for (const [field, schema] of Object.entries<z.ZodType>(SHAPES[body])) {
    const name = wireName(names, field);
    if (name === null) continue;
    if (field === 'log_lines' && dialect.log === 'text') shape[name] = z.string().optional();
    else if (field === 'project' && dialect.project === 'id') shape[name] = z.uuid();
    else shape[name] = schema;
  }
  if (body !== 'runs') return Object.keys(shape).length === 0 ? undefined : z.strictObject(shape);
  for (const field of dialect.demands ?? []) shape[field] = z.string().min(1);
  const run = z.strictObject(shape);
  return dialect.wrapRun === undefined ? run : z.strictObject({ [dialect.wrapRun]: run });
}

/** A checked wire body back under its canonical names. `extra` comes from the path. */
export function toCanonical<B extends BodyName>(
  dialect: Dialect,
  body: B,
  value: Record<string, unknown>,
  extra: Record<string, unknown>,
): Canonical[B] {
  const inner =
    body === 'runs' && dialect.wrapRun !== undefined ? (value[dialect.wrapRun] as Record<string, unknown>) : value;
  const out: Record<string, unknown> = { ...extra };
  for (const field of Object.keys(SHAPES[body])) {
    const name = wireName(dialect.names[body] ?? {}, field);
    if (name === null || inner[name] === undefined) continue;
    out[field] = field === 'log_lines' && typeof inner[name] === 'string' ? inner[name].split('\n') : inner[name];
  }
  return out as Canonical[B];
}
