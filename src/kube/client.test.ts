import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { KubeClient } from './client.ts';
import { isKubeError } from './errors.ts';
import { CONFIG_MAPS, JOBS, NODES, PODS, SERVICE_ACCOUNTS, TOKEN_REVIEWS } from './resource.ts';
import { answerJson, answerStatus, answerWatch, collect, startScriptedServer } from './testing/scripted-server.ts';
import type { Script } from './testing/scripted-server.ts';

async function setUp(script: Script, connections?: number) {
  const server = await startScriptedServer(script);
  const client = KubeClient.connect(server.config, {
    userAgent: 'worldflux-operator/9.9.9',
    ...(connections === undefined ? {} : { connections }),
  });
  onTestFinished(async () => {
    await client.close();
    await server[Symbol.asyncDispose]();
  });
  return { server, client };
}

const echo: Script = (request, response) =>
  answerJson(response, 200, request.body === '' ? {} : JSON.parse(request.body));
const job = { metadata: { namespace: 'team-a', name: 'train' } };
const ref = { namespace: 'team-a', name: 'train' };

describe('requests', () => {
  test('a get names the object, says who asks, and authenticates', async () => {
    const { server, client } = await setUp((_, response) => answerJson(response, 200, { metadata: { name: 'train' } }));
    expect(await client.get(JOBS, ref)).toEqual({ metadata: { name: 'train' } });
    expect(server.requests[0]).toMatchObject({
      method: 'GET',
      path: '/apis/batch/v1/namespaces/team-a/jobs/train',
      headers: {
        authorization: 'Bearer a-token',
        'user-agent': 'worldflux-operator/9.9.9',
        accept: 'application/json',
      },
    });
  });

  test('a create carries kind and version, and may be strict', async () => {
    const { server, client } = await setUp(echo);
    const created = await client.create(JOBS, job, { strict: true, fieldManager: 'tester' });
    expect(created).toEqual({ apiVersion: 'batch/v1', kind: 'Job', ...job });
    expect(server.requests[0]).toMatchObject({
      method: 'POST',
      path: '/apis/batch/v1/namespaces/team-a/jobs',
      query: { fieldManager: 'tester', fieldValidation: 'Strict' },
    });
    await client.create(TOKEN_REVIEWS, { spec: { token: 't' } } as never);
    expect(server.requests[1]).toMatchObject({ path: '/apis/authentication.k8s.io/v1/tokenreviews', query: {} });
  });

  test('an apply may go to the status subresource and take fields over', async () => {
    const { server, client } = await setUp(echo);
    await client.apply(JOBS, job, { fieldManager: 'tester', force: true, subresource: 'status' });
    expect(server.requests[0]).toMatchObject({
      method: 'PATCH',
      path: '/apis/batch/v1/namespaces/team-a/jobs/train/status',
      query: { fieldManager: 'tester', force: 'true' },
      headers: { 'content-type': 'application/apply-patch+yaml' },
    });
  });

  test('patches always say which kind they are', async () => {
    const { server, client } = await setUp(echo);
    await client.patch(JOBS, ref, { merge: { spec: { suspend: true } } });
    await client.patch(JOBS, ref, { json: [{ op: 'remove', path: '/spec/suspend' }] });
    expect(server.requests.map((request) => [request.headers['content-type'], request.body])).toEqual([
      ['application/merge-patch+json', '{"spec":{"suspend":true}}'],
      ['application/json-patch+json', '[{"op":"remove","path":"/spec/suspend"}]'],
    ]);
  });

  test('a delete can insist on the uid', async () => {
    const { server, client } = await setUp(echo);
    await client.delete(JOBS, ref, { uid: 'u1', propagationPolicy: 'Background' });
    expect(server.requests[0]).toMatchObject({ method: 'DELETE' });
    expect(JSON.parse(server.requests[0]!.body)).toMatchObject({
      preconditions: { uid: 'u1' },
      propagationPolicy: 'Background',
    });
  });

  test('a delete without a name is refused here: it would address the whole collection', async () => {
    const { server, client } = await setUp(echo);
    await expect(client.delete(JOBS, { namespace: 'team-a', name: '' })).rejects.toThrow('Job without a name');
    await expect(client.delete(JOBS, { name: 'train' })).rejects.toThrow('without a namespace');
    await expect(client.get(NODES, ref)).rejects.toThrow('cluster-scoped');
    expect(server.requests).toEqual([]);
  });

  test('a name cannot leave its place in the path', async () => {
    const { server, client } = await setUp(echo);
    await client.get(JOBS, { namespace: 'a/b', name: 'x?y' });
    expect(server.requests[0]!.path).toBe('/apis/batch/v1/namespaces/a%2Fb/jobs/x%3Fy');
  });

  test('a subresource may answer with another kind', async () => {
    const { client } = await setUp((_, response) => answerJson(response, 201, { status: { token: 'minted' } }));
    const answer = await client.createSubresource<{ status: { token: string } }>(
      SERVICE_ACCOUNTS,
      { namespace: 'team-a', name: 'runner' },
      'token',
      { spec: { audiences: ['results'] } },
    );
    expect(answer.status.token).toBe('minted');
  });

  test('a server below a path prefix is addressed there', async () => {
    const { server } = await setUp(echo);
    const { cluster } = server.config;
    const config = { ...server.config, cluster: { ...cluster, server: `${cluster.server}/k8s/clusters/c-1/` } };
    const client = KubeClient.connect(config, { userAgent: 'x' });
    await client.get(NODES, { name: 'n' });
    await client.close();
    expect(server.requests[0]!.path).toBe('/k8s/clusters/c-1/api/v1/nodes/n');
  });

  test('a plain http server is refused unless TLS was waived', () => {
    const config = {
      cluster: { name: 'c', server: 'http://127.0.0.1:1', skipTLSVerify: false },
      user: { name: 'u' },
      origin: 'a test',
    };
    expect(() => KubeClient.connect(config, { userAgent: 'x' })).toThrow('not https');
  });
});

