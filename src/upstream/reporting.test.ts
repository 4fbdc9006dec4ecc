import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { GuardedHttp } from '../net/http.ts';
import type { ProviderEvent } from '../telemetry/provider-event.ts';
import { ProviderEvents } from '../telemetry/provider-events.ts';
import { readContract, Upstream } from './client.ts';
import { PINNED } from './contract.ts';

const KEY = 'wbx_live_0123456789abcdef';
const project = { name: 'demo-box', id: undefined };

/** A WorldFlux that answers each path with what the test says, or hangs up. */
async function setUp(answers: Record<string, [status: number, body: unknown] | 'hang up'>) {
  const server = createServer((request, response) => {
    const answer = answers[new URL(request.url ?? '', 'http://x').pathname] ?? [404, {}];
    if (answer === 'hang up') request.socket.destroy();
    else response.writeHead(answer[0], { 'content-type': 'application/json' }).end(JSON.stringify(answer[1]));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const http = new GuardedHttp({ allowPlainHTTP: true, allowPrivateEndpoints: true });
  onTestFinished(async () => {
    await http.close();
    server.close();
  });
  const baseURL = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const seen: ProviderEvent[] = [];
  const lost: unknown[] = [];
  const events = new ProviderEvents({
    sinks: [{ name: 'test', accept: (event) => void seen.push(event) }],
    onLost: (_, error) => lost.push(error),
  });
  onTestFinished(() => expect(lost).toEqual([]));
  return { upstream: new Upstream(http, { baseURL, key: KEY }, PINNED, events), http, events, baseURL, seen };
}

const signal = AbortSignal.timeout(30_000);

test('every call to WorldFlux is an event, without the key and without a query', async () => {
  const { upstream, http, events, baseURL, seen } = await setUp({
    '/healthz': [200, {}],
    '/api/sync/ledger-head': [200, { head: null }],
    '/api/sync/artifacts/commit': [503, { detail: `busy with ${KEY}` }],
  });
  await readContract(http, baseURL, events, signal);
  await upstream.health(signal);
  await upstream.ledgerHead(project, signal);
  const artifact = {
    cloudRunId: 'r',
    clientRunId: 'c1d2e3f4-0000-5000-8000-000000000000',
    project,
    name: 'video',
    path: 'video.mp4',
    sizeBytes: 3,
    sha256: '00',
    contentType: 'video/mp4',
  };
  await expect(upstream.commit(artifact, 'a', signal)).rejects.toThrow(/the server failed/);
  expect(seen.map(({ operation, phase, status_code, method }) => [operation, phase, status_code, method])).toEqual([
    ['read /openapi.json', 'success', 404, 'GET'],
    ['health', 'success', 200, 'GET'],
    ['read the ledger head', 'success', 200, 'GET'],
    [expect.stringContaining('commit'), 'failure', 503, 'POST'],
  ]);
  expect(seen[2]).toMatchObject({
    provider: 'worldflux',
    target: `${baseURL}/api/sync/ledger-head`,
    metadata: { capability: 'unknown' },
    attempt: 1,
    max_attempts: 1,
  });
  expect(seen[3]?.metadata).toEqual({
    capability: 'unknown',
    fault: 'unavailable',
    client_run_id: 'c1d2e3f4-0000-5000-8000-000000000000',
  });
  expect(seen.every(({ duration_ms: ms }) => ms !== null && ms > 0)).toBe(true);
  expect(JSON.stringify(seen)).not.toContain(KEY);
});

test('an answer that cannot be used is a failure, though its status is a success', async () => {
  const { upstream, seen } = await setUp({ '/api/sync/ledger-head': [200, { nothing: 'of use' }] });
  await expect(upstream.ledgerHead(project, signal)).rejects.toThrow(/holds no head/);
  expect(seen).toMatchObject([{ phase: 'failure', status_code: 200, metadata: { fault: 'unexpected' } }]);
});

test('a connection that is lost is a failure without a status; a call that we ended says nothing of WorldFlux', async () => {
  const { upstream, seen } = await setUp({ '/healthz': 'hang up' });
  await expect(upstream.health(signal)).rejects.toThrow(/health/);
  await expect(upstream.health(AbortSignal.abort())).rejects.toThrow(/health/);
  expect(seen).toMatchObject([{ phase: 'failure', status_code: null, metadata: { fault: 'network' } }]);
});
