import { Counter, Histogram, type Registry } from 'prom-client';
import { capabilityOf, statusClassOf, type ProviderEvent } from './provider-event.ts';
import type { ProviderEventSink } from './provider-events.ts';

const LABELS = ['provider', 'operation', 'phase', 'status_class', 'capability'] as const;

/** Milliseconds, because the metric's name says so: from a cache near by to a video that takes five minutes. */
export const LATENCY_BUCKETS_MS = [
  5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000,
];

const OPERATION = /^[a-z][a-z /.-]{0,47}$/;
/** Of one provider: all there are today are fewer than a dozen. */
const MOST_OPERATIONS = 24;

/** WorldForge's five metrics, with its names and its five labels. What is not known becomes `other`. */
export class ProviderMetrics implements ProviderEventSink {
  readonly name = 'metrics';
  readonly #providers: ReadonlySet<string>;
  readonly #operations = new Map<string, Set<string>>();
  readonly #events: Counter<(typeof LABELS)[number]>;
  readonly #done: Counter<(typeof LABELS)[number]>;
  readonly #retries: Counter<(typeof LABELS)[number]>;
  readonly #errors: Counter<(typeof LABELS)[number]>;
  readonly #latency: Histogram<(typeof LABELS)[number]>;

  /** `providers`: every value that the label may have. */
  constructor(registry: Registry, providers: readonly string[]) {
    this.#providers = new Set(providers);
    const counter = (name: string, help: string) =>
      new Counter({ name: `worldforge_provider_${name}`, help, labelNames: LABELS, registers: [registry] });
    this.#events = counter('events_total', 'Calls to providers, repeated ones and their ends alike');
    this.#done = counter('operations_total', 'Calls to providers that have ended, however they did');
    this.#retries = counter('retries_total', 'Calls to providers that were repeated');
    this.#errors = counter('errors_total', 'Calls to providers that failed or ran out of their budget');
    this.#latency = new Histogram({
      name: 'worldforge_provider_latency_ms',
      help: 'Milliseconds until a call to a provider was answered or given up, each try for itself',
      labelNames: LABELS,
      buckets: LATENCY_BUCKETS_MS,
      registers: [registry],
    });
  }

  accept(event: ProviderEvent): void {
    const provider = this.#providers.has(event.provider) ? event.provider : 'other';
    const labels = {
      provider,
      operation: this.#operationOf(provider, event.operation),
      phase: event.phase,
      status_class: statusClassOf(event),
      capability: capabilityOf(event),
    };
    this.#events.inc(labels);
    if (event.phase === 'retry') this.#retries.inc(labels);
    else this.#done.inc(labels);
    if (event.phase === 'failure' || event.phase === 'budget_exceeded') this.#errors.inc(labels);
    if (event.duration_ms !== null) this.#latency.observe(labels, event.duration_ms);
  }

  /** Operations are words of our own code. One that slipped in with an id or a number in it must not make a series each. */
  #operationOf(provider: string, operation: string): string {
    if (!OPERATION.test(operation)) return 'other';
    const known = this.#operations.get(provider) ?? new Set();
    this.#operations.set(provider, known);
    if (!known.has(operation) && known.size >= MOST_OPERATIONS) return 'other';
    known.add(operation);
    return operation;
  }
}
