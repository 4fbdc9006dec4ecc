import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { startCluster, type Cluster } from '../../cluster/index.ts';
import { until } from '../../cluster/process.ts';
import { OPERATOR, render } from '../chart/helm.ts';
import { installCrds } from '../install-crds.ts';

/** The chart's policies on a real API server, asked by users who may and by users who may not. */

const NAMESPACE = 'team-a';
const OPERATOR_USER = 'system:serviceaccount:worldflux-system:worldflux-operator';
const JOB_CONTROLLER = 'system:serviceaccount:kube-system:job-controller';
const OURS = { 'app.kubernetes.io/managed-by': 'worldflux-operator', 'worldflux.ai/run-uid': 'uid-1' };
let cluster: Cluster;

beforeAll(async () => {
  // Of its own: policies hold for a whole cluster, and other tests write statuses as the administrator.
  cluster = await startCluster({ name: `policies-${process.pid}`, kind: 'api' });
  await cluster.kubectl(['create', 'namespace', NAMESPACE]);
  await installCrds(cluster);
  const chart = (await render(OPERATOR, { crds: { enabled: false } })).filter(
    ({ kind, metadata }) => kind.startsWith('ValidatingAdmissionPolicy') || metadata.name === 'worldflux-profile-user',
  );
  await apply(...chart);
  await apply(
    // Whatever a wildcard in a namespace gives: the policies stand above it.
    role('everything', '*', '*', ['*']),
    ...['user-of-cpu', 'user-of-all', 'user-of-none'].map((user) => binding(NAMESPACE, 'everything', user)),
    clusterRole('use-cpu', ['cpu']),
    clusterRole('use-default', ['default']),
    clusterBinding('use-cpu', 'user-of-cpu'),
    clusterBinding('use-default', 'user-of-default'),
    clusterBinding('worldflux-profile-user', 'user-of-all'),
    binding(NAMESPACE, 'everything', 'user-of-default'),
    binding(NAMESPACE, 'worldflux-profile-user', 'user-of-none', 'ClusterRole'),
  );
  // The API server takes policies and roles up in its own time.
  await until(
    'the policies to hold',
    async () => ((await refusal('user-of-none', run('probe'))) === undefined ? undefined : true),
    { timeoutMs: 60_000 },
  );
  await until(
    'all policies to hold',
    async () => ((await refusal('user-of-none', pod('probe', OURS))) === undefined ? undefined : true),
    { timeoutMs: 60_000 },
  );
}, 180_000);

afterAll(() => cluster?.down());

const role = (name: string, group: string, resource: string, verbs: string[]): object => ({
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'Role',
  metadata: { name, namespace: NAMESPACE },
  rules: [{ apiGroups: [group], resources: [resource], verbs }],
});
const clusterRole = (name: string, resourceNames: string[]): object => ({
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'ClusterRole',
  metadata: { name },
  rules: [{ apiGroups: ['worldflux.ai'], resources: ['runtimeprofiles'], verbs: ['use'], resourceNames }],
});
const subject = (name: string): object => ({ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name });
const binding = (namespace: string, to: string, user: string, kind = 'Role'): object => ({
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'RoleBinding',
  metadata: { name: `${to}-${user}`, namespace },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind, name: to },
  subjects: [subject(user)],
});
const clusterBinding = (to: string, user: string): object => ({
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'ClusterRoleBinding',
  metadata: { name: `${to}-${user}` },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: to },
  subjects: [subject(user)],
});

const run = (name: string, spec: object = {}, metadata: object = {}): object => ({
  apiVersion: 'worldflux.ai/v1alpha1',
  kind: 'WorldRun',
  metadata: { name, namespace: NAMESPACE, ...metadata },
  spec: { image: 'ghcr.io/acme/wm:1', ...spec },
});
const TEMPLATE = { restartPolicy: 'Never', containers: [{ name: 'c', image: 'busybox' }] };
const job = (name: string, labels: object, templateLabels: object = {}, more: object = {}): object => ({
  apiVersion: 'batch/v1',
  kind: 'Job',
  metadata: { name, namespace: NAMESPACE, labels },
  spec: { template: { metadata: { labels: templateLabels }, spec: TEMPLATE }, ...more },
});
const pod = (name: string, labels: object): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: NAMESPACE, labels },
  spec: TEMPLATE,
});

const apply = (...objects: object[]): Promise<string> =>
  cluster.kubectl(['apply', '--server-side', '-f', '-'], { input: objects.map((o) => stringify(o)).join('---\n') });

/** What the API server says to this user's creating the object; undefined when it would take it. Keeps nothing. */
const refusal = (user: string, object: object): Promise<string | undefined> =>
  said(cluster.kubectl(['create', '--dry-run=server', `--as=${user}`, '-f', '-'], { input: stringify(object) }));

