import type { ProviderEventSink } from './provider-events.ts';
import type { SpanSinkOptions } from './span-sink.ts';

export interface OpenSpans {
  /** None where spans have nowhere to go. */
  readonly sinks: readonly ProviderEventSink[];
  /** Sends what waits, within two seconds. Never throws. */
  close(): Promise<void>;
}

/** OpenTelemetry is loaded only where it has somewhere to send to. One that cannot be loaded costs the spans, not the process. */
export async function openSpans({
  endpoint,
  ...options
}: Omit<SpanSinkOptions, 'endpoint'> & { readonly endpoint: string | undefined }): Promise<OpenSpans> {
  const none = { sinks: [], close: () => Promise.resolve() };
  if (endpoint === undefined) return none;
  try {
    const { SpanSink } = await import('./span-sink.ts');
    const sink = new SpanSink({ endpoint, ...options });
    return { sinks: [sink], close: () => sink.close() };
  } catch (error) {
    options.onLost(error);
    return none;
  }
}
