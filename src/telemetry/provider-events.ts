import type { Logger } from 'pino';
import {
  makeProviderEvent,
  redactPatterns,
  type ProviderEvent,
  type ProviderEventInput,
  type Redact,
} from './provider-event.ts';

/** What reports calls to a vendor or to WorldFlux. */
export interface ProviderEventRecorder {
  /** Never throws and never waits: telemetry does not decide how a run ends. */
  emit(event: ProviderEventInput): void;
}

/** What an event is about without being a part of it. */
export interface EventContext {
  readonly profile: string | undefined;
  /** The call only asked whether the vendor is there. */
  readonly healthCheck: boolean;
}

export interface ProviderEventSink {
  /** A bounded label value. */
  readonly name: string;
  /** Called in the turn of the call that is reported: it keeps what it gets, and does I/O later. */
  accept(event: ProviderEvent, context: EventContext): void;
}

export interface ProviderEventsOptions {
  readonly sinks: readonly ProviderEventSink[];
  /** Takes secrets out of a text; by patterns when absent. */
  readonly redact?: Redact;
  /** An event went nowhere. `sink` is `event` where the event itself could not be used. */
  onLost(sink: string, error: unknown): void;
}

/** Hands every event to every sink, each a copy of its own: what one does with it, or fails to do, no other sees. */
export class ProviderEvents implements ProviderEventRecorder {
  readonly #sinks: readonly ProviderEventSink[];
  readonly #redact: Redact;
  readonly #onLost: ProviderEventsOptions['onLost'];

  constructor({ sinks, redact = redactPatterns, onLost }: ProviderEventsOptions) {
    this.#sinks = sinks;
    this.#redact = redact;
    this.#onLost = onLost;
  }

  emit(input: ProviderEventInput): void {
    let event: ProviderEvent;
    try {
      event = makeProviderEvent(input, this.#redact);
    } catch (error) {
      this.#lost('event', error);
      return;
    }
    for (const sink of this.#sinks) {
      try {
        sink.accept(structuredClone(event), { profile: input.profile, healthCheck: input.healthCheck === true });
      } catch (error) {
        this.#lost(sink.name, error);
      }
    }
  }

  #lost(sink: string, error: unknown): void {
    try {
      this.#onLost(sink, error);
    } catch {
      // There is nobody left to tell.
    }
  }
}

/** One JSON line an event: what went well at level debug, so that polling does not drown the log. */
export class LogSink implements ProviderEventSink {
  readonly name = 'log';
  readonly #log: Pick<Logger, 'debug' | 'info' | 'warn'>;

  constructor(log: Pick<Logger, 'debug' | 'info' | 'warn'>) {
    this.#log = log;
  }

  accept(event: ProviderEvent, { profile }: EventContext): void {
    const line = { event_type: 'provider_event', ...event, ...(profile !== undefined && { profile }) };
    const words = `${event.provider} ${event.operation}: ${event.phase}`;
    if (event.phase === 'success') this.#log.debug(line, words);
    else if (event.phase === 'retry') this.#log.info(line, words);
    else this.#log.warn(line, words);
  }
}
