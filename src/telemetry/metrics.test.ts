import { expect, test } from 'vitest';
import { Metrics } from './metrics.ts';
import { makeProviderEvent, type ProviderEventInput } from './provider-event.ts';
import { ProviderMetrics } from './provider-metrics.ts';

/** Series that are not 0, by their labels' values in order; histograms by their counts alone. */
async function valuesOf(metrics: Metrics, name: string): Promise<Record<string, number>> {
  const { values } = await metrics.registry.getSingleMetric(name)!.get();
  const wanted = values.filter(
    ({ metricName, value }: { metricName?: string; value: number }) =>
      value !== 0 && (metricName === undefined || metricName === name || metricName === `${name}_count`),
  );
  return Object.fromEntries(wanted.map(({ labels, value }) => [Object.values(labels).join('|'), value]));
}

function providers() {
  const metrics = new Metrics();
  const sink = new ProviderMetrics(metrics.registry, ['replicate', 'worldflux']);
  const see = (input: Partial<ProviderEventInput>) =>
    sink.accept(makeProviderEvent({ provider: 'replicate', operation: 'prediction get', phase: 'success', ...input }));
  const of = (name: string) => valuesOf(metrics, `worldforge_provider_${name}`);
  return { metrics, see, of };
}

test('each phase counts where WorldForge counts it', async () => {
  const { see, of } = providers();
  see({ phase: 'success', statusCode: 200, durationMs: 30, capability: 'generate' });
  see({ phase: 'retry', statusCode: 503, durationMs: 10, capability: 'generate' });
  see({ phase: 'failure', durationMs: 5, capability: 'unknown' });
  see({ phase: 'budget_exceeded' });
  const [success, retry, failure, budget] = [
    'replicate|prediction get|success|2xx|generate',
    'replicate|prediction get|retry|5xx|generate',
    'replicate|prediction get|failure|none|unknown',
    'replicate|prediction get|budget_exceeded|none|unknown',
  ] as [string, string, string, string];
  expect(await of('events_total')).toEqual({ [success]: 1, [retry]: 1, [failure]: 1, [budget]: 1 });
  expect(await of('operations_total')).toEqual({ [success]: 1, [failure]: 1, [budget]: 1 });
  expect(await of('retries_total')).toEqual({ [retry]: 1 });
  expect(await of('errors_total')).toEqual({ [failure]: 1, [budget]: 1 });
  // Each try for itself; what never ran has no length.
  expect(await of('latency_ms')).toEqual({ [success]: 1, [retry]: 1, [failure]: 1 });
});

test('whatever providers, operations and capabilities are called, series stay few', async () => {
  const { see, of } = providers();
  for (let i = 0; i < 5000; i++) {
    see({ provider: `vendor-${i}` });
    see({ operation: `prediction ${i}` });
    see({ operation: `get ${'abcdefghij'[i % 10]}${'abcdefghij'[Math.floor(i / 10) % 10]}` });
    see({ capability: `https://example.com/${i}` });
  }
  const series = Object.keys(await of('events_total'));
  expect(series.length).toBeLessThan(32);
  expect(series).toContain('other|prediction get|success|none|unknown');
  expect(series).toContain('replicate|other|success|none|unknown');
});

test('a queue is measured under controller-runtime’s names', async () => {
  const metrics = new Metrics();
  const failures: string[] = [];
  const observer = metrics.observerOf('worldrun', 16, (key) => failures.push(key));
  metrics.measure('worldrun', { depth: { finish: 2, start: 5 } });
  observer.added('a');
  observer.taken('a', 'start', 500);
  expect(await valuesOf(metrics, 'controller_runtime_active_workers')).toEqual({ worldrun: 1 });
  expect(Object.values(await valuesOf(metrics, 'workqueue_longest_running_processor_seconds'))[0]).toBeGreaterThan(0);
  observer.failed('a', new Error('broken'), 1, 10);
  observer.done('a', 20, 'error');
  expect(await valuesOf(metrics, 'controller_runtime_active_workers')).toEqual({});
  expect(await valuesOf(metrics, 'workqueue_unfinished_work_seconds')).toEqual({});
  expect(await valuesOf(metrics, 'workqueue_depth')).toEqual({ 'worldrun|worldrun|1': 2, 'worldrun|worldrun|0': 5 });
  expect(await valuesOf(metrics, 'workqueue_retries_total')).toEqual({ 'worldrun|worldrun': 1 });
  expect(await valuesOf(metrics, 'controller_runtime_reconcile_total')).toEqual({ 'worldrun|error': 1 });
  expect(await valuesOf(metrics, 'controller_runtime_reconcile_errors_total')).toEqual({ worldrun: 1 });
  expect(failures).toEqual(['a']);
});

test('a series that counts errors is there before the first one', async () => {
  const metrics = new Metrics();
  metrics.observerOf('worldrun', 1, () => {});
  expect(await metrics.registry.metrics()).toContain(
    'controller_runtime_reconcile_errors_total{controller="worldrun"} 0',
  );
});
