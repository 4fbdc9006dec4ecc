/** The Grafana dashboard of the chart. Written here and not clicked together: a panel is a title, a unit and its queries. */

interface Panel {
  title: string;
  /** What to make of it, for whoever opens the panel's note. */
  note?: string;
  /** Grafana's name of a unit. */
  unit: 'short' | 'percentunit' | 's' | 'ms' | 'bytes' | 'ops' | 'currencyUSD';
  /** Legend, and PromQL. */
  queries: Record<string, string>;
}

const JOB = 'job="worldflux-operator-metrics"';
const perSecond = (metric: string, matchers = ''): string => `rate(${metric}{${matchers}}[$__rate_interval])`;
const quantile = (q: number, metric: string, by: string, matchers = ''): string =>
  `histogram_quantile(${q}, sum by (le, ${by}) (${perSecond(`${metric}_bucket`, matchers)}))`;

const ROWS: Record<string, Panel[]> = {
  Runs: [
    {
      title: 'Runs that ended, by reason',
      unit: 'short',
      queries: { '{{reason}}': 'sum by (reason) (increase(worldrun_finished_total[$__interval]))' },
    },
    {
      title: 'Share that succeeded',
      unit: 'percentunit',
      queries: {
        succeeded:
          'sum(increase(worldrun_finished_total{reason="Completed"}[1h])) / sum(increase(worldrun_finished_total[1h]))',
      },
    },
    {
      title: 'WorldRuns in the cluster, by phase',
      note: 'Finished ones too, until their time to live is over.',
      unit: 'short',
      queries: { '{{phase}}': 'max by (phase) (worldrun_runs)' },
    },
    {
      title: 'Wait for a place, p50 and p95',
      unit: 's',
      queries: {
        '{{runtime}} p50': quantile(0.5, 'worldrun_queue_seconds', 'runtime'),
        '{{runtime}} p95': quantile(0.95, 'worldrun_queue_seconds', 'runtime'),
      },
    },
    {
      title: 'Attempts that ended, by reason',
      unit: 'short',
      queries: {
        '{{runtime}} {{reason}}': 'sum by (runtime, reason) (increase(worldrun_attempts_total[$__interval]))',
      },
    },
    {
      title: 'Estimated cost, of a day',
      unit: 'currencyUSD',
      queries: { '{{runtime}}': 'sum by (runtime) (increase(worldrun_cost_usd_total[1d]))' },
    },
    {
      title: 'Time in a phase, p95',
      unit: 's',
      queries: { '{{phase}}': quantile(0.95, 'worldrun_phase_seconds', 'phase') },
    },
    {
      title: 'Results in the store',
      unit: 'bytes',
      queries: { bytes: 'max(worldrun_store_bytes)' },
    },
    {
      title: 'Orphans found at vendors',
      unit: 'short',
      queries: { '{{runtime}} {{action}}': 'sum by (runtime, action) (increase(worldrun_orphans_total[$__range]))' },
    },
  ],
  Providers: [
    {
      title: 'Calls',
      unit: 'ops',
      queries: {
        '{{provider}} {{operation}}': `sum by (provider, operation) (${perSecond('worldforge_provider_events_total')})`,
      },
    },
    {
      title: 'Share that failed',
      unit: 'percentunit',
      queries: {
        '{{provider}} {{operation}}': `sum by (provider, operation) (${perSecond('worldforge_provider_errors_total')}) / sum by (provider, operation) (${perSecond('worldforge_provider_operations_total')})`,
      },
    },
    {
      title: 'Retries',
      unit: 'ops',
      queries: {
        '{{provider}} {{operation}} {{status_class}}': `sum by (provider, operation, status_class) (${perSecond('worldforge_provider_retries_total')})`,
      },
    },
    {
      title: 'Latency, p50 and p95',
      unit: 'ms',
      queries: {
        '{{provider}} {{operation}} p50': quantile(0.5, 'worldforge_provider_latency_ms', 'provider, operation'),
        '{{provider}} {{operation}} p95': quantile(0.95, 'worldforge_provider_latency_ms', 'provider, operation'),
      },
    },
  ],
  'Sync to WorldFlux': [
    {
      title: 'Waiting and under way',
      unit: 'short',
      queries: {
        waiting: 'max(worldrun_sync_waiting)',
        'under way': 'max(worldrun_sync_running)',
        'to be taken back': 'max(worldrun_sync_cleanups)',
      },
    },
    {
      title: 'Age of what waits longest',
      unit: 's',
      queries: { lag: 'max(worldrun_sync_lag_seconds)' },
    },
    {
      title: 'Tries, by outcome',
      unit: 'ops',
      queries: { '{{outcome}}': `sum by (outcome) (${perSecond('worldrun_sync_attempts_total')})` },
    },
    {
      title: 'Bytes that arrived, per second',
      unit: 'bytes',
      queries: { uploaded: `sum(${perSecond('worldrun_sync_uploaded_bytes_total')})` },
    },
  ],
  Operator: [
    {
      title: 'Who leads',
      note: 'Exactly one, but for the seconds of a failover.',
      unit: 'short',
      queries: { '{{pod}}': 'leader_election_master_status{name="worldflux-operator"}' },
    },
    {
      title: 'Passes, by result',
      unit: 'ops',
      queries: {
        '{{controller}} {{result}}': `sum by (controller, result) (${perSecond('controller_runtime_reconcile_total', JOB)})`,
      },
    },
    {
      title: 'Length of a pass, p95',
      unit: 's',
      queries: { '{{controller}}': quantile(0.95, 'controller_runtime_reconcile_time_seconds', 'controller', JOB) },
    },
    {
      title: 'Wait for a pass, p95, and how many wait',
      unit: 's',
      queries: {
        '{{name}}': quantile(0.95, 'workqueue_queue_duration_seconds', 'name', JOB),
        depth: `sum(workqueue_depth{${JOB}})`,
      },
    },
    {
      title: 'Requests to the Kubernetes API, by code',
      unit: 'ops',
      queries: { '{{code}} {{method}}': `sum by (code, method) (${perSecond('rest_client_requests_total', JOB)})` },
    },
    {
      title: 'Watches that broke',
      unit: 'ops',
      queries: { '{{resource}}': `sum by (resource) (${perSecond('worldflux_watch_errors_total')})` },
    },
    {
      title: 'Provider events that a sink could not take',
      note: 'Runs are not affected; what is shown here of providers is too little then.',
      unit: 'ops',
      queries: { '{{sink}}': `sum by (sink) (${perSecond('worldflux_telemetry_lost_total')})` },
    },
    {
      title: 'Memory',
      unit: 'bytes',
      queries: { '{{pod}}': `process_resident_memory_bytes{${JOB}}` },
    },
    {
      title: 'Delay of the event loop, p99',
      unit: 's',
      queries: { '{{pod}}': `nodejs_eventloop_lag_p99_seconds{${JOB}}` },
    },
  ],
};