describe('lists', () => {
  test('come page by page', async () => {
    const { server, client } = await setUp((request, response) => {
      const isLast = request.query['continue'] === 'more';
      answerJson(response, 200, {
        metadata: { resourceVersion: '7', ...(isLast ? {} : { continue: 'more' }) },
        items: [{ metadata: { name: isLast ? 'b' : 'a' } }],
      });
    });
    const names: (string | undefined)[] = [];
    for await (const pod of client.list(PODS, { labelSelector: 'app in (x,y)' })) names.push(pod.metadata?.name);
    expect(names).toEqual(['a', 'b']);
    expect(server.requests.map((request) => request.query)).toEqual([
      { limit: '500', labelSelector: 'app in (x,y)' },
      { limit: '500', labelSelector: 'app in (x,y)', continue: 'more' },
    ]);
  });

  test('an expired continue token is reported, not read as the end', async () => {
    const { client } = await setUp((_, response, number) => {
      if (number === 1) answerJson(response, 200, { metadata: { continue: 'old', resourceVersion: '1' }, items: [] });
      else answerStatus(response, 410, 'Expired');
    });
    await expect(collect(client.list(PODS))).rejects.toMatchObject({ kind: 'gone' });
  });
});

describe('connections', () => {
  test('the connection leak: many requests share few connections', async () => {
    const { server, client } = await setUp(echo, 8);
    for (let round = 0; round < 5; round++) {
      await Promise.all(Array.from({ length: 50 }, () => client.get(NODES, { name: 'n' })));
    }
    expect(server.requests).toHaveLength(250);
    expect(server.connectionCount()).toBeLessThanOrEqual(8);
  });

  test('open watches take no connection away from requests', async () => {
    const { server, client } = await setUp((request, response) => {
      if (request.query['watch'] === 'true') answerWatch(response);
      else answerJson(response, 200, {});
    }, 1);
    const stop = new AbortController();
    const watches = Array.from({ length: 5 }, () =>
      collect(client.watch(PODS, { signal: stop.signal, timeoutSeconds: 300 })).catch((error: unknown) => error),
    );
    await server.nth(5);
    expect(await client.get(NODES, { name: 'n' })).toEqual({});
    stop.abort();
    for (const ended of await Promise.all(watches)) expect(ended).toMatchObject({ kind: 'aborted' });
  });
});

