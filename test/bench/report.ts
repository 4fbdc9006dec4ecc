import { KUBERNETES_VERSION } from '../cluster/build.ts';
import type { LoadFigures } from '../faults/sync/load.ts';
import type { ArtifactResult } from './artifact.ts';
import type { LiveResult } from './live-runs.ts';
import { describeLoad, type LoadResult, type Spread } from './load.ts';
import type { ProductResult } from './product.ts';
import type { StatusWriteResult } from './status-writes.ts';

/** What one scenario brought, as it is kept beside the report. */
export interface Measured {
  scenario: string;
  measuredAt: string;
  machine: { cpu: string; cores: number; memoryGiB: number; kernel: string };
  versions: { operator: string; from: 'bundle' | 'sources'; node: string; kubernetes: string };
  loads?: LoadResult[];
  live?: LiveResult[];
  statusWrites?: StatusWriteResult[];
  sync?: LoadFigures[];
  product?: ProductResult[];
  artifacts?: ArtifactResult[];
}

const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
const ms = (value: number): string => (value < 10 ? value.toFixed(1) : value.toFixed(0));
const per = (result: LoadResult, cpuMs: number): string => ms(cpuMs / result.count);

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

const LOAD_HEAD = [
  'cluster, load',
  'who',
  'create→Job p50/p90/p99 ms',
  'Job end→run end p50/p99 ms',
  'Jobs/s',
  'ends/s',
  'operator CPU ms a run',
  'all CPU ms a run',
  'RSS MiB',
  'writes a run',
  'loop lag p99/max ms',
  'foreign CPU',
  'CPU allows runs/s',
];

/** CPU of the control plane and the operator; the driver's own is noise that it makes for all alike. */
export function allCpuMs({ usage }: LoadResult): number {
  return Object.entries(usage.cpuMs).reduce((sum, [name, used]) => (name === 'driver' ? sum : sum + used), 0);
}

function loadRow(r: LoadResult): string[] {
  const { usage, writes, eventLoopLagMs: lag, endToTerminalMs: end } = r;
  const spread = (s: Spread) => [s.p50, s.p90, s.p99].map(ms).join('/');
  const refused = writes === undefined ? 0 : writes.conflicts + writes.refused;
  return [
    `${r.form}, ${describeLoad(r.load)}`,
    r.who + (r.unfinished > 0 ? ` (${r.unfinished} unfinished)` : ''),
    'burst' in r.load ? 'queue' : spread(r.createToJobMs),
    end === undefined ? '–' : `${ms(end.p50)}/${ms(end.p99)}`,
    r.jobsPerSecond.toFixed(1),
    r.terminalPerSecond.toFixed(1),
    usage.cpuMs['operator'] === undefined ? '–' : per(r, usage.cpuMs['operator']),
    per(r, allCpuMs(r)),
    usage.peakRssBytes['operator'] === undefined ? '–' : mib(usage.peakRssBytes['operator']),
    writes === undefined ? '–' : `${(writes.count / r.count).toFixed(2)}${refused > 0 ? ` (${refused} refused)` : ''}`,
    lag === undefined ? '–' : `${ms(lag.p99)}/${ms(lag.max)}`,
    `${((usage.foreignCpuMs / 1000 / usage.seconds) * 100).toFixed(0)} %`,
    (r.cores / ((allCpuMs(r) + usage.cpuMs['driver']!) / r.count / 1000)).toFixed(0),
  ];
}

export const loadTable = (loads: readonly LoadResult[]): string => table(LOAD_HEAD, loads.map(loadRow));

const LIVE_HEAD = [
  'live',
  'settled',
  'filled in s',
  'RSS MiB peak/at rest/restarted',
  'ready in s',
  'writes at the restart',
  'writes in a quiet minute',
  'CPU ms in it',
];

const liveRow = (r: LiveResult): string[] => [
  String(r.live),
  String(r.settled),
  r.fillSeconds.toFixed(0),
  [r.rssBytes.peak, r.rssBytes.atRest, r.rssBytes.restarted].map(mib).join('/'),
  (r.restart.readyMs / 1000).toFixed(1),
  String(r.restart.writes.count),
  String(r.quiet.writes.count),
  r.quiet.cpuMs.toFixed(0),
];

export const liveTable = (results: readonly LiveResult[]): string => table(LIVE_HEAD, results.map(liveRow));

export function statusWriteTable(results: readonly StatusWriteResult[]): string {
  const head = ['one terminal status by', 'API server CPU ms', 'etcd CPU ms', 'writes/s'];
  return table(
    head,
    results.map((r) => [
      r.how,
      r.apiServerCpuMsPerWrite.toFixed(1),
      r.etcdCpuMsPerWrite.toFixed(1),
      r.writesPerSecond.toFixed(0),
    ]),
  );
}

export function syncTable(results: readonly LoadFigures[]): string {
  const head = [
    'runs waiting',
    'requests in the hour',
    'drained in s',
    'runs/s',
    'most requests at once',
    'out of order',
    'another target served in ms',
    'loop lag p99 ms',
  ];
  return table(
    head,
    results.map((r) => [
      String(r.runs),
      String(r.requestsWhileDown),
      r.drainSeconds.toFixed(1),
      r.runsPerSecond.toFixed(1),
      String(r.peakRequests),
      String(r.outOfOrder),
      r.otherTargetMs.toFixed(0),
      r.eventLoopP99Ms.toFixed(0),
    ]),
  );
}

