import { createHash } from 'node:crypto';
import {
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Attributes,
  type Context,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, TracerProvider, type SpanExporter } from '@opentelemetry/sdk-trace';
import { VERSION } from '../version.ts';
import { statusClassOf, type ProviderEvent } from './provider-event.ts';
import type { EventContext, ProviderEventSink } from './provider-events.ts';

/** Loaded only where spans have somewhere to go: it brings OpenTelemetry with it. */

export interface SpanSinkOptions {
  /** Base URL of an OTLP/HTTP receiver, such as `http://collector:4318`. */
  readonly endpoint: string;
  /** Spans did not arrive; more are sent all the same. */
  onLost(error: unknown): void;
  /** How long a span may wait for others to go with; milliseconds. */
  readonly delayMs?: number;
}

const EXPORT_MS = 10_000;
const FLUSH_MS = 2_000;
/** Spans that wait; what comes on top is dropped. */
const QUEUE = 2048;

/** One span an event, with WorldForge's names. Spans of one run share a trace, however many processes saw to it. */
export class SpanSink implements ProviderEventSink {
  readonly name = 'spans';
  readonly #provider: TracerProvider;

  constructor({ endpoint, onLost, delayMs = 5000 }: SpanSinkOptions) {
    // Headers and certificates come from the OTEL_EXPORTER_OTLP_* variables.
    const url = `${endpoint.replace(/\/+$/, '')}/v1/traces`;
    const exporter = telling(new OTLPTraceExporter({ url, timeoutMillis: EXPORT_MS }), onLost);
    this.#provider = new TracerProvider({
      resource: resourceFromAttributes({ 'service.name': 'worldflux-operator', 'service.version': VERSION }),
      spanProcessors: [
        new BatchSpanProcessor({
          exporter,
          maxQueueSize: QUEUE,
          scheduledDelayMillis: delayMs,
          exportTimeoutMillis: EXPORT_MS,
        }),
      ],
    });
  }

  accept(event: ProviderEvent, { profile }: EventContext): void {
    const { provider, operation, phase, duration_ms: durationMs } = event;
    const end = Date.now();
    const span = this.#provider.getTracer('worldforge', VERSION).startSpan(
      `worldforge.provider.${provider}.${operation}.${phase}`,
      {
        kind: SpanKind.CLIENT,
        startTime: end - (durationMs ?? 0),
        attributes: { ...attributesOf(event), ...(profile !== undefined && { 'worldforge.host.profile': profile }) },
      },
      parentOf(event),
    );
    if (phase !== 'success') span.setStatus({ code: SpanStatusCode.ERROR, message: event.message });
    span.end(end);
  }

  /** Sends what waits, if that goes quickly. Never throws. */
  async close(): Promise<void> {
    await Promise.race([
      this.#provider.shutdown().catch(() => {}),
      new Promise<void>((resolve) => setTimeout(resolve, FLUSH_MS).unref()),
    ]);
  }
}

function attributesOf(event: ProviderEvent): Attributes {
  const { capability } = event.metadata;
  return {
    'worldforge.provider': event.provider,
    'worldforge.operation': event.operation,
    'worldforge.phase': event.phase,
    'worldforge.attempt': event.attempt,
    'worldforge.max_attempts': event.max_attempts,
    ...set('worldforge.duration_ms', event.duration_ms),
    ...set('worldforge.run_id', event.run_id),
    ...set('worldforge.request_id', event.request_id),
    ...set('worldforge.trace_id', event.trace_id),
    ...set('worldforge.span_id', event.span_id),
    ...set('worldforge.artifact_id', event.artifact_id),
    ...set('worldforge.input_digest', event.input_digest),
    ...set('http.request.method', event.method),
    ...set('http.response.status_code', event.status_code),
    ...set('url.full', event.target),
    ...set('worldforge.status_class', event.status_code === null ? null : statusClassOf(event)),
    ...set('worldforge.capability', typeof capability === 'string' ? capability : null),
    ...set('worldforge.message', event.message === '' ? null : event.message),
    'worldforge.metadata_json': JSON.stringify(event.metadata),
  };
}

const set = (name: string, value: string | number | null | undefined): Attributes =>
  value === null || value === undefined ? {} : { [name]: value };

/** A trace for each run, without anybody having to begin one. */
function parentOf({ run_id: runId }: ProviderEvent): Context {
  if (runId === undefined) return ROOT_CONTEXT;
  const digest = createHash('sha256').update(runId).digest('hex');
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId: digest.slice(0, 32),
    spanId: digest.slice(32, 48),
    traceFlags: TraceFlags.SAMPLED,
    isRemote: true,
  });
}

function telling(inner: SpanExporter, onLost: (error: unknown) => void): SpanExporter {
  return {
    export: (spans, done) =>
      inner.export(spans, (result) => {
        if (result.error !== undefined) onLost(result.error);
        done(result);
      }),
    shutdown: () => inner.shutdown(),
    forceFlush: () => inner.forceFlush?.() ?? Promise.resolve(),
  };
}