describe('failures', () => {
  test('a read is tried again after 5xx and after a lost connection', async () => {
    const { server, client } = await setUp((_, response, number) => {
      if (number === 1) answerStatus(response, 503, 'ServiceUnavailable');
      else if (number === 2) response.socket?.resetAndDestroy();
      else answerJson(response, 200, { metadata: { name: 'n' } });
    });
    expect(await client.get(NODES, { name: 'n' })).toEqual({ metadata: { name: 'n' } });
    expect(server.requests).toHaveLength(3);
  });

  test('a read that keeps failing ends with the last error', async () => {
    const { server, client } = await setUp((_, response) => answerStatus(response, 500, 'InternalError'));
    await expect(client.get(NODES, { name: 'n' })).rejects.toMatchObject({ kind: 'serverError' });
    expect(server.requests).toHaveLength(5);
  });

  test.each([
    ['500', (response) => answerStatus(response, 500, 'InternalError'), 'serverError'],
    ['503', (response) => answerStatus(response, 503, 'ServiceUnavailable'), 'unavailable'],
    ['a lost connection', (response) => response.socket?.resetAndDestroy(), 'unavailable'],
  ] as [string, (response: Parameters<Script>[1]) => void, string][])(
    'a write is sent once when it meets %s',
    async (_, fail, kind) => {
      const { server, client } = await setUp((_, response) => fail(response));
      await expect(client.create(JOBS, job)).rejects.toMatchObject({ kind });
      expect(server.requests).toHaveLength(1);
    },
  );

  test('a write answered 429 is sent again, because it was not processed', async () => {
    const { server, client } = await setUp((request, response, number) => {
      if (number === 1) answerStatus(response, 429, 'TooManyRequests', { headers: { 'retry-after': '0' } });
      else void echo(request, response, number);
    });
    await client.create(JOBS, job);
    expect(server.requests).toHaveLength(2);
  });

  test('a delay beyond the deadline is not waited for', async () => {
    const { server, client } = await setUp((_, response) =>
      answerStatus(response, 429, 'TooManyRequests', { headers: { 'retry-after': '3600' } }),
    );
    await expect(client.get(NODES, { name: 'n' })).rejects.toMatchObject({
      kind: 'tooManyRequests',
      retryAfterMs: 3_600_000,
    });
    expect(server.requests).toHaveLength(1);
  });

  test('a silent server is a timeout, and the caller can end a call', async () => {
    const { server, client } = await setUp(() => {});
    const late = client.get(NODES, { name: 'n' }, { timeoutMs: 20 });
    await expect(late).rejects.toMatchObject({ kind: 'timeout', message: expect.stringContaining('0.02 s') });
    const stop = new AbortController();
    const aborted = client.get(NODES, { name: 'n' }, { signal: stop.signal });
    await server.nth(2);
    stop.abort(new Error('enough'));
    await expect(aborted).rejects.toMatchObject({ kind: 'aborted', cause: { message: 'enough' } });
    await expect(client.get(NODES, { name: 'n' }, { signal: stop.signal })).rejects.toMatchObject({ kind: 'aborted' });
    expect(server.requests).toHaveLength(2);
  });

  test('a refused connection says so', async () => {
    const { server, client } = await setUp(echo);
    await server[Symbol.asyncDispose]();
    await expect(client.create(JOBS, job)).rejects.toMatchObject({ kind: 'unavailable', reason: 'ECONNREFUSED' });
  });

  test('the string body of an error is understood', async () => {
    const { client } = await setUp((_, response) =>
      answerStatus(response, 409, 'AlreadyExists', { message: 'jobs.batch "train" already exists' }),
    );
    const error = await client.create(JOBS, job).catch((error: unknown) => error);
    expect(isKubeError(error, 'alreadyExists')).toBe(true);
    expect((error as Error).message).toBe(
      'POST /apis/batch/v1/namespaces/team-a/jobs: jobs.batch "train" already exists',
    );
  });

  test('an answer that is not JSON is unexpected', async () => {
    const { client } = await setUp((_, response) => void response.end('hello'));
    await expect(client.get(NODES, { name: 'n' })).rejects.toMatchObject({ kind: 'unexpected' });
  });
});

