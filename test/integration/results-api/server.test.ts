import { PassThrough } from 'node:stream';
import { Agent, request, type Dispatcher } from 'undici';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { KubeClient } from '../../../src/kube/client.ts';
import { kubeError } from '../../../src/kube/errors.ts';
import type { RunStore } from '../../../src/results/contract.ts';
import { ensureTls } from '../../../src/results/gateway/tls.ts';
import { resultsPath } from '../../../src/results/api/protocol.ts';
import { ResultsApi } from '../../../src/results/api/server.ts';
import { Authority } from '../../cluster/pki.ts';

/** What only faults bring out: a rotated authority, callers that leave, callers that come in crowds. */

const BEGIN = 'begin\n';
const LOG_BYTES = 100_000;
const RUN = { namespace: 'team-a', name: 'run' };

/** A cluster that trusts `authority`, knows one run, and allows everything. */
class Cluster implements Pick<KubeClient, 'get' | 'create'> {
  authority: Authority;
  isDown = false;

  constructor(authority: Authority) {
    this.authority = authority;
  }

  get: KubeClient['get'] = async (type) => {
    if (this.isDown) throw kubeError({ kind: 'unavailable' }, 'connection refused', { request: 'GET' });
    const config = {
      'requestheader-client-ca-file': this.authority.pem.cert,
      'requestheader-allowed-names': '[]',
      'requestheader-username-headers': '["X-Remote-User"]',
    };
    const object = type.plural === 'configmaps' ? { data: config } : { metadata: { ...RUN, uid: 'u' }, spec: {} };
    return object as never;
  };

  create: KubeClient['create'] = async (_, object) => ({ ...object, status: { allowed: true } });
}

let cluster: Cluster;
let api: ResultsApi;
let port: number;
/** Logs that are being read: they never end by themselves. */
let reading: PassThrough[];
let complaints: string[];
const agents: Agent[] = [];

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  cluster = new Cluster(await Authority.create('first'));
  reading = [];
  complaints = [];
  const open = async () => {
    const stream = new PassThrough();
    stream.write(BEGIN);
    reading.push(stream);
    return stream;
  };
  const store = {
    get: async (key: string) =>
      key.endsWith('log.txt') ? { size: LOG_BYTES, contentType: undefined, open } : undefined,
  } as unknown as RunStore;
  const { material } = await ensureTls(undefined, ['localhost']);
  api = new ResultsApi({
    host: '127.0.0.1',
    port: 0,
    tls: material,
    client: cluster,
    store,
    clientRunIdOf: () => '00000000-0000-5000-8000-000000000000',
    onError: (message) => complaints.push(message),
  });
  port = await api.listen();
});
afterEach(async () => {
  for (const stream of reading) stream.destroy();
  await Promise.all(agents.splice(0).map((agent) => agent.destroy()));
  await api.close();
  vi.useRealTimers();
});

/** The API server, with a front-proxy certificate of one authority. */
async function frontProxy(
  authority: Authority,
  connections: number | null = null,
): Promise<(user: string, path?: string, signal?: AbortSignal) => Promise<Dispatcher.ResponseData>> {
  const { cert, key } = await authority.issue({ commonName: 'front-proxy-client' });
  const agent = new Agent({ connections, connect: { cert, key, rejectUnauthorized: false } });
  agents.push(agent);
  return (user, path = '/apis/results.worldflux.ai', signal = AbortSignal.timeout(20_000)) =>
    request(`https://127.0.0.1:${port}${path}`, { dispatcher: agent, headers: { 'x-remote-user': user }, signal });
}

async function statusOf(answer: Promise<Dispatcher.ResponseData>): Promise<number> {
  const { statusCode, body } = await answer;
  await body.dump();
  return statusCode;
}

test('a rotated authority is believed, and the old one no more, not even on a connection that it opened', async () => {
  const old = await frontProxy(cluster.authority, 1);
  expect(await statusOf(old('rita'))).toBe(200);
  const busy = await old('rita', resultsPath(RUN, 'log'));
  expect(busy.statusCode).toBe(200);

  const next = await Authority.create('second');
  cluster.authority = next;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(await statusOf((await frontProxy(next))('rita'))).toBe(200);
  // The connection that was busy at the rotation ends what it does, and is free again.
  reading[0]!.end(Buffer.alloc(LOG_BYTES - BEGIN.length));
  expect(await busy.body.text()).toHaveLength(LOG_BYTES);
  expect(await statusOf(old('rita'))).toBe(503);
  expect(await statusOf(old('rita'))).toBe(401);
});

test('an API server that is away for a while changes nothing', async () => {
  const proxy = await frontProxy(cluster.authority);
  cluster.isDown = true;
  await vi.advanceTimersByTimeAsync(180_000);
  expect(await statusOf(proxy('rita'))).toBe(200);
  expect(await statusOf(proxy('rita', resultsPath(RUN, 'log')))).toBe(503);
  expect(complaints).toContain('the front proxy’s authority could not be read');
});

test('a user who reads too much at once waits; others do not, and whoever leaves makes room', async () => {
  const proxy = await frontProxy(cluster.authority);
  const log = resultsPath(RUN, 'log');
  const leaving = new AbortController();
  const first = await proxy('rita', log, leaving.signal);
  first.body.on('error', () => undefined);
  await Promise.all(Array.from({ length: 15 }, () => proxy('rita', log)));
  const refused = await proxy('rita', log);
  expect({ status: refused.statusCode, after: refused.headers['retry-after'] }).toEqual({ status: 429, after: '2' });
  await refused.body.dump();
  expect((await proxy('otto', log)).statusCode).toBe(200);

  leaving.abort();
  // What was opened for the one that left is closed, and its place is free.
  await vi.waitFor(() => expect(reading.filter((stream) => stream.destroyed)).toHaveLength(1));
  expect((await proxy('rita', log)).statusCode).toBe(200);
});

test('a store that fails in the middle ends the connection, so that half a log is not taken for the whole', async () => {
  const proxy = await frontProxy(cluster.authority);
  const { statusCode, body } = await proxy('rita', resultsPath(RUN, 'log'));
  expect(statusCode).toBe(200);
  reading[0]!.destroy(new Error('disk'));
  await expect(body.text()).rejects.toThrow(/closed|terminated|aborted/);
});
