import { WORLDFLUX } from '../telemetry/provider-event.ts';
import type { ProviderEventRecorder } from '../telemetry/provider-events.ts';
import { UpstreamError } from './errors.ts';

/** One call to WorldFlux, to be told of. */
export interface ReportedCall {
  readonly events: ProviderEventRecorder;
  /** Words of our own, such as `post a run`. */
  readonly doing: string;
  readonly method: string;
  readonly url: URL;
  readonly clientRunId?: string | undefined;
}

/**
 * Does a call and reports how it ended. `answered` is to be called with the status as soon as there is one: what is wrong
 * with an answer is then a failure of that call, not a success that nobody could use.
 */
export async function reported<T>(
  call: ReportedCall,
  work: (answered: (status: number) => void) => Promise<T>,
): Promise<T> {
  const begun = performance.now();
  let statusCode: number | undefined;
  const report = (phase: 'success' | 'failure', message: string, metadata: Record<string, string>): void => {
    const { events, doing, method, url, clientRunId } = call;
    events.emit({
      provider: WORLDFLUX,
      operation: doing,
      phase,
      method,
      target: url.href,
      ...(statusCode !== undefined && { statusCode }),
      durationMs: performance.now() - begun,
      message,
      // Syncing serves no capability: the run has long had its own.
      capability: 'unknown',
      metadata: { ...metadata, ...(clientRunId !== undefined && { client_run_id: clientRunId }) },
    });
  };
  try {
    const result = await work((status) => (statusCode = status));
    report('success', '', {});
    return result;
  } catch (error) {
    const fault = error instanceof UpstreamError ? error.fault.kind : 'unexpected';
    // Our own end, or our own guard or store, says nothing about WorldFlux.
    if (fault !== 'aborted' && fault !== 'source')
      report('failure', error instanceof Error ? error.message : '', { fault });
    throw error;
  }
}