const COLUMNS = 3;
const [WIDTH, HEIGHT] = [24 / COLUMNS, 8];

/** Grafana's model of the dashboard; the same input gives the same text. */
export function dashboard(): object {
  const panels: object[] = [];
  let y = 0;
  for (const [title, row] of Object.entries(ROWS)) {
    panels.push({ id: panels.length + 1, type: 'row', title, gridPos: { x: 0, y, w: 24, h: 1 }, panels: [] });
    y += 1;
    for (const [index, panel] of row.entries()) {
      const x = (index % COLUMNS) * WIDTH;
      panels.push(timeSeries(panels.length + 1, panel, x, y + Math.floor(index / COLUMNS) * HEIGHT));
    }
    y += Math.ceil(row.length / COLUMNS) * HEIGHT;
  }
  return {
    uid: 'worldflux-operator',
    title: 'WorldFlux operator',
    tags: ['worldflux'],
    schemaVersion: 39,
    refresh: '30s',
    time: { from: 'now-6h', to: 'now' },
    templating: { list: [{ name: 'datasource', type: 'datasource', query: 'prometheus', label: 'Data source' }] },
    panels,
  };
}

function timeSeries(id: number, { title, note, unit, queries }: Panel, x: number, y: number): object {
  const datasource = { type: 'prometheus', uid: '${datasource}' };
  const targets = Object.entries(queries).map(([legendFormat, expr], index) => ({
    refId: String.fromCodePoint(65 + index),
    datasource,
    expr,
    legendFormat,
  }));
  return {
    id,
    type: 'timeseries',
    title,
    ...(note !== undefined && { description: note }),
    datasource,
    gridPos: { x, y, w: WIDTH, h: HEIGHT },
    fieldConfig: { defaults: { unit, min: 0 }, overrides: [] },
    options: { legend: { displayMode: 'list', placement: 'bottom', showLegend: true }, tooltip: { mode: 'multi' } },
    targets,
  };
}
