import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { BUILD_TIMEOUT_MS, goTool } from '../../../scripts/tools/go-tool.ts';
import { run } from '../../cluster/process.ts';
import { readAlerts, RULES } from './queries.ts';

/** The alerts against made-up hours of metrics, judged by Prometheus' own evaluation. */

const JOB = 'job="worldflux-operator-metrics"';
const HEALTHY = {
  [`up{${JOB}, pod="a"}`]: '1x120',
  'leader_election_master_status{name="worldflux-operator"}': '1x120',
};
const provider = (metric: string, operation: string, more: string): string =>
  `worldforge_provider_${metric}{provider="replicate", operation="${operation}", capability="generate", ${more}}`;
const OK = 'phase="success", status_class="2xx"';
const BAD = 'phase="failure", status_class="5xx"';

interface Scenario {
  /** Series in promtool's notation, one value a minute. */
  series: Record<string, string>;
  minute: number;
  /** Labels of what fires then, and nothing else does. */
  fires: Record<string, string>[];
}

const SCENARIOS: Record<string, Scenario> = {
  'all is well': { series: HEALTHY, minute: 120, fires: [] },
  'every replica is gone, for less than five minutes': {
    series: { ...HEALTHY, [`up{${JOB}, pod="a"}`]: '1x60 0x60' },
    minute: 64,
    fires: [],
  },
  'every replica is gone': {
    series: { ...HEALTHY, [`up{${JOB}, pod="a"}`]: '1x60 0x60' },
    minute: 70,
    fires: [{ alertname: 'WorldfluxOperatorDown', severity: 'critical' }],
  },
  'one of two replicas is gone, and the other leads': {
    series: { ...HEALTHY, [`up{${JOB}, pod="b"}`]: '0x120' },
    minute: 120,
    fires: [],
  },
  'two replicas, and neither leads': {
    series: {
      ...HEALTHY,
      'leader_election_master_status{name="worldflux-operator"}': '1x60 0x60',
      'leader_election_master_status{name="worldflux-operator", pod="b"}': '0x120',
    },
    minute: 65,
    fires: [{ alertname: 'WorldfluxOperatorNotLeading', severity: 'critical' }],
  },
  'one pass in five fails, of one controller; another operator’s failures are not ours': {
    series: {
      ...HEALTHY,
      [`controller_runtime_reconcile_total{${JOB}, controller="worldrun", result="success"}`]: '0+80x60',
      [`controller_runtime_reconcile_total{${JOB}, controller="worldrun", result="error"}`]: '0+20x60',
      [`controller_runtime_reconcile_total{${JOB}, controller="runtimeprofile", result="success"}`]: '0+10x60',
      'controller_runtime_reconcile_total{job="another", controller="certificate", result="error"}': '0+99x60',
    },
    minute: 60,
    fires: [{ alertname: 'WorldfluxReconcileErrors', severity: 'warning', controller: 'worldrun' }],
  },
  'changes wait for up to half a minute': {
    series: {
      ...HEALTHY,
      [`workqueue_queue_duration_seconds_bucket{${JOB}, name="worldrun", le="5"}`]: '0+1x60',
      [`workqueue_queue_duration_seconds_bucket{${JOB}, name="worldrun", le="30"}`]: '0+100x60',
      [`workqueue_queue_duration_seconds_bucket{${JOB}, name="worldrun", le="+Inf"}`]: '0+100x60',
    },
    minute: 60,
    fires: [{ alertname: 'WorldfluxQueueSlow', severity: 'warning', name: 'worldrun' }],
  },
  'a watch that breaks thrice a minute, and one that breaks every other minute': {
    series: {
      ...HEALTHY,
      'worldflux_watch_errors_total{resource="pods"}': '0+3x60',
      'worldflux_watch_errors_total{resource="jobs"}': '0+0.5x60',
    },
    minute: 60,
    fires: [{ alertname: 'WorldfluxWatchesBreak', severity: 'warning', resource: 'pods' }],
  },
  'one request in ten is held back by the API server': {
    series: {
      ...HEALTHY,
      [`rest_client_requests_total{${JOB}, code="200", method="GET"}`]: '0+90x60',
      [`rest_client_requests_total{${JOB}, code="429", method="PATCH"}`]: '0+10x60',
      'rest_client_requests_total{job="another", code="500", method="GET"}': '0+100x60',
    },
    minute: 60,
    fires: [{ alertname: 'WorldfluxAPIServerErrors', severity: 'warning' }],
  },
  'the volume of results is nearly full': {
    series: {
      ...HEALTHY,
      'kubelet_volume_stats_available_bytes{persistentvolumeclaim="worldflux-operator-store"}': '5x60',
      'kubelet_volume_stats_capacity_bytes{persistentvolumeclaim="worldflux-operator-store"}': '100x60',
      'kubelet_volume_stats_available_bytes{persistentvolumeclaim="another"}': '1x60',
      'kubelet_volume_stats_capacity_bytes{persistentvolumeclaim="another"}': '100x60',
    },
    minute: 60,
    fires: [
      {
        alertname: 'WorldfluxStoreFull',
        severity: 'critical',
        persistentvolumeclaim: 'worldflux-operator-store',
      },
    ],
  },
  'a finished run waits for two hours to be sent': {
    series: { ...HEALTHY, 'worldrun_sync_lag_seconds{pod="a"}': '0+60x120' },
    minute: 120,
    fires: [{ alertname: 'WorldfluxSyncLagging', severity: 'warning' }],
  },
  'an upload was orphaned an hour ago': {
    series: { ...HEALTHY, 'worldrun_sync_orphaned_uploads_total{pod="a"}': '0x60 1x60' },
    minute: 120,
    fires: [{ alertname: 'WorldfluxUploadsOrphaned', severity: 'warning' }],
  },
  'the first orphan that was ever found': {
    series: { ...HEALTHY, 'worldrun_orphans_total{runtime="replicate", action="Reported"}': '_x60 1x60' },
    minute: 100,
    fires: [{ alertname: 'WorldfluxOrphans', severity: 'warning', runtime: 'replicate', action: 'Reported' }],
  },
  'most runs of the last hour failed': {
    series: {
      ...HEALTHY,
      'worldrun_finished_total{reason="NonZeroExit"}': '0+1x120',
      'worldrun_finished_total{reason="Completed"}': '0+0.2x120',
    },
    minute: 120,
    fires: [{ alertname: 'WorldfluxRunsFailing', severity: 'warning' }],
  },
  'most runs of the last hour were cancelled': {
    series: {
      ...HEALTHY,
      'worldrun_finished_total{reason="Cancelled"}': '0+1x120',
      'worldrun_finished_total{reason="Completed"}': '0+0.1x120',
    },
    minute: 120,
    fires: [],
  },
  'a quiet hour, and its only two runs failed': {
    series: { ...HEALTHY, 'worldrun_finished_total{reason="NonZeroExit"}': '0x90 2x30' },
    minute: 110,
    fires: [],
  },
  'one operation of a vendor fails, another one does well': {
    series: {
      ...HEALTHY,
      [provider('operations_total', 'create', OK)]: '0+8x60',
      [provider('operations_total', 'create', BAD)]: '0+2x60',
      [provider('errors_total', 'create', BAD)]: '0+2x60',
      [provider('operations_total', 'poll', OK)]: '0+99x60',
      [provider('errors_total', 'poll', BAD)]: '0+1x60',
    },
    minute: 60,
    fires: [{ alertname: 'WorldforgeProviderErrors', severity: 'warning', provider: 'replicate', operation: 'create' }],
  },
  'half of the requests are retries': {
    series: {
      ...HEALTHY,
      [provider('events_total', 'create', OK)]: '0+10x60',
      [provider('events_total', 'create', 'phase="retry", status_class="4xx"')]: '0+10x60',
      [provider('retries_total', 'create', 'phase="retry", status_class="4xx"')]: '0+10x60',
    },
    minute: 60,
    fires: [
      { alertname: 'WorldforgeProviderRetries', severity: 'warning', provider: 'replicate', operation: 'create' },
    ],
  },
  'every tenth download takes a minute': {
    series: {
      ...HEALTHY,
      [provider('latency_ms_bucket', 'artifact download', `${OK}, le="1000"`)]: '0+90x60',
      [provider('latency_ms_bucket', 'artifact download', `${OK}, le="30000"`)]: '0+90x60',
      [provider('latency_ms_bucket', 'artifact download', `${OK}, le="60000"`)]: '0+100x60',
      [provider('latency_ms_bucket', 'artifact download', `${OK}, le="+Inf"`)]: '0+100x60',
      [provider('latency_ms_bucket', 'poll', `${OK}, le="1000"`)]: '0+100x60',
      [provider('latency_ms_bucket', 'poll', `${OK}, le="+Inf"`)]: '0+100x60',
    },
    minute: 60,
    fires: [
      {
        alertname: 'WorldforgeProviderSlow',
        severity: 'warning',
        provider: 'replicate',
        operation: 'artifact download',
      },
    ],
  },
};