/** As the user, for good. */
const change = (user: string, what: string, patch: object, ...more: string[]): Promise<string | undefined> =>
  said(
    cluster.kubectl([
      '-n',
      NAMESPACE,
      'patch',
      what,
      `--as=${user}`,
      '--type=merge',
      `--patch=${JSON.stringify(patch)}`,
      ...more,
    ]),
  );

const said = (answer: Promise<string>): Promise<string | undefined> =>
  answer.then(
    () => undefined,
    (error: Error) => error.message,
  );

test('the API server finds nothing wrong with the types of any expression', async () => {
  const policies = await until(
    'the policies to be checked',
    async () => {
      const { items } = JSON.parse(await cluster.kubectl(['get', 'validatingadmissionpolicies', '-o', 'json'])) as {
        items: { metadata: { name: string }; status?: { typeChecking?: { expressionWarnings?: object[] } } }[];
      };
      return items.every(({ status }) => status?.typeChecking !== undefined) ? items : undefined;
    },
    { timeoutMs: 60_000 },
  );
  expect(policies).toHaveLength(6);
  expect(policies.flatMap(({ status }) => status?.typeChecking?.expressionWarnings ?? [])).toEqual([]);
});

describe('a profile is used by whoever has the verb on it', () => {
  const naming = (name: string, ...fallbacks: string[]): object =>
    run('r', {
      runtimeProfileRef: { name },
      ...(fallbacks.length > 0 && { fallbackProfileRefs: fallbacks.map((fallback) => ({ name: fallback })) }),
    });

  test('by name, and by nobody else', async () => {
    expect(await refusal('user-of-cpu', naming('cpu'))).toBeUndefined();
    expect(await refusal('user-of-cpu', naming('gpu'))).toMatch(
      /user-of-cpu may not use the RuntimeProfile "gpu": ask the platform team for the verb "use" on runtimeprofiles\.worldflux\.ai/,
    );
  });

  test('a profile that does not exist is refused in the same words: nobody learns which ones there are', async () => {
    expect(await refusal('user-of-cpu', naming('none-such'))).toContain('may not use the RuntimeProfile "none-such"');
  });

  test('everything in its own namespace is not enough, nor a grant that holds only there', async () => {
    expect(await refusal('user-of-none', naming('cpu'))).toContain('user-of-none may not use the RuntimeProfile "cpu"');
  });

  test('every fallback counts, up to the last', async () => {
    expect(await refusal('user-of-all', naming('cpu', 'a', 'b', 'c', 'd'))).toBeUndefined();
    expect(await refusal('user-of-cpu', naming('cpu', 'cpu', 'cpu', 'cpu', 'cpu'))).toBeUndefined();
    for (const place of [0, 1, 2, 3]) {
      const fallbacks = [0, 1, 2, 3].map((at) => (at === place ? 'gpu' : 'cpu'));
      expect(await refusal('user-of-cpu', naming('cpu', ...fallbacks))).toContain(
        'may not use the RuntimeProfile "gpu" (spec.fallbackProfileRefs)',
      );
    }
  });

  test('a run that names none wants the verb on the name default', async () => {
    expect(await refusal('user-of-default', run('r'))).toBeUndefined();
    expect(await refusal('user-of-all', run('r'))).toBeUndefined();
    expect(await refusal('user-of-cpu', run('r'))).toMatch(
      /user-of-cpu may not use the default RuntimeProfile: name another one in spec\.runtimeProfileRef, or ask/,
    );
  });

  test('generateName, apply and the administrator are judged alike', async () => {
    const nameless = run('', { runtimeProfileRef: { name: 'gpu' } }, { name: undefined, generateName: 'r-' });
    expect(await refusal('user-of-cpu', nameless)).toContain('may not use');
    const applied = cluster.kubectl(['apply', '--server-side', '--dry-run=server', '--as=user-of-cpu', '-f', '-'], {
      input: stringify(naming('gpu')),
    });
    expect(await said(applied)).toContain('may not use');
    const asAdministrator = cluster.kubectl(['create', '--dry-run=server', '-f', '-'], {
      input: stringify(naming('gpu', 'cpu')),
    });
    expect(await said(asAdministrator)).toBeUndefined();
  });
});

