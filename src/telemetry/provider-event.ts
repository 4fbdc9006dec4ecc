import { CAPABILITIES, type Capability } from '../crds/vocabulary.ts';
import { redactText } from './redaction.ts';
import { findSecrets } from './secret-patterns.ts';

/** One call to a vendor or to WorldFlux, as WorldForge describes it: what is recorded, and what never is. */

export const PROVIDER_PHASES = ['success', 'failure', 'retry', 'budget_exceeded'] as const;
export type ProviderPhase = (typeof PROVIDER_PHASES)[number];

export type Json = string | number | boolean | null | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [name: string]: Json;
}

/** The provider of calls to WorldFlux; the others are runtimes, by their names. */
export const WORLDFLUX = 'worldflux';

/** What the caller knows. Everything in it may hold secrets: {@link makeProviderEvent} takes them out. */
export interface ProviderEventInput {
  /** Name of the runtime, or `worldflux` for the sync. */
  readonly provider: string;
  /** Fixed words of the caller, such as `task poll`: never an id, it becomes a metric label. */
  readonly operation: string;
  readonly phase: ProviderPhase;
  /** From 1; 1 of 1 when absent. */
  readonly attempt?: number;
  readonly maxAttempts?: number;
  readonly method?: string;
  /** Where the call went: a path as sent, a URL, or `host:port`. */
  readonly target?: string;
  readonly statusCode?: number;
  readonly durationMs?: number;
  readonly message?: string;
  /** What the run asked for; becomes `metadata.capability`. `unknown` for calls that serve no run. */
  readonly capability?: string;
  readonly metadata?: JsonObject;
  readonly runId?: string;
  readonly requestId?: string;
  readonly traceId?: string;
  readonly spanId?: string;
  readonly artifactId?: string;
  readonly inputDigest?: string;
  /** The profile that the call was made for. Decides where the event counts; not a part of it. */
  readonly profile?: string;
  /** The call only asked whether the provider is there: its success may end a `Degraded`. Not a part of the event. */
  readonly healthCheck?: boolean;
}

/** As it is logged and stored: WorldForge's names, no secrets, bounded. Correlation ids are left out when unset. */
export interface ProviderEvent {
  readonly provider: string;
  readonly operation: string;
  readonly phase: ProviderPhase;
  readonly attempt: number;
  readonly max_attempts: number;
  readonly method: string | null;
  readonly target: string | null;
  readonly status_code: number | null;
  readonly duration_ms: number | null;
  readonly message: string;
  readonly metadata: JsonObject;
  readonly run_id?: string;
  readonly request_id?: string;
  readonly trace_id?: string;
  readonly span_id?: string;
  readonly artifact_id?: string;
  readonly input_digest?: string;
}

/** An event that says nothing usable; the message names the field. */
export class ProviderEventError extends Error {
  override readonly name = 'ProviderEventError';
}

export type Redact = (text: string) => string;
export const redactPatterns: Redact = (text) => redactText(text).text;

const LONGEST_NAME = 100;
const LONGEST_ID = 200;
const LONGEST_TARGET = 500;
const LONGEST_MESSAGE = 1000;
const HIDDEN = '[redacted]';

/**
 * Checks and cleans what a caller reports. `redact` takes secrets out of a text; it is asked before anything is cut, so
 * that half of a secret never passes for none. Throws ProviderEventError.
 */
export function makeProviderEvent(input: ProviderEventInput, redact: Redact = redactPatterns): ProviderEvent {
  const { phase, attempt = 1, maxAttempts = attempt, statusCode, durationMs } = input;
  if (!PROVIDER_PHASES.includes(phase)) throw new ProviderEventError(`phase: ${String(phase)} is none of them`);
  if (!Number.isSafeInteger(attempt) || attempt < 1) throw new ProviderEventError('attempt: counts from 1');
  if (!Number.isSafeInteger(maxAttempts) || maxAttempts < attempt)
    throw new ProviderEventError('maxAttempts: is at least attempt');
  if (statusCode !== undefined && !(Number.isInteger(statusCode) && statusCode >= 100 && statusCode <= 599))
    throw new ProviderEventError('statusCode: is from 100 to 599');
  if (durationMs !== undefined && !(Number.isFinite(durationMs) && durationMs >= 0))
    throw new ProviderEventError('durationMs: is finite and not negative');
  const metadata = {
    ...input.metadata,
    ...(input.capability !== undefined && { capability: input.capability }),
  };
  return {
    provider: nameIn('provider', input.provider),
    operation: nameIn('operation', input.operation),
    phase,
    attempt,
    max_attempts: maxAttempts,
    method: clip(input.method?.trim().toUpperCase() ?? '', LONGEST_NAME) || null,
    target: input.target === undefined ? null : sanitizeTarget(input.target, redact),
    status_code: statusCode ?? null,
    duration_ms: durationMs ?? null,
    message: sanitizeText(input.message ?? '', redact, LONGEST_MESSAGE),
    metadata: sanitizeMetadata(metadata, redact),
    ...idsOf(input, redact),
  };
}

function nameIn(field: string, value: unknown): string {
  const name = typeof value === 'string' ? value.trim() : '';
  if (name === '') throw new ProviderEventError(`${field}: is missing`);
  return clip(name, LONGEST_NAME);
}

