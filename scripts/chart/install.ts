import { join } from 'node:path';
import { parseAllDocuments, stringify } from 'yaml';
import { KUBERNETES_VERSION } from '../../test/cluster/build.ts';
import { run } from '../../test/cluster/process.ts';

export const CHARTS = join(import.meta.dirname, '..', '..', 'charts');
export const NAMESPACE = 'worldflux-system';

interface KubeObject {
  kind: string;
  metadata: { labels?: Record<string, string>; annotations?: Record<string, string> };
}

/** The operator's chart (of this folder of charts) with its defaults, for those who install with kubectl. */
export async function renderInstall(helm: string, charts = CHARTS): Promise<string> {
  return [
    HEADER('worldflux-operator'),
    ...[namespace(), ...(await render(helm, charts, 'worldflux-operator'))].map(document),
  ].join('');
}

/** The profiles to begin with, likewise. */
export async function renderProfiles(helm: string): Promise<string> {
  return [HEADER('worldflux-profiles'), ...(await render(helm, CHARTS, 'worldflux-profiles')).map(document)].join('');
}

/** What the chart adds for the Prometheus operator and for Grafana, for those who install with kubectl. */
export async function renderMonitoring(helm: string): Promise<string> {
  const switches = ['serviceMonitor', 'prometheusRule', 'grafanaDashboard'].map((name) => `${name}.enabled=true`);
  const only = ['--show-only', 'templates/monitoring.yaml', ...switches.flatMap((on) => ['--set', on])];
  const objects = await render(helm, CHARTS, 'worldflux-operator', only);
  return [HEADER('worldflux-operator'), ...objects.map(document)].join('');
}

const HEADER = (chart: string): string =>
  `# Rendered from charts/${chart} by \`npm run generate\`. Apply with: kubectl apply --server-side -f\n`;

const document = (object: object): string =>
  `---\n${stringify(object, { lineWidth: 0, aliasDuplicateObjects: false })}`;

async function render(helm: string, charts: string, chart: string, more: readonly string[] = []): Promise<object[]> {
  const argv = [
    helm,
    'template',
    chart,
    join(charts, chart),
    '--namespace',
    NAMESPACE,
    '--kube-version',
    KUBERNETES_VERSION,
    ...more,
  ];
  return parseAllDocuments(await run(argv, { timeoutMs: 60_000 }))
    .map((parsed) => parsed.toJS() as KubeObject | null)
    .filter((object) => object !== null)
    .map(withoutHelm);
}

const namespace = (): object => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: NAMESPACE, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
});

/** Helm does not manage what kubectl applies; its labels would say so, and make a later `helm install` refuse or adopt. */
function withoutHelm(object: KubeObject): KubeObject {
  const { labels, annotations, ...metadata } = object.metadata;
  const kept = Object.fromEntries(
    Object.entries(labels ?? {}).filter(
      ([name]) => name !== 'helm.sh/chart' && name !== 'app.kubernetes.io/managed-by',
    ),
  );
  const notes = Object.entries(annotations ?? {}).filter(([name]) => !name.startsWith('helm.sh/'));
  return {
    ...object,
    metadata: { ...metadata, labels: kept, ...(notes.length > 0 && { annotations: Object.fromEntries(notes) }) },
  };
}