export function productTable(results: readonly ProductResult[]): string {
  const head = [
    'runs on real Pods',
    'command end→run end p50/p90/p99 ms',
    'collector before command p50/p99 s',
    'collector RSS MiB',
    'all results stored',
  ];
  return table(
    head,
    results.map(({ runs, endToTerminalMs: end, collectorFirstSeconds: first, collectorRssBytes: rss, stored }) => [
      String(runs),
      [end.p50, end.p90, end.p99].map(ms).join('/'),
      `${first.p50}/${first.p99}`,
      rss === undefined ? '–' : mib(rss),
      `${stored} of ${runs}`,
    ]),
  );
}

export function artifactTable(results: readonly ArtifactResult[]): string {
  const head = ['store', 'artifact MiB', 'command end→run end s', 'MiB/s', 'collector RSS MiB', 'operator RSS MiB'];
  return table(
    head,
    results.map(({ store, bytes, seconds, collectorRssBytes, operatorRssBytes }) => [
      store,
      mib(bytes),
      seconds.toFixed(1),
      mib(bytes / seconds),
      mib(collectorRssBytes),
      mib(operatorRssBytes),
    ]),
  );
}

export const versionsNow = (operator: string, from: 'bundle' | 'sources'): Measured['versions'] => ({
  operator,
  from,
  node: process.version,
  kubernetes: KUBERNETES_VERSION,
});

export function tablesOf(measured: Measured): string {
  const { loads = [], live = [], statusWrites = [], sync = [], product = [], artifacts = [] } = measured;
  return [
    ...(loads.length > 0 ? [loadTable(loads)] : []),
    ...(live.length > 0 ? [liveTable(live)] : []),
    ...(statusWrites.length > 0 ? [statusWriteTable(statusWrites)] : []),
    ...(sync.length > 0 ? [syncTable(sync)] : []),
    ...(product.length > 0 ? [productTable(product)] : []),
    ...(artifacts.length > 0 ? [artifactTable(artifacts)] : []),
  ].join('\n\n');
}

/** The page for people, made from the data of every scenario that was ever measured. */
export function renderReport(all: readonly Measured[]): string {
  const sections = all.map((measured) => {
    const { machine: m, versions: v } = measured;
    const facts = `${measured.measuredAt}; ${m.cores} × ${m.cpu}, ${m.memoryGiB} GiB, Linux ${m.kernel}; Kubernetes ${v.kubernetes}, Node ${v.node}; operator ${v.operator} from its ${v.from}.`;
    return `## ${measured.scenario}\n\n${facts}\n\n${tablesOf(measured)}\n`;
  });
  return `${HEAD}\n${sections.join('\n')}`;
}

const HEAD = `# Measurements

Written by \`npm run bench\`; the raw data of each section lies beside this page under its name. \`npm run bench -- --only burst\` measures one
scenario again, \`--list\` names them.

- **full**: etcd, API server, controller manager and scheduler of a real Kubernetes, and kwok's simulated nodes, whose pods start and succeed at once.
  **nojob**: the Job controller is off, and the driver writes each Job's end as soon as it sees the Job; what is left is the operator and the API server.
- **raw Job** is the floor: the same driver creates plain Jobs and there is no operator. **operator**: WorldRuns whose profile says \`collect: Disabled\`, so that
  the end of the Job alone ends the run.
- Every row has a control plane of its own, made for it, and is measured after 50 runs of warm-up. Audit logging is on in all rows.
- Times are of one clock, the driver's: from its answer to the create until its watch brought the Job; from its watch bringing the Job's end until it brought the
  finished run. In a burst the first of them is only the place in the queue.
- CPU and memory are the kernel's (\`/proc\`). "All" is the control plane, the simulated nodes and the operator, without the driver. "Foreign" is what the
  rest of the machine used meanwhile, of one core: rows with much of it are noisy. "CPU allows" is what all cores would carry without it:
  cores divided by the CPU a run, the driver's included.
- Writes are those that the API server's audit log holds under the operator's user agent, without Leases. Loop lag is the operator's own
  measure, whose timer has a resolution of 10 ms.
- **product**: real Pods on one node, a run every two seconds, each with metrics, a log and an artifact of 1 MiB in the file store. The collector's lead is by the
  kubelet's clock, in whole seconds.
- **artifact**: one large artifact of a real Pod, into the file store and into moto's S3 server on the same host; disk, network and both
  ends share its cores.
- **sync** needs no cluster: finished runs, each with a log and an artifact in a file store, wait for one target that is down for an hour (of simulated time)
  and are then sent as fast as it takes them, one at a time because it keeps a ledger. Queue and target share one process, the target is the stand-in in test/fakes/worldflux.
- The operator is what an installation makes it: its own rights and no more, the chart's admission policies in force, V8 with the image's arguments.
  **operator without policies** shows what those cost. The driver is an administrator, whom the API server's priority and fairness does not slow.
`;
