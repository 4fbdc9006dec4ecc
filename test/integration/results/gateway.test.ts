import { randomBytes, randomUUID, X509Certificate } from 'node:crypto';
import { request } from 'node:https';
import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CollectTask } from '../../../src/results/contract.ts';
import { resultsAudience } from '../../../src/results/gateway/auth.ts';
import { ensureTls } from '../../../src/results/gateway/tls.ts';
import { rankPrefix } from '../../../src/results/keys.ts';
import { fingerprint } from '../../../src/telemetry/fingerprints.ts';
import { Operator, type Answer, type Sent } from './harness.ts';
import { requestFor } from './store-conformance.ts';
import { fileStore } from './stores.ts';

let under: Awaited<ReturnType<typeof fileStore>>;
let operator: Operator;
beforeAll(async () => {
  under = await fileStore();
  operator = await Operator.start(under.store);
});
afterAll(async () => {
  await operator.goDown();
  await under.stop();
});

async function send(task: CollectTask, path: string, sent: Sent = {}): Promise<Answer> {
  return raw(`/v1/runs/${task.clientRunId}/attempts/${task.attempt}/${path}`, {
    token: operator.tokenFor(task),
    ...sent,
  });
}

const raw = (path: string, sent: Sent): Promise<Answer> => operator.request(path, sent);

const RESULT = { metrics: { a: 1 }, metricsOmitted: 0, artifacts: [] };
const upload = (name: string, body: Buffer) => {
  const { size, sha256, contentType } = requestFor('x', body);
  return { kind: 'artifact', name, extension: 'bin', size, sha256, contentType };
};

describe('who is heard', () => {
  it('nobody without a token, or with one that is none', async () => {
    const task = operator.run();
    const path = `/v1/runs/${task.clientRunId}/attempts/1/progress`;
    expect(await raw(path, {})).toMatchObject({ status: 401, code: 'unauthorized' });
    for (const token of ['x', 'a.b.c', 'a.e30.c']) expect(await raw(path, { token })).toMatchObject({ status: 401 });
    const expired = operator.tokens.issue(
      resultsAudience('test', task.clientRunId),
      `pod-of-${task.clientRunId}`,
      task.namespace,
      -1,
    );
    expect(await raw(path, { token: expired })).toMatchObject({ status: 401 });
    expect(await raw(path, { headers: { authorization: 'Basic dTpw' } })).toMatchObject({ status: 401 });
  });

  it('no other run, no other pod, no other namespace', async () => {
    const [mine, other] = [operator.run(), operator.run()];
    expect(await send(mine, 'progress')).toMatchObject({ status: 200 });
    expect(await send(mine, 'progress', { token: operator.tokenFor(other) })).toMatchObject({ status: 401 });
    const audience = resultsAudience('test', mine.clientRunId);
    const stranger = operator.tokens.issue(audience, 'some-other-pod', mine.namespace);
    expect(await send(mine, 'progress', { token: stranger })).toMatchObject({ status: 403, code: 'unknownPod' });
    const elsewhere = operator.tokens.issue(audience, `pod-of-${mine.clientRunId}`, 'team-b');
    expect(await send(mine, 'progress', { token: elsewhere })).toMatchObject({ status: 403, code: 'unknownPod' });
  });

  it('asks nobody about a token that says itself that it is for another audience', async () => {
    const [mine, other] = [operator.run(), operator.run()];
    const asked = operator.tokens.asked;
    await send(mine, 'progress', { token: operator.tokenFor(other) });
    expect(operator.tokens.asked).toBe(asked);
  });

  it('slows down who guesses', async () => {
    const task = operator.run();
    const answers = await Promise.all(
      Array.from({ length: 80 }, (_, i) => send(task, 'progress', { token: `wrong-${i}` })),
    );
    expect(answers.some(({ status, retryAfter }) => status === 429 && retryAfter !== undefined)).toBe(true);
    expect(await send(task, 'progress')).toMatchObject({ status: 200 });
  });

  it('only the attempt that is live, until its result is recorded', async () => {
    const task = operator.run({ attempt: 2 });
    const token = operator.tokenFor(task);
    const path = (attempt: number) => `/v1/runs/${task.clientRunId}/attempts/${attempt}/progress`;
    const before = operator.tokens.issue(resultsAudience('test', task.clientRunId), 'pod-of-attempt-1', task.namespace);
    expect(await raw(path(1), { token: before })).toMatchObject({ status: 410, code: 'over' });
    // A queue's eviction: the next attempt's pod comes from the same Job and names the attempt before.
    expect(await raw(path(1), { token })).toMatchObject({ status: 200 });
    expect(await raw(path(3), { token })).toMatchObject({ status: 404, code: 'unknownRun' });
    expect(await raw(`/v1/runs/${randomUUID()}/attempts/1/progress`, { token })).toMatchObject({
      status: 404,
      code: 'unknownRun',
    });
    operator.tasks.set(task.clientRunId, 'over');
    expect(await raw(path(2), { token })).toMatchObject({ status: 410, code: 'over' });
  });

  it('everybody only so often', async () => {
    const task = operator.run();
    const token = operator.tokenFor(task);
    // Far more than the burst: on a slow machine the budget refills while they are sent.
    const answers = await Promise.all(Array.from({ length: 1000 }, () => send(task, 'progress', { token })));
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThan(0);
    expect(refused[0]).toMatchObject({ code: 'busy', retryAfter: '1' });
    expect(await send(operator.run(), 'progress')).toMatchObject({ status: 200 });
  });
});

