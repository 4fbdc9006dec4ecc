import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { VendorSecrets } from '../../../src/controller/vendor-access.ts';
import { runtimeProfileSpec } from '../../../src/crds/runtime-profile.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import { loadClusterConfig } from '../../../src/kube/config.ts';
import { SECRETS } from '../../../src/kube/resource.ts';
import { ReplicateRuntime } from '../../../src/runtime/replicate/runtime.ts';
import { RuntimeIos } from '../../../src/runtime/runtime-io.ts';
import { SecretsInUse } from '../../../src/telemetry/secrets-in-use.ts';
import { attachCluster } from '../../cluster/index.ts';
import { Kit } from '../../e2e/kit.ts';
import { temporaryFolder } from '../../temporary-folder.ts';

/** From a Secret in a real API server, read as somebody who may only `get` it by name, to the header at the vendor. */

const dir = await temporaryFolder('vendor-secrets');
const OPERATOR = 'vendor-secret-operator';
const runtime = new ReplicateRuntime();

let kit: Kit;
let client: KubeClient;
let vendor: Server;
let endpoint: string;
let profile: ReturnType<typeof profileOf>;
const seen: (string | undefined)[] = [];

beforeAll(async () => {
  const cluster = await attachCluster(inject('cluster'));
  if (cluster === undefined) throw new Error('the layer has no cluster');
  kit = await Kit.open(cluster, 'vendor-secrets');
  const kubeconfig = parse(await readFile(cluster.kubeconfig, 'utf8')) as {
    users: { user: Record<string, unknown> }[];
  };
  for (const { user } of kubeconfig.users) user['as'] = OPERATOR;
  const file = join(dir, 'kubeconfig');
  await writeFile(file, stringify(kubeconfig));
  client = KubeClient.connect(loadClusterConfig({ file }), { userAgent: 'worldflux-test' });
  const rbac = { apiVersion: 'rbac.authorization.k8s.io/v1', metadata: { name: 'vendor-secrets' } };
  await kit.apply(
    {
      ...rbac,
      kind: 'Role',
      // As the chart writes it for `credentialSecrets`.
      rules: [{ apiGroups: [''], resources: ['secrets'], resourceNames: ['replicate', 'gone'], verbs: ['get'] }],
    },
    {
      ...rbac,
      kind: 'RoleBinding',
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'vendor-secrets' },
      subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: OPERATOR }],
    },
  );
  vendor = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.end('{}');
  });
  await new Promise<void>((done) => vendor.listen(0, '127.0.0.1', done));
  endpoint = `http://127.0.0.1:${(vendor.address() as AddressInfo).port}`;
  profile = profileOf('replicate');
});
afterAll(async () => {
  vendor?.closeAllConnections();
  vendor?.close();
  await client?.close();
  await kit?.close();
});

const LABEL = { 'worldflux.ai/credential-for': 'replicate' };
const HOSTS = { 'worldflux.ai/allowed-hosts': '127.0.0.1' };

const write = (name: string, token: string, labels: object = LABEL, annotations: object = HOSTS) =>
  kit.apply({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name, labels, annotations },
    stringData: { REPLICATE_API_KEY: token },
  });

beforeEach(async () => {
  seen.length = 0;
  await write('replicate', 'r8_first-of-them');
});

const profileOf = (secret: string) => ({
  name: 'replicate',
  digest: 'sha256:0',
  spec: runtimeProfileSpec.parse({
    runtime: 'replicate',
    replicate: { model: 'acme/wm', endpoint },
    credentials: { secretRef: { name: secret } },
    network: { allowedHosts: ['127.0.0.1', 'localhost'], allowPlainHTTP: true, allowPrivateEndpoints: true },
    allowedNamespaces: {},
    limits: { maxRunSeconds: 600, maxCostUSDPerRun: '1' },
    pricing: { usdPerNodeHour: '1' },
  }),
});

function open() {
  const stop = new AbortController();
  const secretsInUse = new SecretsInUse();
  const ios = new RuntimeIos({ events: { emit: () => undefined }, clusterRanges: [] });
  const secrets = new VendorSecrets({
    namespace: kit.namespace,
    client,
    ios,
    secretsInUse,
    onChange: () => undefined,
    signal: stop.signal,
    now: Date.now,
  });
  return { secrets, secretsInUse, close: () => (stop.abort(), ios.close()) };
}

/** What a vendor sees of a request that a runtime makes with the io that it is given. */
async function call(secrets: VendorSecrets, path = endpoint): Promise<string | undefined> {
  const access = secrets.of(profile, runtime);
  if (!access.ready) throw new Error(access.message);
  const { http, credentials } = access.io;
  await http.fetch({ class: 'health', name: 'account get', credentials: true })(path, {
    headers: { authorization: `Bearer ${credentials['REPLICATE_API_TOKEN']}` },
  });
  return seen.at(-1);
}

test('a key is read by its name alone, goes to its host, and changes with the Secret', async () => {
  const { secrets, secretsInUse, close } = open();
  await secrets.refresh('replicate');
  expect(await call(secrets)).toBe('Bearer r8_first-of-them');
  expect(await call(secrets, endpoint.replace('127.0.0.1', 'localhost'))).toBeUndefined();

  await write('replicate', 'r8_second-of-them');
  await secrets.refresh('replicate');
  expect(await call(secrets)).toBe('Bearer r8_second-of-them');
  expect(secretsInUse.mask('r8_first-of-them r8_second-of-them')).toBe('[redacted] [redacted]');
  expect(secrets.configOf(profile, runtime)).toEqual(
    expect.arrayContaining([
      {
        name: 'REPLICATE_API_TOKEN',
        present: true,
        source: 'secret:replicate/REPLICATE_API_KEY',
        required: true,
        secret: true,
        valid: true,
      },
    ]),
  );
  await close();
});

test.each([
  ['the label of another runtime', { 'worldflux.ai/credential-for': 'modal' }, HOSTS, 'notLabelled'],
  ['no label', {}, HOSTS, 'notLabelled'],
  ['another host', LABEL, { 'worldflux.ai/allowed-hosts': 'api.replicate.com' }, 'hostNotAllowed'],
  ['no hosts of its own, while the endpoint is not the vendor’s', LABEL, {}, 'hostNotAllowed'],
])('a Secret with %s is used by nobody', async (_, labels, annotations, state) => {
  await kit.client.delete(SECRETS, { namespace: kit.namespace, name: 'replicate' });
  await write('replicate', 'r8_first-of-them', labels, annotations);
  const { secrets, close } = open();
  await secrets.refresh('replicate');
  expect(secrets.stateOf(profile, runtime).state).toBe(state);
  expect(secrets.of(profile, runtime).ready).toBe(false);
  await close();
});

test('what does not exist is missing, what the chart did not allow is unreadable; neither is guessed at', async () => {
  await write('not-listed', 'r8_first-of-them');
  const { secrets, close } = open();
  for (const [name, state, words] of [
    ['gone', 'missing', /there is none of that name in/],
    ['not-listed', 'unreadable', /credentialSecrets/],
  ] as const) {
    await secrets.refresh(name);
    expect(secrets.stateOf(profileOf(name), runtime)).toEqual({
      state,
      message: expect.stringMatching(words) as string,
    });
  }
  await close();
});