describe('a status is written by the operator alone', () => {
  const PROFILE = {
    apiVersion: 'worldflux.ai/v1alpha1',
    kind: 'RuntimeProfile',
    metadata: { name: 'cpu' },
    spec: { runtime: 'local', local: {} },
  };
  beforeAll(() => apply(PROFILE, run('with-status'), statusRights()));

  const statusRights = (): object => ({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name: 'operator-writes' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
    subjects: [subject(OPERATOR_USER), subject('cluster-owner')],
  });

  test.each([
    ['worldrun/with-status', { status: { epoch: 3 } }],
    ['runtimeprofile/cpu', { status: { observedGeneration: 1 } }],
  ])('of %s', async (what, patch) => {
    expect(await change('cluster-owner', what, patch, '--subresource=status')).toContain(
      'cluster-owner may not write a status: only system:serviceaccount:worldflux-system:worldflux-operator does',
    );
    expect(await change(OPERATOR_USER, what, patch, '--subresource=status')).toBeUndefined();
  });

  test('the spec stays the user’s', async () => {
    expect(await change('user-of-cpu', 'worldrun/with-status', { spec: { cancel: true } })).toBeUndefined();
  });
});

describe('a Job with our label is made by the operator alone', () => {
  test('whether the label stands on the Job or on its template', async () => {
    expect(await refusal('user-of-all', job('plain', { app: 'x' }))).toBeUndefined();
    for (const forged of [job('forged', OURS), job('forged', {}, OURS)])
      expect(await refusal('user-of-all', forged)).toMatch(
        /user-of-all may not make a Job labelled app\.kubernetes\.io\/managed-by=worldflux-operator.*create a WorldRun instead/,
      );
    expect(await refusal(OPERATOR_USER, job('ours', OURS, OURS))).toBeUndefined();
  });

  test('a CronJob gets nowhere with it', async () => {
    expect(await refusal('system:serviceaccount:kube-system:cronjob-controller', job('forged', OURS, OURS))).toContain(
      'may not make a Job',
    );
  });

  test('labels cannot be put on later, changed, or taken away; the rest may change', async () => {
    await apply(job('stranger', { app: 'x' }, {}, { suspend: true }));
    const ours = job('of-a-run', OURS, OURS, { suspend: true });
    await cluster.kubectl(['create', `--as=${OPERATOR_USER}`, '-f', '-'], { input: stringify(ours) });
    const relabel = (labels: object): object => ({ metadata: { labels } });
    expect(await change('user-of-all', 'job/stranger', relabel(OURS))).toContain('may not make a Job labelled');
    // The template of a suspended Job may change: a way around, were it not looked at.
    expect(await change('user-of-all', 'job/stranger', { spec: { template: relabel(OURS) } })).toContain(
      'may not make a Job labelled',
    );
    for (const labels of [{ 'worldflux.ai/run-uid': 'uid-2' }, { 'app.kubernetes.io/managed-by': null }])
      expect(await change('user-of-all', 'job/of-a-run', relabel(labels))).toContain('nor change such labels');
    expect(await change('user-of-all', 'job/of-a-run', relabel({ team: 'a' }))).toBeUndefined();
    expect(await change('user-of-all', 'job/stranger', relabel({ team: 'a' }))).toBeUndefined();
  });
});

describe('a Pod with our label comes from the Job controller alone', () => {
  test('not from a user, not from the operator, not from a ReplicaSet', async () => {
    for (const user of ['user-of-all', OPERATOR_USER, 'system:serviceaccount:kube-system:replicaset-controller'])
      expect(await refusal(user, pod('forged', OURS))).toMatch(
        /may not make a Pod labelled app\.kubernetes\.io\/managed-by=worldflux-operator/,
      );
    expect(await refusal('user-of-all', pod('plain', { app: 'x' }))).toBeUndefined();
    expect(await refusal(JOB_CONTROLLER, pod('of-a-job', OURS))).toBeUndefined();
  });

  test('the real Job controller makes the pod of a Job that the operator made, and finishes its own work on it', async () => {
    const ours = job('with-pod', { ...OURS, case: 'with-pod' }, { ...OURS, case: 'with-pod' });
    await cluster.kubectl(['create', `--as=${OPERATOR_USER}`, '-f', '-'], { input: stringify(ours) });
    const name = await until(
      'the pod',
      async () =>
        (await cluster.kubectl(['-n', NAMESPACE, 'get', 'pods', '-l', 'case=with-pod', '-o', 'name'])).trim() ||
        undefined,
      { timeoutMs: 60_000 },
    );
    for (const labels of [{ 'worldflux.ai/run-uid': 'uid-2' }, { 'app.kubernetes.io/managed-by': null }])
      expect(await change('user-of-all', name, { metadata: { labels } })).toContain('nor change such labels');
    expect(await change('user-of-all', name, { metadata: { labels: { team: 'a' } } })).toBeUndefined();
    // Deleting the Job takes the pod along: finalizers and owners are changed by controllers of Kubernetes.
    await cluster.kubectl(['-n', NAMESPACE, 'delete', 'job', 'with-pod', '--cascade=foreground', '--timeout=60s'], {
      timeoutMs: 70_000,
    });
    expect(await cluster.kubectl(['-n', NAMESPACE, 'get', 'pods', '-l', 'case=with-pod', '-o', 'name'])).toBe('');
  });

  test('a ReplicaSet whose template carries the label makes no pod at all', async () => {
    const selector = { matchLabels: { case: 'replicas' } };
    await apply({
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      metadata: { name: 'forged', namespace: NAMESPACE },
      spec: {
        replicas: 1,
        selector,
        template: {
          metadata: { labels: { ...OURS, case: 'replicas' } },
          spec: { ...TEMPLATE, restartPolicy: 'Always' },
        },
      },
    });
    await until(
      'the controller to be refused',
      async () => {
        const why = await cluster.kubectl([
          '-n',
          NAMESPACE,
          'get',
          'replicaset',
          'forged',
          '-o',
          'jsonpath={.status.conditions[?(@.type=="ReplicaFailure")].message}',
        ]);
        return why.includes('may not make a Pod labelled') || undefined;
      },
      { timeoutMs: 60_000 },
    );
    expect(await cluster.kubectl(['-n', NAMESPACE, 'get', 'pods', '-l', 'case=replicas', '-o', 'name'])).toBe('');
  });

  test('a pod that stands there already takes the label on for nobody', async () => {
    await apply(pod('stranger', { app: 'x' }));
    expect(await change('user-of-all', 'pod/stranger', { metadata: { labels: OURS } })).toContain(
      'may not make a Pod labelled',
    );
  });
});

