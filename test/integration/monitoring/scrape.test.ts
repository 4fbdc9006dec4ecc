import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { OUTCOME_REASONS } from '../../../src/crds/vocabulary.ts';
import { makeCaches } from '../../../src/controller/caches.ts';
import { RunMetrics } from '../../../src/controller/run-metrics.ts';
import { Metrics } from '../../../src/telemetry/metrics.ts';
import { ProviderMetrics } from '../../../src/telemetry/provider-metrics.ts';
import { attachCluster } from '../../cluster/index.ts';
import { freePort, startOperator, type OperatorProcess } from '../../e2e/operator-process.ts';
import { temporaryFolder } from '../../temporary-folder.ts';
import { installCrds } from '../install-crds.ts';
import { asked, readAlerts, readPanels } from './queries.ts';

/** Whatever an alert or a panel asks for is really there, in what a running operator answers at /metrics. */

const dir = await temporaryFolder('scrape');
/** From others: Prometheus itself, and the kubelet. */
const FOREIGN = ['up', 'kubelet_volume_stats_available_bytes', 'kubelet_volume_stats_capacity_bytes'];
const DOCS = join(import.meta.dirname, '..', '..', '..', 'docs');
let operator: OperatorProcess;
let exported: ReadonlySet<string>;

beforeAll(async () => {
  const cluster = await attachCluster(inject('cluster'));
  if (cluster === undefined) throw new Error('the layer has no cluster');
  await installCrds(cluster);
  const namespace = 'worldflux-monitoring';
  await cluster.kubectl(['create', 'namespace', namespace]);
  operator = await startOperator({ cluster, dir, gatewayPort: await freePort(), namespace });
  exported = seriesOf(await (await fetch(`${operator.metricsUrl}/metrics`)).text());
});

afterAll(() => operator?.stop());

/** Names of series by their declared types: a metric with labels has no sample before something happened. */
function seriesOf(exposition: string): ReadonlySet<string> {
  const suffixes: Record<string, string[]> = {
    histogram: ['_bucket', '_sum', '_count'],
    summary: ['', '_sum', '_count'],
  };
  const types = [...exposition.matchAll(/^# TYPE (\S+) (\S+)$/gm)];
  return new Set(types.flatMap(([, name, type]) => (suffixes[type!] ?? ['']).map((suffix) => `${name}${suffix}`)));
}

const missing = (expr: string): string[] =>
  asked(expr).metrics.filter((metric) => !exported.has(metric) && !FOREIGN.includes(metric));

test('each alert asks for metrics that exist, and leads to its paragraph', async () => {
  const headings = [...(await readFile(join(DOCS, 'troubleshooting.md'), 'utf8')).matchAll(/^#+ (.*)$/gm)].map(
    ([, heading]) => heading,
  );
  for (const { alert, expr } of await readAlerts()) {
    expect(asked(expr), alert).toMatchObject({ faults: [] });
    expect(asked(expr).metrics.length, alert).toBeGreaterThan(0);
    expect(missing(expr), alert).toEqual([]);
    expect(headings, 'docs/troubleshooting.md').toContain(alert);
  }
});

test('the reasons that queries name are words of the vocabulary', async () => {
  const queries = [...(await readAlerts()), ...(await readPanels())].map(({ expr }) => expr);
  const named = queries.flatMap((expr) =>
    [...expr.matchAll(/reason!?=~?"([^"]*)"/g)].flatMap(([, of]) => of!.split('|')),
  );
  expect(named).toContain('Completed');
  expect(named.filter((reason) => !(reason in OUTCOME_REASONS))).toEqual([]);
});

test('queries group by labels that their metrics have', async () => {
  const { registry } = new Metrics();
  // They register what they have.
  void new ProviderMetrics(registry, []);
  void new RunMetrics({
    registry,
    caches: makeCaches('7b0c1c52-6d5f-5d3e-8f43-6d3a4a0c8f11', () => {}),
    now: Date.now,
  });
  const labels = new Map(
    registry
      .getMetricsAsArray()
      .map((metric) => [metric.name, (metric as unknown as { labelNames: string[] }).labelNames]),
  );
  expect(labels.get('worldforge_provider_events_total')).toContain('provider');
  const wrong = [...(await readAlerts()), ...(await readPanels())].flatMap(({ expr }) =>
    asked(expr).metrics.flatMap((series) => {
      const known = labels.get(series.replace(/_bucket$/, ''));
      const grouped = [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list]) => list!.split(/,\s*/));
      return known === undefined
        ? []
        : grouped.filter((label) => label !== 'le' && !known.includes(label)).map((label) => [series, label]);
    }),
  );
  expect(wrong).toEqual([]);
});

describe('the dashboard', () => {
  test('asks for metrics that exist', async () => {
    for (const { title, expr } of await readPanels()) {
      expect(asked(expr), `${title}: ${expr}`).toMatchObject({ faults: [] });
      expect(missing(expr), title).toEqual([]);
    }
  });

  test('names in each legend only labels that its query keeps', async () => {
    const unknown = (await readPanels()).flatMap(({ title, expr, legend }) => {
      const kept = /\bby \(([^)]*)\)/.exec(expr)?.[1]?.split(/,\s*/);
      const named = [...legend.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label!);
      return kept === undefined ? [] : named.filter((label) => !kept.includes(label)).map((label) => [title, label]);
    });
    expect(unknown).toEqual([]);
  });
});
