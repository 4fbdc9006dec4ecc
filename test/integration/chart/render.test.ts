import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { findHelm } from '../../../scripts/chart/helm.ts';
import { renderInstall, renderMonitoring, renderProfiles } from '../../../scripts/chart/install.ts';
import { describeOptions, parseOptions } from '../../../src/options.ts';
import { helm, only, OPERATOR, PROFILES, render, type KubeObject } from './helm.ts';
import { DIGEST, REFUSED, VALUE_SETS } from './values.ts';

interface EnvVar {
  name: string;
  value?: string;
  valueFrom?: { fieldRef?: { fieldPath: string }; secretKeyRef?: { name: string; key: string } };
}
interface PodSpec {
  containers: { image: string; env: EnvVar[] }[];
  volumes: { name: string; persistentVolumeClaim?: { claimName: string } }[];
  topologySpreadConstraints?: object[];
}
interface DeploymentSpec {
  replicas: number;
  strategy?: { type: string; rollingUpdate?: object };
  template: { metadata: { labels: Record<string, string> }; spec: PodSpec };
}

const deployment = (objects: readonly KubeObject[]): DeploymentSpec =>
  only(objects, 'Deployment').spec as unknown as DeploymentSpec;
const profileNames = async (values: object): Promise<string[]> =>
  (await render(PROFILES, values)).map(({ metadata }) => metadata.name);
const kinds = (objects: readonly KubeObject[]): string[] => objects.map((object) => object.kind);

/** What the operator's process would find in its environment. */
function environment(objects: readonly KubeObject[]): NodeJS.ProcessEnv {
  const fields: Record<string, string> = { 'metadata.namespace': 'worldflux-system', 'status.podIP': '10.1.0.7' };
  const entries = deployment(objects).template.spec.containers[0]!.env.map(({ name, value, valueFrom }) => [
    name,
    fields[valueFrom?.fieldRef?.fieldPath ?? ''] ?? value,
  ]);
  return Object.fromEntries(entries) as NodeJS.ProcessEnv;
}

test.each([OPERATOR, PROFILES])('helm lint finds nothing in %s', async (chart) => {
  expect(await helm(['lint', '--strict', '--quiet', chart], { values: {} })).not.toMatch(/ERROR|WARNING/);
});

test.each([
  ['install.yaml', renderInstall],
  ['profiles.yaml', renderProfiles],
  ['monitoring.yaml', renderMonitoring],
])('manifests/%s is what its chart renders to', async (name, rendered) => {
  const file = join(import.meta.dirname, '..', '..', '..', 'manifests', name);
  expect(await readFile(file, 'utf8')).toBe(await rendered(await findHelm({ install: true })));
});

describe.each(Object.entries(VALUE_SETS))('%s', (_, values) => {
  test('gives the operator settings that it takes, under names that it knows', async () => {
    const env = environment(await render(OPERATOR, values));
    expect(() => parseOptions([], env)).not.toThrow();
    const known = describeOptions();
    for (const name of Object.keys(env).filter((variable) => variable.startsWith('WORLDFLUX_')))
      expect(known).toContain(name);
  });

  test('renders the same twice: nothing is made up on the way', async () => {
    expect(await render(OPERATOR, values)).toEqual(await render(OPERATOR, values));
  });

  test('labels every object, and nothing as a child of a run', async () => {
    for (const { kind, metadata } of await render(OPERATOR, values)) {
      expect(metadata.labels, `${kind} ${metadata.name}`).toMatchObject({
        'app.kubernetes.io/name': 'worldflux-operator',
        'app.kubernetes.io/instance': 'release',
        'app.kubernetes.io/version': '0.1.0',
        'app.kubernetes.io/managed-by': 'Helm',
      });
    }
  });
});