describe('the finalizer of a run at a vendor', () => {
  const ours = 'worldflux.ai/vendor-work';
  const without = { metadata: { finalizers: ['example.com/other'] } };
  beforeAll(() => apply(run('paid', {}, { finalizers: [ours, 'example.com/other'] })));

  test('is taken away by the operator and by those with the right to, and by nobody else', async () => {
    await apply(role('edit-runs', 'worldflux.ai', 'worldruns', ['*']), binding(NAMESPACE, 'edit-runs', 'editor'));
    await until(
      'the role to hold',
      async () =>
        (await change('editor', 'worldrun/paid', { spec: { suspend: true } })) === undefined ? true : undefined,
      { timeoutMs: 30_000 },
    );
    expect(await change('editor', 'worldrun/paid', without)).toMatch(
      /editor may not take the finalizer of a run away.*worldruns\/finalizers/,
    );
    expect(await change('editor', 'worldrun/paid', { metadata: { finalizers: [ours] } })).toBeUndefined();
    expect(await change('editor', 'worldrun/paid', { spec: { suspend: false } })).toBeUndefined();
    await apply(
      role('finalize-runs', 'worldflux.ai', 'worldruns/finalizers', ['update']),
      binding(NAMESPACE, 'finalize-runs', 'editor'),
    );
    await until(
      'the role to hold',
      async () =>
        (await change('editor', 'worldrun/paid', { metadata: { finalizers: null } })) === undefined ? true : undefined,
      { timeoutMs: 30_000 },
    );
  });
});

describe('an approval', () => {
  const by = (user: string) => ({
    metadata: { annotations: { 'worldflux.ai/approve': 'sha256:abc', 'worldflux.ai/approved-by': user } },
  });
  beforeAll(async () => {
    await apply(
      run('to-approve'),
      role('edit-all-runs', 'worldflux.ai', 'worldruns', ['*']),
      role('approve-runs', 'worldflux.ai', 'worldruns/approval', ['update']),
      ...['requester', 'approver'].map((user) => binding(NAMESPACE, 'edit-all-runs', user)),
      binding(NAMESPACE, 'approve-runs', 'approver'),
    );
    await until(
      'the roles to hold',
      async () =>
        (await change('approver', 'worldrun/to-approve', { spec: { suspend: true } })) === undefined ? true : undefined,
      { timeoutMs: 30_000 },
    );
  });

  test('is nobody’s to give who may only write runs', async () => {
    expect(await change('requester', 'worldrun/to-approve', by('requester'))).toMatch(
      /requester may not approve runs: .*"update" on worldruns\/approval/,
    );
    expect(await refusal('requester', run('approved-at-birth', {}, by('requester').metadata))).toMatch(/may not/);
  });

  test('names its giver, whoever that is', async () => {
    expect(await change('approver', 'worldrun/to-approve', by('somebody-else'))).toMatch(
      /approved-by names who approves: approver/,
    );
    expect(await change('approver', 'worldrun/to-approve', by('approver'))).toBeUndefined();
  });

  test('stands until somebody who may give one takes it back, and is in nobody’s way', async () => {
    const back = { metadata: { annotations: { 'worldflux.ai/approve': null } } };
    expect(await change('requester', 'worldrun/to-approve', back)).toMatch(/may not approve/);
    expect(await change('requester', 'worldrun/to-approve', { spec: { suspend: false } })).toBeUndefined();
    expect(await change('approver', 'worldrun/to-approve', back)).toBeUndefined();
  });
});