const labelled = (labels: Record<string, string>): string =>
  `ALERTS{${Object.entries(labels)
    .map(([name, value]) => `${name}="${value}"`)
    .join(', ')}}`;

let promtool: string;

beforeAll(async () => {
  promtool = await goTool('promtool');
}, BUILD_TIMEOUT_MS);

test('Prometheus takes the rules', async () => {
  await run([promtool, 'check', 'rules', RULES]);
});

test.each(Object.entries(SCENARIOS))('%s', async (name, { series, minute, fires }) => {
  const folder = await mkdtemp(join(tmpdir(), 'worldflux-alerts-'));
  try {
    const scenario = {
      name,
      interval: '1m',
      input_series: Object.entries(series).map(([of, values]) => ({ series: of, values })),
      promql_expr_test: [
        {
          expr: 'ALERTS{alertstate="firing"}',
          eval_time: `${minute}m`,
          exp_samples: fires.map((labels) => ({ labels: labelled({ ...labels, alertstate: 'firing' }), value: 1 })),
        },
      ],
    };
    const file = join(folder, 'scenario.yaml');
    await writeFile(file, stringify({ rule_files: [RULES], evaluation_interval: '1m', tests: [scenario] }));
    const said = await run([promtool, 'test', 'rules', file]).catch((error: Error) => error.message);
    expect(said).toContain('SUCCESS');
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('every alert has a scenario in which it fires', async () => {
  const alerts = await readAlerts();
  const fired = Object.values(SCENARIOS).flatMap(({ fires }) => fires.map(({ alertname }) => alertname));
  expect(alerts.filter(({ alert }) => !fired.includes(alert)).map(({ alert }) => alert)).toEqual([]);
});