describe('what is taken', () => {
  it('progress, answered with what the operator wants', async () => {
    const task = operator.run();
    expect(await send(task, 'progress', { body: { percent: 10, step: 3 } })).toMatchObject({
      status: 200,
      body: { collectNow: false, stopping: false, fingerprintsWanted: true, nextPostSeconds: 5 },
    });
    expect(operator.hub.get(task).progress).toMatchObject({ percent: 10, step: 3 });
    task.collectNow = true;
    task.stopping = true;
    await send(task, 'fingerprints', { body: fingerprint([Buffer.from('a secret value')]) });
    expect(await send(task, 'progress', { body: {} })).toMatchObject({
      body: { collectNow: true, stopping: true, fingerprintsWanted: false },
    });
    // Nothing said is nothing changed.
    expect(operator.hub.get(task).progress).toMatchObject({ percent: 10 });
  });

  it.each([
    ['progress', { percent: 101 }],
    ['progress', { percent: 'x' }],
    ['progress', { unknown: 1 }],
    ['fingerprints', { salt: 'x', base: 1, entries: [] }],
    ['uploads', {}],
    ['uploads', { ...upload('output', Buffer.from('x')), name: 'not-named' }],
    ['uploads', { ...upload('output', Buffer.from('x')), extension: '../x' }],
    ['uploads', { ...upload('output', Buffer.from('x')), sha256: 'x' }],
    ['uploads', { ...upload('output', Buffer.from('x')), contentType: 'text/html\r\nx: y' }],
    ['uploads/commit', upload('output', Buffer.from('x'))],
    ['result', { ...RESULT, metrics: { a: 'x' } }],
    ['result', { ...RESULT, metrics: { a: null } }],
    ['result', { ...RESULT, metrics: { ['x'.repeat(129)]: 1 } }],
    ['result', { ...RESULT, artifacts: [{ name: 'stranger', path: 'x', commit: false, state: 'Missing' }] }],
  ])('no broken %s: %j', async (path, body) => {
    const answer = await send(operator.run(), path, { body });
    expect(answer).toMatchObject({ status: 400, code: 'invalid' });
    expect(operator.errors).toEqual([]);
  });

  it('nothing that is no JSON, too large, or not asked for', async () => {
    const task = operator.run();
    expect(await send(task, 'progress', { body: Buffer.from('{') })).toMatchObject({ status: 400 });
    expect(await send(task, 'progress', { body: Buffer.alloc(5000, 0x20) })).toMatchObject({
      status: 413,
      code: 'tooLarge',
    });
    expect(await send(task, 'nothing')).toMatchObject({ status: 404 });
    expect(await send(task, 'progress', { method: 'GET' })).toMatchObject({ status: 405 });
    expect(await raw('/', {})).toMatchObject({ status: 404 });
    expect(await raw('/v1/runs/../../etc/passwd', {})).toMatchObject({ status: 404 });
    const tooLarge = { ...upload('output', Buffer.from('x')), size: task.maxArtifactBytes + 1 };
    expect(await send(task, 'uploads', { body: tooLarge })).toMatchObject({ status: 413, code: 'tooLarge' });
  });

  it('bytes of this pod’s own uploads alone', async () => {
    const [mine, other] = [operator.run(), operator.run()];
    const body = randomBytes(1000);
    const begun = await send(other, 'uploads', { body: upload('output', body) });
    const { key, target } = begun.body as { key: string; target: { uploadId: string } };
    expect(key.startsWith(rankPrefix(other, 0))).toBe(true);
    const path = `uploads/${target.uploadId}/parts/1?key=${encodeURIComponent(key)}`;
    expect(await send(mine, path, { method: 'PUT', body })).toMatchObject({ status: 403 });
    expect(await send(mine, `uploads/${target.uploadId}/parts/1?key=..%2Fx`, { method: 'PUT', body })).toMatchObject({
      status: 403,
    });
    const own = encodeURIComponent(`${rankPrefix(mine, 0)}artifacts/x/output.bin`);
    expect(await send(mine, `uploads/${target.uploadId}/parts/1?key=${own}`, { method: 'PUT', body })).toMatchObject({
      status: 409,
      code: 'noUpload',
    });
    expect(await send(other, path, { method: 'PUT', body: body.subarray(1) })).toMatchObject({ status: 422 });
    expect(await send(other, path, { method: 'PUT', body })).toMatchObject({ status: 204 });
    const commit = { ...upload('output', body), uploadId: target.uploadId };
    expect(await send(other, 'uploads/commit', { body: commit })).toMatchObject({ status: 200, body: { key } });
  });

  it('no result that points at what this pod did not store', async () => {
    const [mine, other] = [operator.run(), operator.run()];
    const body = randomBytes(1000);
    const begun = await send(other, 'uploads', { body: upload('output', body) });
    const { key, target } = begun.body as { key: string; target: { uploadId: string } };
    await send(other, `uploads/${target.uploadId}/parts/1?key=${encodeURIComponent(key)}`, { method: 'PUT', body });
    await send(other, 'uploads/commit', { body: { ...upload('output', body), uploadId: target.uploadId } });
    const artifact = { name: 'output', path: key, sizeBytes: 1000, commit: true, state: 'Stored' };
    const series = { path: key, bytes: 1000, lines: 1, dropped: 0 };
    expect(await send(mine, 'result', { body: { ...RESULT, series, artifacts: [artifact] } })).toMatchObject({
      status: 200,
    });
    const result = operator.hub.get(mine).results.get(0);
    expect(result?.artifacts).toMatchObject([{ name: 'output', state: 'Failed', path: '**', commit: false }]);
    expect(result?.series).toBeUndefined();
    expect(await send(other, 'result', { body: { ...RESULT, artifacts: [artifact] } })).toMatchObject({ status: 200 });
    expect(operator.hub.get(other).results.get(0)?.artifacts).toMatchObject([
      { name: 'output', state: 'Stored', path: key },
    ]);
  });

  it('the first result of a rank; a second one changes nothing', async () => {
    const task = operator.run();
    expect(await send(task, 'result', { body: RESULT })).toMatchObject({ status: 200 });
    expect(await send(task, 'result', { body: { ...RESULT, metrics: { a: 2 } } })).toMatchObject({ status: 200 });
    expect(operator.hub.get(task).results.get(0)?.metrics).toEqual({ a: 1 });
    operator.hub.forget(task.clientRunId);
    expect(await send(task, 'result', { body: { ...RESULT, metrics: { a: 3 } } })).toMatchObject({ status: 200 });
    expect(operator.hub.get(task).results.get(0)?.metrics).toEqual({ a: 1 });
  });

  it('words without secrets', async () => {
    const task = operator.run();
    await send(task, 'result', {
      body: { ...RESULT, metricsProblem: 'left out: hf_abcdefghijklmnopqrstuvwxyz (a text)' },
    });
    expect(operator.hub.get(task).results.get(0)?.metricsProblem).toBe('left out: [redacted] (a text)');
  });
});

