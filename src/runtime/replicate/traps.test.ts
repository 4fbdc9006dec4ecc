import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { DEPLOYMENT, TOKEN, VERSION } from '../../../test/fakes/replicate/server.ts';
import { RuntimeError } from '../errors.ts';
import { aVendor, KeepingSink, listed, type VendorWishes } from './testing/a-vendor.ts';

/**
 * The vendor's library repeats, waits, trusts and takes what it should not. Each of these was seen to happen with it
 * alone; here the requests that arrive at a server are counted.
 */

const faultOf = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => {
      if (!(error instanceof RuntimeError)) throw error;
      return error.fault;
    },
  );

const targets: [string, VendorWishes['replicate']][] = [
  ['a model', { model: 'acme/dreamer' }],
  ['a version', { version: `acme/dreamer:${VERSION}` }],
  ['a deployment', { deployment: DEPLOYMENT }],
];

describe.each(targets)('a create with %s', (_, replicate) => {
  test('is one POST with the deadline, and waits for nothing', async () => {
    const { fake, create } = await aVendor({ replicate: replicate! });
    const handle = await create({ request: { prompt: 'x' }, timeouts: { startupSeconds: 60, runSeconds: 240 } });
    const [request, ...more] = fake.requests('create');
    expect(more).toEqual([]);
    expect(request!.headers).toMatchObject({ 'cancel-after': '300s', authorization: `Bearer ${TOKEN}` });
    expect(request!.headers).not.toHaveProperty('prefer');
    const kept = fake.state.predictions.get(handle.externalId)!;
    expect(kept.deadline).toBe(kept.createdAt + 300_000);
    expect(kept.input).toEqual({ prompt: 'x' });
  });

  test.each(['before', 'after'] as const)(
    'whose connection is lost %s its effect is one POST in doubt',
    async (cut) => {
      const { fake, create } = await aVendor({ replicate: replicate! });
      fake.faults.add({ on: 'create', times: 10, cut });
      expect(await faultOf(create())).toEqual({ kind: 'unknownOutcome' });
      expect(fake.requests('create')).toHaveLength(1);
      expect(fake.state.created).toBe(cut === 'after' ? 1 : 0);
    },
  );
});

test.each([
  ['seconds', { headers: { 'retry-after': '17' } }, 17_000],
  ['seconds in the body', { body: { detail: 'Request was throttled.', status: 429, retry_after: 3 } }, 3000],
  ['nothing', {}, 10_000],
  ['nonsense', { headers: { 'retry-after': 'soon' }, body: { retry_after: -1 } }, 10_000],
])('a create that is throttled with %s is one POST, and says how long to wait', async (_, answer, retryAfterMs) => {
  const { fake, create, slept } = await aVendor();
  fake.faults.add({ on: 'create', times: 10, answer: { status: 429, ...answer } });
  expect(await faultOf(create())).toEqual({ kind: 'throttled', retryAfterMs });
  expect(fake.requests('create')).toHaveLength(1);
  expect(slept).toEqual([]);
});

test('a create that is throttled until a date is one POST, and says how long to wait', async () => {
  const { fake, create } = await aVendor();
  const until = new Date(Date.now() + 90_000).toUTCString();
  fake.faults.add({ on: 'create', answer: { status: 429, headers: { 'retry-after': until } } });
  const fault = await faultOf(create());
  expect(fault).toMatchObject({ kind: 'throttled' });
  const { retryAfterMs } = fault as { retryAfterMs: number };
  expect(retryAfterMs).toBeGreaterThan(0);
  expect(retryAfterMs).toBeLessThanOrEqual(90_000);
  expect(fake.requests('create')).toHaveLength(1);
});

test.each([
  [401, 'credentials'],
  [402, 'credentials'],
  [403, 'credentials'],
  [400, 'user'],
  [404, 'user'],
  [409, 'user'],
  [413, 'user'],
  [422, 'user'],
  [408, 'unknownOutcome'],
  [500, 'unknownOutcome'],
  [502, 'unknownOutcome'],
  [503, 'unknownOutcome'],
  [504, 'unknownOutcome'],
  [599, 'unknownOutcome'],
])('a create that is answered with %i is one POST and a fault of kind %s', async (status, kind) => {
  const { fake, create } = await aVendor();
  fake.faults.add({ on: 'create', times: 10, answer: { status } });
  expect(await faultOf(create())).toEqual({ kind });
  expect(fake.requests('create')).toHaveLength(1);
});

test.each([
  ['is no JSON', 'hello'],
  ['has no id', { status: 'starting' }],
  ['is longer than any', { id: 'abc', status: 'starting', logs: 'x'.repeat(33 << 20) }],
  ['has an id that leads elsewhere', { id: '../account', status: 'starting' }],
])('a create whose answer %s is in doubt after one POST', async (_, body) => {
  const { fake, create } = await aVendor();
  fake.faults.add({ on: 'create', times: 10, answer: { status: 201, body } });
  expect(await faultOf(create())).toEqual({ kind: 'unknownOutcome' });
  expect(fake.requests('create')).toHaveLength(1);
});

test('inputs arrive as they are, whatever their keys are called', async () => {
  const { fake, create } = await aVendor();
  const text = '{"toString":0,"__proto__":{"a":1},"constructor":{"b":[{"valueOf":null}]}}';
  const { externalId } = await create({ request: { options: { deep: JSON.parse(text) as unknown } } });
  expect(JSON.stringify(fake.state.predictions.get(externalId)!.input)).toBe(`{"deep":${text}}`);
});