function idsOf(input: ProviderEventInput, redact: Redact) {
  const ids = {
    run_id: input.runId,
    request_id: input.requestId,
    trace_id: input.traceId,
    span_id: input.spanId,
    artifact_id: input.artifactId,
    input_digest: input.inputDigest,
  };
  const set = Object.entries(ids).flatMap(([name, value]): [string, string][] => {
    const text = value === undefined ? '' : clip(redact(value.trim()), LONGEST_ID);
    return text === '' ? [] : [[name, text]];
  });
  return Object.fromEntries(set) as { [K in keyof typeof ids]?: string };
}

/** Text longer than this is not read to its end: a vendor's error page may be megabytes. */
const LONGEST_READ = 64 * 1024;
const URL_IN_TEXT = /https?:\/\/[^\s"'<>]+/gi;

/** Every URL in it loses userinfo, query and fragment; then whatever looks like a secret goes. */
export function sanitizeText(text: string, redact: Redact = redactPatterns, max = LONGEST_MESSAGE): string {
  const read = clip(text, LONGEST_READ);
  // Patterns first: a query that a URL is about to lose may show what kind of secret the rest of the text holds.
  return clip(
    redact(read).replaceAll(URL_IN_TEXT, (url) => withoutPrivateParts(url) || HIDDEN),
    max,
  );
}

/** Where a call went, without userinfo, query and fragment. Null when blank; `[redacted]` when nothing else is left. */
export function sanitizeTarget(target: string, redact: Redact = redactPatterns): string | null {
  const text = clip(target, LONGEST_READ).trim();
  if (text === '') return null;
  return clip(redact(withoutPrivateParts(text)), LONGEST_TARGET) || HIDDEN;
}

/** WHATWG's URL is of no use here: it would rewrite hosts and paths, and refuse what has to be shown all the same. */
function withoutPrivateParts(text: string): string {
  const [, scheme = '', authority = '', path = ''] =
    /^(?:([a-z][a-z0-9+.-]*):)?(\/\/[^/?#]*)?([^?#]*)/i.exec(text.replaceAll(/[\t\r\n]/g, '')) ?? [];
  const host = authority.replace(/^\/\/.*@/, '//');
  // Without `//` the first word is as likely a sentence (`Error: x`) or a host (`host:5555`) as a scheme.
  const prefix = scheme === '' ? '' : `${authority === '' ? scheme : scheme.toLowerCase()}:`;
  return `${prefix}${host}${path}`;
}

const DEEPEST = 6;
const MOST_ENTRIES = 64;
const LONGEST_METADATA = 8 * 1024;

/** Values under secret-like names go as a whole, but for the numbers that people need (`max_tokens`, `token_count`). */
export function sanitizeMetadata(metadata: JsonObject, redact: Redact = redactPatterns): JsonObject {
  const clean = cleanObject(metadata, redact, 0);
  return JSON.stringify(clean).length <= LONGEST_METADATA ? clean : { omitted: 'larger than 8 KiB' };
}

function cleanObject(value: JsonObject, redact: Redact, depth: number): JsonObject {
  const entries = Object.entries(value).slice(0, MOST_ENTRIES);
  return Object.fromEntries(
    entries.map(([name, item]) => [
      sanitizeText(name, redact, LONGEST_NAME),
      isSecretName(name, item) ? HIDDEN : clean(item, redact, depth + 1),
    ]),
  );
}

function clean(value: Json, redact: Redact, depth: number): Json {
  if (value === null || typeof value === 'boolean') return value;
  if (typeof value === 'string') return sanitizeText(value, redact);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new ProviderEventError('metadata: a number is not finite');
    return value;
  }
  if (depth > DEEPEST) return HIDDEN;
  if (Array.isArray(value)) return value.slice(0, MOST_ENTRIES).map((item: Json) => clean(item, redact, depth + 1));
  if (!isPlainObject(value)) throw new ProviderEventError('metadata: holds something that is not JSON');
  return cleanObject(value, redact, depth);
}

function isPlainObject(value: unknown): value is JsonObject {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** Too common in prose to be looked for there. */
const SECRET_NAME = /^(?:key|auth|sig|(?:set-)?cookies?|bearer)$/i;

/** One vocabulary for names and for text: the name is secret-like where an assignment to it would be redacted. */
function isSecretName(name: string, value: Json): boolean {
  if (SECRET_NAME.test(name)) return true;
  const shown = typeof value === 'number' ? String(value) : '"something"';
  return findSecrets(`${name.replaceAll(/[^\w.-]/g, '_')}=${shown}`).length > 0;
}

function clip(text: string, max: number): string {
  return (text.length <= max ? text : text.slice(0, max)).replace(/[\uD800-\uDBFF]$/, '').toWellFormed();
}

/** For labels and attributes: one of WorldForge's names, or `unknown`. */
export function capabilityOf(event: ProviderEvent): Capability | 'unknown' {
  const { capability } = event.metadata;
  return CAPABILITIES.find((known) => known === capability) ?? 'unknown';
}

/** `2xx`, or `none` where there was no answer. */
export function statusClassOf(event: ProviderEvent): string {
  return event.status_code === null ? 'none' : `${Math.floor(event.status_code / 100)}xx`;
}
