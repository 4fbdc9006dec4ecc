import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { BUILD_TIMEOUT_MS, goTool } from '../../../scripts/tools/go-tool.ts';
import { startCluster, type Cluster } from '../../cluster/index.ts';
import { run, until } from '../../cluster/process.ts';
import { installForeignCrds } from './foreign-crds.ts';
import { helm, OPERATOR, PROFILES, render } from './helm.ts';
import { SCHEMA_FILE, writeSchemas } from './schemas.ts';
import { VALUE_SETS } from './values.ts';

/** A cluster of its own: CRDs belong to a whole cluster, and helm refuses what another test has put there. */
const NAMESPACE = 'worldflux-system';
const MANIFESTS = join(import.meta.dirname, '..', '..', '..', 'manifests');
let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ name: `chart-${process.pid}`, kind: 'api' });
  for (const name of [NAMESPACE, 'team-a', 'elsewhere']) await cluster.kubectl(['create', 'namespace', name]);
  // The admission of the strictest standard judges the operator's own pod.
  await cluster.kubectl(['label', 'namespace', NAMESPACE, 'pod-security.kubernetes.io/enforce=restricted']);
  await installForeignCrds(cluster);
}, BUILD_TIMEOUT_MS);

afterAll(() => cluster?.down());

const release = (...args: string[]): Promise<string> => helm(args, { kubeconfig: cluster.kubeconfig });
const dryRun = (text: string): Promise<string> =>
  cluster.kubectl(['apply', '--server-side', '--dry-run=server', '--validate=strict', '-f', '-'], { input: text });
const canI = async (user: string, verb: string, resource: string, ...more: string[]): Promise<boolean> =>
  (
    await cluster
      .kubectl(['auth', 'can-i', verb, resource, `--as=${user}`, ...more])
      .catch((error: Error) => error.message)
  )
    .trim()
    .startsWith('yes');

/** Asked of the API server itself: `kubectl auth can-i` wants the kind in its discovery, and nothing serves that here. */
async function mayReadLog(user: string, namespace: string): Promise<boolean> {
  const resourceAttributes = {
    namespace,
    verb: 'get',
    group: 'results.worldflux.ai',
    resource: 'worldruns',
    subresource: 'log',
  };
  const review = {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SubjectAccessReview',
    spec: { user, resourceAttributes },
  };
  return (
    (await cluster.kubectl(['create', '-f', '-', '-o', 'jsonpath={.status.allowed}'], { input: stringify(review) })) ===
    'true'
  );
}

describe('the API server, without keeping anything,', () => {
  test.each(Object.entries(VALUE_SETS))('takes every object of: %s', async (_, values) => {
    const objects = await render(OPERATOR, values);
    const answer = await dryRun(objects.map((object) => stringify(object)).join('---\n'));
    expect(answer.trim().split('\n')).toHaveLength(objects.length);
  });

  test.each([
    ['install.yaml', 'deployment.apps/worldflux-operator'],
    ['monitoring.yaml', 'prometheusrule.monitoring.coreos.com/worldflux-operator'],
  ])('takes manifests/%s', async (file, object) => {
    expect(await dryRun(await readFile(join(MANIFESTS, file), 'utf8'))).toContain(`${object} serverside-applied`);
  });
});

test('kubeconform finds every object right, against what the API server says of its kinds', async () => {
  const kubeconform = await goTool('kubeconform');
  const folder = await mkdtemp(join(tmpdir(), 'worldflux-schemas-'));
  const verdict = (text: string): Promise<string> =>
    run([kubeconform, '-strict', '-summary', '-schema-location', join(folder, SCHEMA_FILE), '-'], {
      input: text,
    }).catch((error: Error) => error.message);
  try {
    const rendered = (await Promise.all(Object.values(VALUE_SETS).map((values) => render(OPERATOR, values)))).flat();
    const kinds = rendered.map(({ apiVersion, kind }) => `${apiVersion.includes('/') ? '' : '/'}${apiVersion}/${kind}`);
    await writeSchemas(cluster, kinds, folder);
    const text = rendered.map((object) => stringify(object)).join('---\n');
    expect(await verdict(text)).toContain(`Valid: ${rendered.length}, Invalid: 0, Errors: 0, Skipped: 0`);
    // And it would say so.
    expect(await verdict(text.replace('targetPort:', 'targetprt:'))).toMatch(/targetprt.*Invalid: 1,/s);
  } finally {
    await rm(folder, { recursive: true });
  }
}, 180_000);