describe('watches', () => {
  test('bookmarks are always asked for', async () => {
    const { server, client } = await setUp((_, response) => {
      answerWatch(response, { type: 'BOOKMARK', object: { metadata: { resourceVersion: '12' } } });
      response.end();
    });
    const options = {
      namespace: 'team-a',
      resourceVersion: '7',
      timeoutSeconds: 300,
      signal: new AbortController().signal,
    };
    expect(await collect(client.watch(CONFIG_MAPS, options))).toEqual([
      { type: 'BOOKMARK', object: { metadata: { resourceVersion: '12' } } },
    ]);
    expect(server.requests[0]).toMatchObject({
      path: '/api/v1/namespaces/team-a/configmaps',
      query: { watch: 'true', allowWatchBookmarks: 'true', resourceVersion: '7', timeoutSeconds: '300' },
    });
  });

  test('410 when connecting and 410 in the stream are the same error', async () => {
    const { client } = await setUp((_, response, number) => {
      if (number === 1) answerStatus(response, 410, 'Expired');
      else answerWatch(response, { type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired' } });
    });
    const options = { timeoutSeconds: 300, signal: new AbortController().signal };
    await expect(collect(client.watch(PODS, options))).rejects.toMatchObject({ kind: 'gone' });
    await expect(collect(client.watch(PODS, options))).rejects.toMatchObject({ kind: 'gone' });
  });

  test('leaving the loop closes the connection', async () => {
    const closed = Promise.withResolvers<void>();
    const { client } = await setUp((_, response) => {
      response.on('close', () => closed.resolve());
      answerWatch(response, { type: 'ADDED', object: { metadata: { name: 'a' } } });
    });
    for await (const event of client.watch(PODS, { timeoutSeconds: 300, signal: new AbortController().signal })) {
      expect(event.type).toBe('ADDED');
      break;
    }
    await closed.promise;
  });
});

describe('pod logs', () => {
  test('come as text, with what was asked for', async () => {
    const { server, client } = await setUp((_, response) => void response.end('line ä\n'));
    const options = {
      container: 'main',
      sinceTime: '2026-11-20T10:00:00Z',
      limitBytes: 1000,
      timestamps: true,
      previous: false,
    };
    expect(await client.podLog(ref, options)).toBe('line ä\n');
    expect(server.requests[0]).toMatchObject({
      path: '/api/v1/namespaces/team-a/pods/train/log',
      query: { container: 'main', sinceTime: '2026-11-20T10:00:00Z', limitBytes: '1000', timestamps: 'true' },
    });
  });

  test('come as a stream that the caller can end', async () => {
    const { client } = await setUp((_, response) => void response.write('first'));
    const stop = new AbortController();
    const stream = await client.podLogStream(ref, { follow: true, signal: stop.signal });
    const [chunk] = await stream.take(1).toArray();
    expect(String(chunk)).toBe('first');
    stop.abort();
  });

  test('a refused stream carries the reason', async () => {
    const { client } = await setUp((_, response) =>
      answerStatus(response, 400, 'BadRequest', { message: 'container "main" is waiting to start' }),
    );
    const { signal } = new AbortController();
    await expect(client.podLogStream(ref, { signal })).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringContaining('waiting to start'),
    });
  });
});

test('a long-lived signal keeps nothing of the calls that are over', async () => {
  const { client } = await setUp(echo);
  const stop = new AbortController();
  let listeners = 0;
  const add = stop.signal.addEventListener.bind(stop.signal);
  const remove = stop.signal.removeEventListener.bind(stop.signal);
  stop.signal.addEventListener = (...args: Parameters<typeof add>) => {
    listeners++;
    add(...args);
  };
  stop.signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    listeners--;
    remove(...args);
  };
  for (let i = 0; i < 20; i++) await client.get(NODES, { name: 'n' }, { signal: stop.signal });
  await sleep(0);
  expect(listeners).toBe(0);
});