describe('the connection', () => {
  it('is for those who trust our authority, with TLS 1.2 or later', async () => {
    const refused = await new Promise<string>((resolve) => {
      request({ host: '127.0.0.1', port: operator.port, path: '/' }, () => resolve('answered'))
        .on('error', (error) => resolve(error.message))
        .end();
    });
    expect(refused).toMatch(/certificate/);
    const old = await new Promise<string>((resolve) => {
      connect(
        {
          host: '127.0.0.1',
          port: operator.port,
          maxVersion: 'TLSv1.1',
          minVersion: 'TLSv1',
          ca: operator.tls.caCertPem,
        },
        () => resolve('connected'),
      ).on('error', (error) => resolve(error.message));
    });
    expect(old).not.toBe('connected');
  });

  it('gets a renewed certificate without a restart', async () => {
    const { material } = await ensureTls({ caCertPem: operator.tls.caCertPem, caKeyPem: operator.tls.caKeyPem }, [
      '127.0.0.1',
    ]);
    operator.gateway.setTls(material);
    const seen = await new Promise<string>((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port: operator.port, ca: operator.tls.caCertPem }, () => {
        resolve(socket.getPeerCertificate().serialNumber);
        socket.end();
      }).on('error', reject);
    });
    expect(seen).toBe(new X509Certificate(material.certPem).serialNumber);
  });
});