describe('a release', () => {
  test('installs, and its pod is admitted under the restricted standard', async () => {
    await release('install', 'worldflux-operator', OPERATOR, '--namespace', NAMESPACE);
    const pod = await until(
      'the operator’s pod',
      async () =>
        (
          await cluster.kubectl([
            '-n',
            NAMESPACE,
            'get',
            'pods',
            '-l',
            'app.kubernetes.io/name=worldflux-operator',
            '-o',
            'name',
          ])
        ).trim() || undefined,
      { timeoutMs: 60_000 },
    );
    expect(pod).toMatch(/^pod\/worldflux-operator-/);
  });

  test('a second one in another namespace is refused', async () => {
    await expect(release('install', 'another', OPERATOR, '--namespace', 'elsewhere')).rejects.toThrow(
      /exists and cannot be imported/,
    );
  });

  test('profiles install; the API server checks them and the samples strictly', async () => {
    await release('install', 'worldflux-profiles', PROFILES, '--namespace', NAMESPACE);
    expect(await cluster.kubectl(['get', 'runtimeprofiles', '-o', 'name'])).toBe(
      'runtimeprofile.worldflux.ai/cpu\nruntimeprofile.worldflux.ai/gpu\n',
    );
    await cluster.kubectl(['create', '--dry-run=server', '--validate=strict', '-f', '-'], {
      input: (await readFile(join(MANIFESTS, 'profiles.yaml'), 'utf8')).replaceAll(/^ {2}name: .*/gm, '$&-strict'),
    });
    await cluster.kubectl([
      '-n',
      'team-a',
      'create',
      '--dry-run=server',
      '--validate=strict',
      '-f',
      join(MANIFESTS, 'samples'),
    ]);
    await expect(
      helm(['upgrade', 'worldflux-profiles', PROFILES, '--namespace', NAMESPACE], {
        kubeconfig: cluster.kubeconfig,
        values: { profiles: { cpu: { spec: { runtime: 'local', local: { outputSizeLimit: 'plenty' } } } } },
      }),
    ).rejects.toThrow(/spec\.local\.outputSizeLimit/);
  });

  const OPERATOR_USER = `system:serviceaccount:${NAMESPACE}:worldflux-operator`;
  test.each([
    ['watch', 'worldruns.worldflux.ai', '-A'],
    ['patch', 'worldruns.worldflux.ai', '--subresource=status', '-n', 'team-a'],
    ['patch', 'runtimeprofiles.worldflux.ai', '--subresource=status'],
    // The finalizer of a run at a vendor.
    ['patch', 'worldruns.worldflux.ai', '-n', 'team-a'],
    ['create', 'jobs.batch', '-n', 'team-a'],
    ['get', 'pods', '--subresource=log', '-n', 'team-a'],
    ['delete', 'pods', '-n', 'team-a'],
    ['create', 'events.events.k8s.io', '-n', 'team-a'],
    ['create', 'tokenreviews.authentication.k8s.io'],
    ['update', 'leases.coordination.k8s.io/worldflux-operator', '-n', NAMESPACE],
    ['watch', 'configmaps', '-n', NAMESPACE],
    ['get', 'secrets/worldflux-operator-gateway-tls', '-n', NAMESPACE],
    ['create', 'subjectaccessreviews.authorization.k8s.io'],
    ['patch', 'apiservices.apiregistration.k8s.io/v1alpha1.results.worldflux.ai'],
    ['get', 'configmaps/extension-apiserver-authentication', '-n', 'kube-system'],
  ])('lets the operator %s %s', async (verb, resource, ...more) => {
    expect(await canI(OPERATOR_USER, verb, resource, ...more)).toBe(true);
  });

  test.each([
    ['list', 'secrets', '-n', NAMESPACE],
    ['get', 'secrets/other', '-n', NAMESPACE],
    ['get', 'secrets/worldflux-operator-gateway-tls', '-n', 'team-a'],
    ['get', 'configmaps', '-n', 'team-a'],
    ['create', 'pods', '-n', 'team-a'],
    ['create', 'pods', '--subresource=exec', '-n', 'team-a'],
    ['create', 'worldruns.worldflux.ai', '-n', 'team-a'],
    ['update', 'worldruns.worldflux.ai', '-n', 'team-a'],
    ['patch', 'runtimeprofiles.worldflux.ai'],
    ['update', 'jobs.batch', '-n', 'team-a'],
    ['delete', 'leases.coordination.k8s.io', '-n', NAMESPACE],
    ['create', 'rolebindings.rbac.authorization.k8s.io', '-n', NAMESPACE],
    ['create', 'serviceaccounts', '--subresource=token', '-n', NAMESPACE],
    ['patch', 'nodes'],
    ['impersonate', 'users'],
    ['patch', 'apiservices.apiregistration.k8s.io/v1.apps'],
    ['get', 'configmaps/other', '-n', 'kube-system'],
  ])('does not let the operator %s %s', async (verb, resource, ...more) => {
    expect(await canI(OPERATOR_USER, verb, resource, ...more)).toBe(false);
  });

  test('the cluster’s view and edit roles cover WorldRuns of their namespace, and never a status', async () => {
    for (const role of ['view', 'edit']) {
      await cluster.kubectl([
        '-n',
        'team-a',
        'create',
        'rolebinding',
        role,
        `--clusterrole=${role}`,
        `--user=${role}er`,
      ]);
    }
    const inTeam = (user: string, verb: string, ...more: string[]): Promise<boolean> =>
      canI(user, verb, 'worldruns.worldflux.ai', '-n', 'team-a', ...more);
    // Aggregation is the work of a controller: wait for its first effect, then look at everything.
    await until(
      'the roles to be aggregated',
      async () => ((await inTeam('editer', 'create')) && (await inTeam('viewer', 'list')) ? true : undefined),
      { timeoutMs: 30_000 },
    );
    expect(await inTeam('editer', 'deletecollection')).toBe(true);
    expect(await mayReadLog('viewer', 'team-a')).toBe(true);
    expect(await mayReadLog('viewer', 'elsewhere')).toBe(false);
    expect(await inTeam('viewer', 'create')).toBe(false);
    expect(await inTeam('editer', 'patch', '--subresource=status')).toBe(false);
    expect(await canI('editer', 'create', 'worldruns.worldflux.ai', '-n', 'elsewhere')).toBe(false);
    expect(await canI('editer', 'create', 'runtimeprofiles.worldflux.ai')).toBe(false);
  });

  test('upgrades with other values, and uninstalls without taking runs or results along', async () => {
    await helm(['upgrade', 'worldflux-operator', OPERATOR, '--namespace', NAMESPACE], {
      kubeconfig: cluster.kubeconfig,
      values: { settings: { workers: 3 }, apiServerPriority: { enabled: true } },
    });
    for (const schema of ['worldflux-operator', 'worldflux-operator-lease']) {
      // The API server has found the priority level that it names.
      await cluster.kubectl(['wait', '--for=condition=Dangling=False', `flowschema/${schema}`, '--timeout=30s']);
    }
    const deployed = await cluster.kubectl([
      '-n',
      NAMESPACE,
      'get',
      'deploy',
      'worldflux-operator',
      '-o',
      'jsonpath={.spec.template.spec.containers[0].env[?(@.name=="WORLDFLUX_WORKERS")].value}',
    ]);
    expect(deployed).toBe('3');
    const run = {
      apiVersion: 'worldflux.ai/v1alpha1',
      kind: 'WorldRun',
      metadata: { name: 'kept', namespace: 'team-a' },
      spec: { image: 'x' },
    };
    await cluster.kubectl(['create', '-f', '-'], { input: stringify(run) });

    await release('uninstall', 'worldflux-profiles', '--namespace', NAMESPACE, '--wait');
    await release('uninstall', 'worldflux-operator', '--namespace', NAMESPACE, '--wait');
    expect(await cluster.kubectl(['-n', 'team-a', 'get', 'worldruns', '-o', 'name'])).toBe(
      'worldrun.worldflux.ai/kept\n',
    );
    expect(await cluster.kubectl(['-n', NAMESPACE, 'get', 'pvc', '-o', 'name'])).toContain('worldflux-operator-store');
    expect(
      await cluster.kubectl([
        'get',
        'clusterroles,clusterrolebindings',
        '-l',
        'app.kubernetes.io/part-of=worldflux',
        '-o',
        'name',
      ]),
    ).toBe('');
    // And what was kept does not stand in the way of a new installation of the same name.
    await release('install', 'worldflux-operator', OPERATOR, '--namespace', NAMESPACE);
  });
});
