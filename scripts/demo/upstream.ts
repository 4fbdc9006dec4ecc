import { stringify } from 'yaml';
import { FAKE_IMAGE, fakeImage } from '../../test/fakes/worldflux/image.ts';
import { TEST_KEY } from '../../test/fakes/worldflux/server.ts';
import { NAMESPACE } from '../chart/install.ts';
import { condition, listRuns, RUN_NAMESPACE, type Run } from './runs.ts';
import { dim, heading, indented, red, say } from './screen.ts';
import { ensureNamespace } from './steps.ts';
import type { Target } from './target.ts';

/** A stand-in for WorldFlux beside the operator, and what arrived there. */

const NAME = 'worldflux-stand-in';
const LABELS = { 'app.kubernetes.io/name': NAME };
const KEY_SECRET = 'worldflux';

/** Runs it in the namespace of the runs, whose key the operator may then read: that one Secret, and no other. */
export async function installUpstream(target: Target, signal: AbortSignal): Promise<void> {
  await ensureNamespace(target, RUN_NAMESPACE);
  const image = await target.load(FAKE_IMAGE, await fakeImage(signal));
  const restricted = {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
    runAsNonRoot: true,
    seccompProfile: { type: 'RuntimeDefault' },
  };
  const ports = [
    { name: 'api', containerPort: 8790 },
    { name: 'uploads', containerPort: 8791 },
  ];
  const container = {
    name: 'api',
    image,
    ports,
    readinessProbe: { httpGet: { path: '/healthz', port: 'api' } },
    resources: { requests: { cpu: '10m', memory: '64Mi' }, limits: { memory: '256Mi' } },
    securityContext: restricted,
  };
  const rbac = { apiVersion: 'rbac.authorization.k8s.io/v1', metadata: { name: 'worldflux-sync-key' } };
  const objects = [
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: NAME, labels: LABELS },
      spec: {
        selector: { matchLabels: LABELS },
        template: {
          metadata: { labels: LABELS },
          spec: { automountServiceAccountToken: false, containers: [container] },
        },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: NAME },
      spec: {
        selector: LABELS,
        ports: ports.map(({ name, containerPort }) => ({ name, port: containerPort, targetPort: name })),
      },
    },
    { apiVersion: 'v1', kind: 'Secret', metadata: { name: KEY_SECRET }, stringData: { apiKey: TEST_KEY } },
    {
      ...rbac,
      kind: 'Role',
      rules: [{ apiGroups: [''], resources: ['secrets'], resourceNames: [KEY_SECRET], verbs: ['get'] }],
    },
    {
      ...rbac,
      kind: 'RoleBinding',
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'worldflux-sync-key' },
      subjects: [{ kind: 'ServiceAccount', name: 'worldflux-operator', namespace: NAMESPACE }],
    },
  ];
  await target.kubectl(['-n', RUN_NAMESPACE, 'apply', '-f', '-'], {
    input: objects.map((o) => stringify(o)).join('---\n'),
  });
  await target.kubectl(['-n', RUN_NAMESPACE, 'rollout', 'status', `deploy/${NAME}`, '--timeout=120s'], {
    timeoutMs: 130_000,
  });
}

const PATIENCE_MS = 60_000;

/** Waits until every run has been sent, or has said why not, and prints what arrived. */
export async function showUpstream(target: Target): Promise<void> {
  heading('At WorldFlux: the runs, and the artifacts marked commit');
  say(dim('A stand-in whose bodies and artifact routes are inferred: the real API is not public (docs/sync.md).'));
  const until = Date.now() + PATIENCE_MS;
  let runs = await listRuns(target);
  while (runs.some((run) => condition(run, 'Synced')?.status !== 'True') && Date.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    runs = await listRuns(target);
  }
  for (const run of runs) showSync(run);
  say(dim(indented(`what it was sent, request by request: kubectl -n ${RUN_NAMESPACE} logs deploy/${NAME}`)));
  say(indented((await target.kubectl(['-n', RUN_NAMESPACE, 'logs', `deploy/${NAME}`, '--tail=9'])).trimEnd(), 4));
}

function showSync(run: Run): void {
  const synced = condition(run, 'Synced');
  const words =
    synced === undefined ? red('nothing was said of it') : `${synced.reason.padEnd(16)} ${dim(synced.message)}`;
  say(indented(`${run.metadata.name.padEnd(20)} ${words}`));
}
