import type { Logger } from 'pino';
import { RUNTIME_NAMES } from '../crds/vocabulary.ts';
import type { RunStore } from '../results/contract.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { WORLDFLUX } from '../telemetry/provider-event.ts';
import { LogSink, ProviderEvents } from '../telemetry/provider-events.ts';
import { ProviderHealth } from '../telemetry/provider-health.ts';
import { ProviderMetrics } from '../telemetry/provider-metrics.ts';
import { openSpans } from '../telemetry/spans.ts';
import { redact } from '../telemetry/secrets-in-use.ts';
import { RunEvents } from './run-events.ts';
import type { Caches } from './caches.ts';

export interface ProviderTelemetryOptions {
  log: Logger;
  metrics: Metrics;
  store: RunStore;
  caches: Caches;
  installation: string;
  /** OTLP/HTTP; without it no span is made and nothing of OpenTelemetry is loaded. */
  otlpEndpoint: string | undefined;
}

/** Every call to a vendor or to WorldFlux, and everywhere that it is told: log, metrics, the run's own file, spans, health. */
export class ProviderTelemetry {
  readonly events: ProviderEvents;
  readonly health: ProviderHealth;
  readonly #runEvents: RunEvents;
  readonly #spans: Awaited<ReturnType<typeof openSpans>>;

  private constructor(parts: {
    events: ProviderEvents;
    health: ProviderHealth;
    runEvents: RunEvents;
    spans: Awaited<ReturnType<typeof openSpans>>;
  }) {
    this.events = parts.events;
    this.health = parts.health;
    this.#runEvents = parts.runEvents;
    this.#spans = parts.spans;
  }

  static async open(options: ProviderTelemetryOptions): Promise<ProviderTelemetry> {
    const { log, metrics, store, caches, installation } = options;
    const lost = (sink: string, error: unknown) => {
      metrics.eventLost(sink);
      log.debug({ sink, err: error }, 'a provider event was lost');
    };
    const health = new ProviderHealth();
    caches.profiles.subscribe((change) => {
      if (change.type === 'deleted') health.forget(change.old.name);
    });
    const runEvents = new RunEvents({
      store,
      caches,
      installation,
      onLost: (error) => lost('runs', error),
      now: Date.now,
    });
    runEvents.start();
    const spans = await openSpans({ endpoint: options.otlpEndpoint, onLost: (error) => lost('spans', error) });
    const events = new ProviderEvents({
      sinks: [
        new LogSink(log),
        new ProviderMetrics(metrics.registry, [...RUNTIME_NAMES, WORLDFLUX]),
        health,
        runEvents,
        ...spans.sinks,
      ],
      redact,
      onLost: lost,
    });
    return new ProviderTelemetry({ events, health, runEvents, spans });
  }

  /** Why new runs of a profile wait, in words; undefined while its vendor is well. */
  trouble(profile: string): string | undefined {
    const { degraded, message } = this.health.degraded(profile);
    return degraded ? message : undefined;
  }

  async close(): Promise<void> {
    this.health.stop();
    await Promise.all([this.#spans.close(), this.#runEvents.close()]);
  }
}