test('a create that is never answered ends with its timeout, after one POST', async () => {
  const { fake, create } = await aVendor({ policy: { request: { timeoutSeconds: 0.2, maxAttempts: 5 } } });
  fake.faults.add({ on: 'create', times: 10, hang: true });
  expect(await faultOf(create())).toEqual({ kind: 'unknownOutcome' });
  expect(fake.requests('create')).toHaveLength(1);
});

test('a create that this process may not send any more is no POST, and nothing is in doubt', async () => {
  const { fake, runtime, plan, once } = await aVendor();
  const may = vi.fn<() => void>(() => {
    throw new Error('not the leader any more');
  });
  expect(await faultOf(runtime.create(plan(), once({ maySend: may })))).toEqual({ kind: 'aborted' });
  expect(may).toHaveBeenCalledTimes(1);
  expect(fake.requests('create')).toEqual([]);
});

test('a create where nobody listens is not in doubt', async () => {
  const { fake, create } = await aVendor();
  await fake.close();
  expect(await faultOf(create())).toEqual({ kind: 'retryable' });
});

test('without the profile’s token nothing is sent, whatever the environment holds', async () => {
  vi.stubEnv('REPLICATE_API_TOKEN', TOKEN);
  onTestFinished(() => void vi.unstubAllEnvs());
  const { fake, create, runtime, io } = await aVendor({ credentials: {} });
  expect(await faultOf(create())).toEqual({ kind: 'credentials' });
  expect(await faultOf(runtime.observe([{ externalId: 'p1', attempt: 1, createdAt: 0 }], io))).toEqual({
    kind: 'credentials',
  });
  expect(fake.log).toEqual([]);
});

test('a read that fails is repeated as the request policy says and no more', async () => {
  const { fake, create, runtime, io, slept } = await aVendor({ policy: { polling: { maxAttempts: 2 } } });
  const handle = await create();
  fake.faults.add({ on: 'get', times: 10, answer: { status: 503 } });
  expect(await faultOf(runtime.observe([handle], io))).toEqual({ kind: 'retryable' });
  expect(fake.requests('get')).toHaveLength(2);
  expect(slept).toEqual([250]);
});

test('a read that is asked to wait waits as long, and then is throttled', async () => {
  const { fake, create, runtime, io, slept } = await aVendor({ policy: { polling: { maxAttempts: 2 } } });
  const handle = await create();
  fake.faults.add({ on: 'get', times: 10, answer: { status: 429, headers: { 'retry-after': '7' } } });
  expect(await faultOf(runtime.observe([handle], io))).toEqual({ kind: 'throttled', retryAfterMs: 7000 });
  expect(fake.requests('get')).toHaveLength(2);
  expect(slept).toEqual([7000]);
});

test('a read that is never answered ends with its timeout', async () => {
  const { fake, create, runtime, io } = await aVendor({ policy: { polling: { timeoutSeconds: 0.2, maxAttempts: 1 } } });
  const handle = await create();
  fake.faults.add({ on: 'get', times: 10, hang: true });
  expect(await faultOf(runtime.observe([handle], io))).toEqual({ kind: 'retryable' });
  expect(fake.requests('get')).toHaveLength(1);
});

test('a call ends when its caller does', async () => {
  const caller = new AbortController();
  const { fake, create, runtime, io } = await aVendor();
  const handle = await create();
  fake.faults.add({ on: 'get', hang: true });
  const observed = faultOf(runtime.observe([handle], { ...io, signal: caller.signal }));
  await expect.poll(() => fake.requests('get').length).toBe(1);
  caller.abort();
  expect(await observed).toEqual({ kind: 'aborted' });
});

test('the next page of a list is asked for at the endpoint, wherever the answer points', async () => {
  const asked: string[] = [];
  const elsewhere = createServer((request, response) => {
    asked.push(`${request.url} ${request.headers.authorization}`);
    response.end('{}');
  });
  await new Promise<void>((done) => elsewhere.listen(0, '127.0.0.1', done));
  onTestFinished(() => void elsewhere.close());
  const { fake, create, runtime, io } = await aVendor();
  fake.publicUrl = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/v1`;
  fake.state.pageSize = 2;
  for (let i = 0; i < 5; i += 1) await create({ request: { prompt: String(i) } });
  const found = await listed(runtime.list(0, io));
  expect(found).toHaveLength(5);
  expect(fake.requests('list')).toHaveLength(3);
  expect(asked).toEqual([]);
});

test('a list that does not say how it goes on is no complete one', async () => {
  const { fake, runtime, io } = await aVendor();
  fake.faults.add({ on: 'list', answer: { status: 200, body: { next: 'https://x.example/?page=2', results: [] } } });
  expect(await faultOf(listed(runtime.list(0, io)))).toEqual({ kind: 'terminal' });
});

test('outputs are plain URLs, each asked for once and streamed', async () => {
  const size = 8 * 1024 * 1024;
  const { fake, create, runtime, io, plan } = await aVendor({ maxDownloadBytes: 2 * size });
  fake.state.behaviour.output = [
    { $file: 'a.png', type: 'image/png', size },
    { $file: 'b.png', type: 'image/png', size: 1 },
  ];
  const sink = new KeepingSink();
  const result = await runtime.collect(await create(), plan().context, sink, io);
  expect(result.artifacts.map(({ state, sizeBytes }) => [state, sizeBytes])).toEqual([
    ['Stored', size],
    ['Stored', 1],
  ]);
  expect(sink.pieces).toBeGreaterThan(1);
  expect(fake.requests('output')).toHaveLength(2);
  expect(fake.violations).toEqual([]);
});
