import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { API_SERVICE } from '../../src/results/api/registration.ts';
import { cliOf, type Cli } from '../integration/results-api/cli-process.ts';
import { fixture } from './fixture.ts';
import { condition } from './kit.ts';
import { freePort } from './operator-process.ts';

/** `kubectl worldflux` beside real Pods, and the operator's own results API behind a real API server. */

const port = await freePort();
const world = fixture('cli', ['--results-api-port', String(port)]);
const SERVICE = 'worldflux-operator-results-api';
let cli: Cli;
let folder: string;

beforeAll(async () => {
  const { cluster, namespace } = world.kit;
  folder = await mkdtemp(join(tmpdir(), 'worldflux-cli-e2e-'));
  // As the chart has them, but for the address: the operator is a process of this host.
  const objects = [
    { apiVersion: 'v1', kind: 'Service', metadata: { name: SERVICE }, spec: { ports: [{ port }] } },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: SERVICE, labels: { 'kubernetes.io/service-name': SERVICE } },
      addressType: 'IPv4',
      endpoints: [{ addresses: [cluster.hostAddress], conditions: { ready: true } }],
      ports: [{ port, protocol: 'TCP' }],
    },
    {
      apiVersion: 'apiregistration.k8s.io/v1',
      kind: 'APIService',
      metadata: { name: API_SERVICE },
      spec: {
        group: 'results.worldflux.ai',
        version: 'v1alpha1',
        groupPriorityMinimum: 100,
        versionPriority: 10,
        service: { name: SERVICE, namespace: world.settings.namespace, port },
      },
    },
  ];
  const input = objects.map((object) => stringify(object)).join('---\n');
  await cluster.kubectl(['apply', '-n', world.settings.namespace, '-f', '-'], { input });
  await cluster.kubectl(['wait', '--for=condition=Available', `apiservice/${API_SERVICE}`, '--timeout=60s'], {
    timeoutMs: 70_000,
  });
  const own = cliOf(cluster.kubeconfig);
  const here = (argv: string[]): string[] => [...argv, '-n', namespace];
  cli = Object.assign((...argv: string[]) => own(...here(argv)), {
    json: (kind: Parameters<Cli['json']>[0], ...argv: string[]) => own.json(kind, ...here(argv)),
    error: (code: Parameters<Cli['error']>[0], ...argv: string[]) => own.error(code, ...here(argv)),
  }) as Cli;
});
afterAll(async () => {
  const { cluster } = world.kit;
  await cluster.kubectl(['delete', 'apiservice', API_SERVICE]);
  await cluster.kubectl(['delete', 'service,endpointslice', '-n', world.settings.namespace, SERVICE]);
  await rm(folder, { recursive: true });
});

describe.concurrent('the CLI', () => {
  test('follows a run from before its start to its end, and reads the same when the pod is gone', async ({
    expect,
  }) => {
    const { kit, profile } = world;
    const script = 'cd /worldflux/output; echo begin; echo bytes > a.txt; sleep 3; echo end';
    await kit.apply(kit.shell('followed', profile, script, { outputs: { artifacts: [{ name: 'a', path: 'a.txt' }] } }));
    expect(await cli('logs', '-f', 'followed')).toEqual({ code: 0, out: 'begin\nend\n', err: '' });
    await kit.finished('followed');
    expect(await cli.json('Log', 'logs', 'followed')).toMatchObject({ source: 'pod', text: 'begin\nend\n' });

    await kit.cluster.kubectl([
      'delete',
      'pods',
      '-n',
      kit.namespace,
      '-l',
      'worldflux.ai/run=followed',
      '--wait=true',
    ]);
    expect(await cli.json('Log', 'logs', 'followed')).toMatchObject({ source: 'store', text: 'begin\nend\n' });
    const { digest } = await cli.json('Manifest', 'manifest', 'followed');
    expect(digest).toBe((await kit.get('followed')).status?.manifestDigest);
    const { sha256, file } = await cli.json('ArtifactFile', 'artifacts', 'get', 'followed', 'a', '-o', folder);
    expect(sha256).toBe(`sha256:${createHash('sha256').update('bytes\n').digest('hex')}`);
    expect(await readFile(file, 'utf8')).toBe('bytes\n');
  });

  test('follows into the next attempt', async ({ expect }) => {
    const { kit, profile } = world;
    const script = 'echo attempt $WORLDFLUX_ATTEMPT; test $WORLDFLUX_ATTEMPT = 2';
    await kit.apply(kit.shell('again', profile, script, { retry: { maxAttempts: 2, onReasons: ['NonZeroExit'] } }));
    expect((await cli('logs', '-f', 'again')).out).toBe('attempt 1\nattempt 2\n');
    await kit.finished('again');
    expect((await cli('logs', 'again', '--attempt', '1')).out).toBe('attempt 1\n');
    expect((await cli('logs', 'again')).out).toBe('attempt 2\n');
  });

  test('cancels a run and starts it once more', async ({ expect }) => {
    const { kit, profile } = world;
    await kit.apply(kit.shell('stopped', profile, 'echo at work; sleep 600'));
    await kit.until('stopped', (run) => condition(run, 'Ready')?.reason === 'Running');
    await cli.json('Cancel', 'cancel', 'stopped');
    expect((await kit.finished('stopped')).status?.phase).toBe('Cancelled');
    const { name } = await cli.json('Retry', 'retry', 'stopped');
    await kit.until(name, (run) => condition(run, 'Ready')?.reason === 'Running');
    await cli.json('Cancel', 'cancel', name);
    await kit.finished(name);
  });

  test('finds nothing wrong with a cluster that runs', async ({ expect }) => {
    await world.kit.untilProfile(world.profile, (profile) => condition(profile, 'Ready')?.status === 'True');
    const { checks, healthy } = await cli.json('Doctor', 'doctor');
    expect({ healthy, errors: checks.filter(({ level }) => level === 'error') }).toEqual({ healthy: true, errors: [] });
    expect((await cli('runtime', 'doctor', world.profile)).code).toBe(0);
  });
});