describe('values', () => {
  test.each(Object.entries(REFUSED))('%s: refused', async (_, { values, naming }) => {
    await expect(render(OPERATOR, values)).rejects.toThrow(naming);
  });

  const ADDS: [string, string[]][] = [
    [
      'watched by the Prometheus operator and Grafana',
      [
        'ServiceMonitor/worldflux-operator',
        'PrometheusRule/worldflux-operator',
        'ConfigMap/worldflux-operator-dashboard',
      ],
    ],
    ['certificates by cert-manager', ['Certificate/worldflux-operator-certificate']],
    [
      'a busy API server',
      [
        'PriorityLevelConfiguration/worldflux-operator',
        'FlowSchema/worldflux-operator',
        'FlowSchema/worldflux-operator-lease',
      ],
    ],
  ];
  test.each(ADDS)('%s: adds exactly that', async (name, added) => {
    const spelled = (objects: readonly KubeObject[]): string[] =>
      objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
    const [without, by] = [spelled(await render(OPERATOR, {})), spelled(await render(OPERATOR, VALUE_SETS[name]!))];
    expect(by.filter((object) => !without.includes(object)).toSorted()).toEqual(added.toSorted());
    expect(without.filter((object) => !by.includes(object))).toEqual([]);
  });

  test('each alert leads to its paragraph', async () => {
    const rule = only(await render(OPERATOR, { prometheusRule: { enabled: true } }), 'PrometheusRule');
    const { groups } = rule.spec as {
      groups: { rules: { alert: string; annotations: Record<string, string> }[] }[];
    };
    for (const { alert, annotations } of groups.flatMap(({ rules }) => rules)) {
      expect(annotations).toMatchObject({ summary: expect.any(String), description: expect.any(String) });
      expect(annotations['runbook_url']).toMatch(
        new RegExp(`^https://[^ ]+/docs/troubleshooting\\.md#${alert.toLowerCase()}$`),
      );
    }
  });

  test('cert-manager: served from its Secret for both names, and the operator may read no key of an authority', async () => {
    const objects = await render(OPERATOR, VALUE_SETS['certificates by cert-manager']!);
    const { secretName, dnsNames } = only(objects, 'Certificate').spec as { secretName: string; dnsNames: string[] };
    expect(deployment(objects).template.spec.volumes).toContainEqual(
      expect.objectContaining({ name: 'tls', secret: expect.objectContaining({ secretName }) }),
    );
    expect(parseOptions([], environment(objects))['tls-dir']).toBe('/etc/worldflux/tls');
    expect(dnsNames).toEqual(
      expect.arrayContaining([
        'worldflux-operator-gateway.worldflux-system.svc',
        'worldflux-operator-results-api.worldflux-system.svc',
      ]),
    );
    expect(JSON.stringify(objects.filter(({ kind }) => kind === 'Role'))).not.toContain('"secrets"');
  });

  test('replicas over one bucket know their addresses, and a new one stands by before an old one goes', async () => {
    const objects = await render(OPERATOR, VALUE_SETS['s3, two replicas']!);
    const rollingUpdate = { maxSurge: 1, maxUnavailable: 0 };
    expect(deployment(objects).strategy).toEqual({ type: 'RollingUpdate', rollingUpdate });
    expect(parseOptions([], environment(objects))['replica-address']).toBe('10.1.0.7');
  });

  test('two replicas prefer two nodes, unless the user says how to spread', async () => {
    const spread = async (values: object): Promise<unknown> =>
      deployment(await render(OPERATOR, values)).template.spec.topologySpreadConstraints;
    const two = VALUE_SETS['s3, two replicas']!;
    expect(await spread({})).toBeUndefined();
    expect(await spread(two)).toMatchObject([
      { topologyKey: 'kubernetes.io/hostname', whenUnsatisfiable: 'ScheduleAnyway' },
    ]);
    const own = [{ maxSkew: 2, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule' }];
    expect(await spread({ ...two, topologySpreadConstraints: own })).toEqual(own);
  });

  test('the schema knows exactly the values that there are, and refuses every other', async () => {
    interface Schema {
      properties?: Record<string, Schema>;
      additionalProperties?: boolean | Schema;
      type?: string;
    }
    const read = async (file: string): Promise<string> => readFile(join(OPERATOR, file), 'utf8');
    const schema = JSON.parse(await read('values.schema.json')) as Schema;
    const known = (of: Schema, path: string): string[] =>
      of.properties === undefined
        ? [path]
        : Object.entries(of.properties).flatMap(([name, child]) => known(child, `${path}.${name}`));
    const written = (value: unknown, of: Schema | undefined, path: string): string[] =>
      of?.properties === undefined
        ? [path]
        : Object.entries(value as object).flatMap(([name, child]) =>
            written(child, of.properties?.[name], `${path}.${name}`),
          );
    const values = parse(await read('values.yaml')) as object;
    // `global` is a parent chart's.
    expect(written(values, schema, '').toSorted()).toEqual(
      known(schema, '')
        .filter((path) => path !== '.global')
        .toSorted(),
    );
    const open = (of: Schema, path: string): string[] => [
      ...(of.properties !== undefined && of.additionalProperties !== false ? [path] : []),
      ...Object.entries(of.properties ?? {}).flatMap(([name, child]) => open(child, `${path}.${name}`)),
    ];
    expect(open(schema, '')).toEqual([]);
  });

  test('files: one writer, whose volume outlives the release', async () => {
    const objects = await render(OPERATOR, {});
    expect(deployment(objects)).toMatchObject({ replicas: 1, strategy: { type: 'Recreate' } });
    const claim = only(objects, 'PersistentVolumeClaim');
    expect(claim.metadata.annotations).toEqual({ 'helm.sh/resource-policy': 'keep' });
    expect(claim.spec).not.toHaveProperty('storageClassName');
    expect(deployment(objects).template.spec.volumes).toContainEqual({
      name: 'store',
      persistentVolumeClaim: { claimName: claim.metadata.name },
    });
    expect(kinds(objects)).not.toContain('PodDisruptionBudget');
  });

  test('a claim of the user is used, and none is made', async () => {
    const objects = await render(OPERATOR, VALUE_SETS['a claim of the user']!);
    expect(kinds(objects)).not.toContain('PersistentVolumeClaim');
    expect(deployment(objects).template.spec.volumes).toContainEqual({
      name: 'store',
      persistentVolumeClaim: { claimName: 'mine' },
    });
  });

  test('s3: no volume, keys by reference only, and never both replicas away', async () => {
    const objects = await render(OPERATOR, VALUE_SETS['s3, two replicas']!);
    expect(kinds(objects)).not.toContain('PersistentVolumeClaim');
    expect(only(objects, 'PodDisruptionBudget').spec).toMatchObject({ maxUnavailable: 1 });
    const env = deployment(objects).template.spec.containers[0]!.env;
    expect(env).toContainEqual({
      name: 'AWS_SECRET_ACCESS_KEY',
      valueFrom: { secretKeyRef: { name: 's3', key: 'AWS_SECRET_ACCESS_KEY' } },
    });
    expect(parseOptions([], environment(objects))).toMatchObject({
      store: 's3',
      's3-bucket': 'results',
      's3-region': 'eu-central-1',
      's3-endpoint': 'https://minio.example',
      's3-path-style': true,
    });
  });

  test('a digest wins over the tag, for the operator and for the collector alike', async () => {
    const objects = await render(OPERATOR, { image: { digest: DIGEST, tag: 'ignored' } });
    const image = `ghcr.io/worldflux/worldflux-operator@${DIGEST}`;
    expect(deployment(objects).template.spec.containers[0]!.image).toBe(image);
    expect(parseOptions([], environment(objects)).image).toBe(image);
  });

  test('what a ServiceMonitor selects is the metrics Service alone', async () => {
    const objects = await render(OPERATOR, {
      serviceMonitor: { enabled: true, interval: '15s', labels: { release: 'prometheus' } },
    });
    const monitor = only(objects, 'ServiceMonitor');
    expect(monitor.metadata.labels).toMatchObject({ release: 'prometheus' });
    const { matchLabels } = monitor.spec!['selector'] as { matchLabels: Record<string, string> };
    const selected = objects.filter(
      ({ kind, metadata }) =>
        kind === 'Service' && Object.entries(matchLabels).every(([key, value]) => metadata.labels?.[key] === value),
    );
    expect(selected.map(({ metadata }) => metadata.name)).toEqual(['worldflux-operator-metrics']);
  });

  test('a profile is left out with null, and only one may be the default', async () => {
    expect(await profileNames({})).toEqual(['cpu', 'gpu']);
    expect(await profileNames({ profiles: { gpu: null } })).toEqual(['cpu']);
    await expect(
      render(PROFILES, { profiles: { gpu: { default: true, spec: { runtime: 'local' } } } }),
    ).rejects.toThrow(/only one may be the default.*cpu, gpu/);
    await expect(render(PROFILES, { profiles: { 'Not-a-name': { spec: { runtime: 'local' } } } })).rejects.toThrow(
      /Not-a-name/,
    );
  });
});
