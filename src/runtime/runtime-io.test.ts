import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runtimeProfileSpec } from '../crds/runtime-profile.ts';
import type { ProviderEventInput } from '../telemetry/provider-event.ts';
import type { RuntimeError } from './errors.ts';
import { RuntimeIos, type RuntimeCredentials } from './runtime-io.ts';

let server: Server;
let origin: string;
let connections: number;
let held: (() => void)[];
const events: ProviderEventInput[] = [];
let ios: RuntimeIos;

beforeEach(async () => {
  connections = 0;
  held = [];
  events.length = 0;
  server = createServer((request, response) => {
    if (request.url === '/held') held.push(() => response.end('at last'));
    else response.end(request.headers.authorization ?? 'no key');
  });
  server.on('connection', () => (connections += 1));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  ios = new RuntimeIos({ events: { emit: (event) => events.push(event) }, clusterRanges: ['127.0.0.0/8'] });
});
afterEach(async () => {
  await ios.close();
  server.closeAllConnections();
  server.close();
});

const near = { network: { allowPlainHTTP: true, allowPrivateEndpoints: true } };
const credentials = (key: string): RuntimeCredentials => ({
  values: { REPLICATE_API_TOKEN: key },
  hosts: [],
  resourceVersion: key,
});

function io(key = 'first', spec: object = near, digest = 'sha256:0', name = 'gpu') {
  return ios.makeRuntimeIo({
    profile: {
      name,
      digest,
      spec: runtimeProfileSpec.parse({ runtime: 'replicate', replicate: { model: 'a/b', endpoint: origin }, ...spec }),
    },
    runtime: { name: 'replicate' },
    credentials: credentials(key),
    signal: new AbortController().signal,
  });
}

async function call({ http, credentials }: ReturnType<typeof io>, path = '/'): Promise<string> {
  const fetch = http.fetch({ class: 'polling', name: 'prediction get', credentials: true });
  const response = await fetch(origin + path, {
    headers: { authorization: credentials['REPLICATE_API_TOKEN']! },
  });
  const text = await response.text();
  // A pool takes a connection back in the turn after its answer has ended.
  await setImmediate();
  return text;
}

test('one profile keeps its connections, over an exchanged key too', async () => {
  expect([await call(io('first')), await call(io('second')), connections]).toEqual(['first', 'second', 1]);
  expect(events).toMatchObject([{ profile: 'gpu', provider: 'replicate' }, {}]);
});

test('another spec, or another profile, has connections of its own', async () => {
  await call(io());
  await call(io('first', near, 'sha256:1'));
  await call(io('first', near, 'sha256:0', 'other'));
  // Runs go on with the spec that they began with: both are kept.
  await call(io());
  await call(io('first', near, 'sha256:1'));
  expect(connections).toBe(3);
});

test('the profile’s rules hold: no plain HTTP, no private address and no cluster’s unless it says so', async () => {
  const refusal = { kind: 'refused' };
  await expect(call(io('first', {}))).rejects.toMatchObject(refusal);
  await expect(call(io('first', { network: { allowPlainHTTP: true } }, 'sha256:1'))).rejects.toMatchObject(refusal);
  const others = { network: { ...near.network, allowedHosts: ['api.example.com'] } };
  await expect(call(io('first', others, 'sha256:2'))).rejects.toMatchObject(refusal);
  expect(connections).toBe(0);
});

test('private addresses are open to the endpoint and to named hosts, not to whatever URL a vendor gives', async () => {
  const elsewhere = origin.replace('127.0.0.1', 'localhost');
  const at = (spec: object, digest: string, url: string) =>
    io('first', spec, digest)
      .http.fetch({ class: 'download', name: 'output download' })(url)
      .then(
        (response) => response.status,
        (error: RuntimeError) => error.kind,
      );
  expect(await at(near, 'sha256:0', `${origin}/out.mp4`)).toBe(200);
  expect(await at(near, 'sha256:0', `${elsewhere}/admin`)).toBe('refused');
  expect(await at(near, 'sha256:0', 'http://10.0.0.1/admin')).toBe('refused');
  const named = { network: { ...near.network, allowedHosts: ['127.0.0.1', 'localhost'] } };
  expect(await at(named, 'sha256:1', `${elsewhere}/out.mp4`)).toBe(200);
});

test('the profile’s request policy holds', async () => {
  const policy = { requestPolicy: { polling: { timeoutSeconds: 0.05, maxAttempts: 2, backoffSeconds: 0 } } };
  const spec = {
    ...near,
    ...policy,
    requestPolicy: { health: {}, request: {}, download: {}, ...policy.requestPolicy },
  };
  await expect(call(io('first', spec), '/held')).rejects.toMatchObject({ kind: 'retryable' });
  expect(events.map(({ phase }) => phase)).toEqual(['retry', 'failure']);
});

test('a profile that goes lets what is under way end; closing does not', async () => {
  const going = call(io(), '/held');
  await expect.poll(() => held.length).toBe(1);
  ios.forget('gpu');
  held[0]!();
  expect(await going).toBe('at last');

  const cut = call(io(), '/held').catch((error: unknown) => error);
  await expect.poll(() => held.length).toBe(2);
  await ios.close();
  expect(await cut).toMatchObject({ kind: 'retryable' });
});
