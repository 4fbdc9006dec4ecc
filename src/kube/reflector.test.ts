import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { KubeClient } from './client.ts';
import { isKubeError } from './errors.ts';
import { Reflector } from './reflector.ts';
import { JOBS } from './resource.ts';
import type { KubeObject } from './resource.ts';
import { Store } from './store.ts';
import { answerJson, answerStatus, answerWatch, startScriptedServer } from './testing/scripted-server.ts';
import type { Script, SeenRequest } from './testing/scripted-server.ts';

const job = (name: string, resourceVersion: number, uid = `${name}-1`) => ({
  metadata: { namespace: 'n', name, uid, resourceVersion: String(resourceVersion), managedFields: [{ manager: 'm' }] },
});
const added = (...args: Parameters<typeof job>) => ({ type: 'ADDED', object: job(...args) });
const deleted = (...args: Parameters<typeof job>) => ({ type: 'DELETED', object: job(...args) });
const bookmark = (resourceVersion: number, annotations = {}) => ({
  type: 'BOOKMARK',
  object: { metadata: { resourceVersion: String(resourceVersion), annotations } },
});
const listEnd = (resourceVersion: number) => bookmark(resourceVersion, { 'k8s.io/initial-events-end': 'true' });
const isStreamingList = (request: SeenRequest) => request.query['sendInitialEvents'] === 'true';

async function setUp(script: Script, options: { silenceMs?: number; onError?: (error: unknown) => void } = {}) {
  const server = await startScriptedServer(script);
  const client = KubeClient.connect(server.config, { userAgent: 'x' });
  const errors: unknown[] = [];
  const changes: string[] = [];
  const waiters: (() => void)[] = [];
  const store = new Store<KubeObject, string>({
    project: ({ metadata }) => {
      if (metadata?.name === 'poison') throw new Error('no projection for this');
      return metadata!.uid!;
    },
    onListenerError: (error) => errors.push(error),
  });
  store.subscribe((change) => {
    changes.push(`${change.type} ${change.key} ${change.new ?? change.old}`);
    for (const wake of waiters.splice(0)) wake();
  });
  const reflector = new Reflector({
    client,
    type: JOBS,
    selection: { labelSelector: 'mine=true' },
    target: store,
    onError: (error) => errors.push(error),
    backoff: { baseMs: 1, maxMs: 10 },
    ...options,
  });
  onTestFinished(async () => {
    await reflector.stop();
    await client.close();
    await server[Symbol.asyncDispose]();
  });
  /** Resolves once the store has seen this change. */
  const change = async (wanted: string) => {
    while (!changes.includes(wanted)) await new Promise<void>((resolve) => waiters.push(resolve));
  };
  return { server, store, reflector, errors, changes, change };
}

describe('a streaming list', () => {
  test('is synced when it is complete, goes on as a watch, and asks for bookmarks', async () => {
    const { server, store, reflector, change } = await setUp((_, response) =>
      answerWatch(response, added('a', 1), added('b', 2), listEnd(5), added('c', 6)),
    );
    reflector.start();
    await reflector.synced;
    await change('added n/c c-1');
    expect([...store.list()]).toEqual(['a-1', 'b-1', 'c-1']);
    expect(server.requests).toHaveLength(1);
    const { query, path } = server.requests[0]!;
    expect(path).toBe('/apis/batch/v1/jobs');
    expect(query).toMatchObject({
      labelSelector: 'mine=true',
      watch: 'true',
      sendInitialEvents: 'true',
      resourceVersionMatch: 'NotOlderThan',
      allowWatchBookmarks: 'true',
    });
    expect(Number(query['timeoutSeconds'])).toBeGreaterThanOrEqual(300);
    expect(Number(query['timeoutSeconds'])).toBeLessThanOrEqual(600);
    expect(reflector.lastEventAgeMs).toBeLessThan(10_000);
  });

  test('knows of what went while it was on its way', async () => {
    const { store, reflector, changes } = await setUp((_, response) =>
      answerWatch(
        response,
        added('a', 1),
        added('b', 2),
        deleted('a', 3),
        added('c', 4),
        deleted('c', 5),
        added('c', 6, 'c-2'),
        listEnd(7),
      ),
    );
    reflector.start();
    await reflector.synced;
    expect([...store.list()]).toEqual(['b-1', 'c-2']);
    expect(changes.slice(-3)).toEqual(['added n/c c-1', 'deleted n/c c-1', 'added n/c c-2']);
  });

  test('that breaks off deletes nothing and does not count as synced', async () => {
    const { server, store, reflector, errors } = await setUp((_, response, number) => {
      if (number === 1) {
        answerWatch(response, added('a', 1), added('b', 2), listEnd(5));
        setImmediate(() => response.write(`${JSON.stringify({ type: 'ERROR', object: { code: 410 } })}\n`));
      } else if (number === 2) {
        answerWatch(response, added('a', 1));
        response.end();
      } else {
        answerWatch(response, added('a', 1), listEnd(9));
      }
    });
    reflector.start();
    await server.nth(3);
    await vi.waitFor(() => expect([...store.list()]).toEqual(['a-1']));
    expect(errors).toMatchObject([
      { kind: 'gone' },
      { kind: 'unavailable', message: expect.stringContaining('ended early') },
    ]);
  });

  test('that the server does not know is replaced by pages, without a report', async () => {
    const { server, store, reflector, errors } = await setUp((request, response) => {
      if (isStreamingList(request)) answerStatus(response, 422, 'Invalid', { message: 'sendInitialEvents: Forbidden' });
      else if (request.query['watch'] === 'true') answerWatch(response);
      else if (request.query['continue'] === undefined) {
        answerJson(response, 200, { metadata: { resourceVersion: '5', continue: 'c' }, items: [job('a', 1)] });
      } else answerJson(response, 200, { metadata: { resourceVersion: '5' }, items: [job('b', 2)] });
    });
    reflector.start();
    await reflector.synced;
    expect([...store.list()]).toEqual(['a-1', 'b-1']);
    expect((await server.nth(4)).query).toMatchObject({ watch: 'true', resourceVersion: '5' });
    expect(errors).toEqual([]);
  });
});

/** A complete list; then `then` decides about each later request. */
const afterList =
  (then: Script, ...events: object[]): Script =>
  (request, response, number) => {
    if (number === 1) {
      answerWatch(response, added('a', 1), listEnd(5), ...events);
      response.end();
    } else return then(request, response, number);
  };

describe('what stops other informers', () => {
  test.each<[string, (response: Parameters<Script>[1]) => void, string]>([
    [
      '429 with Retry-After',
      (r) => answerStatus(r, 429, 'TooManyRequests', { headers: { 'retry-after': '0' } }),
      'tooManyRequests',
    ],
    ['500', (r) => answerStatus(r, 500, 'InternalError'), 'serverError'],
    ['401', (r) => answerStatus(r, 401, 'Unauthorized'), 'unauthorized'],
    ['403', (r) => answerStatus(r, 403, 'Forbidden'), 'forbidden'],
    ['404', (r) => answerStatus(r, 404, 'NotFound'), 'notFound'],
    ['a reset before the headers', (r) => r.socket?.resetAndDestroy(), 'unavailable'],
    [
      'a reset in the stream',
      (r) => {
        answerWatch(r);
        setImmediate(() => r.socket?.resetAndDestroy());
      },
      'unavailable',
    ],
    [
      'a half line',
      (r) => {
        answerWatch(r);
        r.end('{"type":"ADD');
      },
      'unavailable',
    ],
    ['an end at once', (r) => r.end(), 'unavailable'],
    ['an error in the stream', (r) => answerWatch(r, { type: 'ERROR', object: { code: 500 } }), 'serverError'],
  ])('%s is tried again from where it was', async (_, fail, kind) => {
    const { server, reflector, errors, change } = await setUp(
      afterList((_, response, number) => {
        if (number === 2) fail(response);
        else answerWatch(response, added('late', 6));
      }),
    );
    reflector.start();
    await change('added n/late late-1');
    expect(errors).toMatchObject([{ kind }]);
    expect(server.requests.slice(1).map((request) => request.query['resourceVersion'])).toEqual(['5', '5']);
  });

  test.each<[string, (response: Parameters<Script>[1]) => void, string]>([
    ['410 when connecting', (r) => answerStatus(r, 410, 'Expired'), 'gone'],
    ['410 in the stream', (r) => answerWatch(r, { type: 'ERROR', object: { code: 410, reason: 'Expired' } }), 'gone'],
    [
      'a garbage line',
      (r) => {
        answerWatch(r);
        r.write('garbage\n');
      },
      'unexpected',
    ],
  ])('%s means a new list', async (_, fail, kind) => {
    const { server, reflector, errors, change } = await setUp(
      afterList((_, response, number) => {
        if (number === 2) fail(response);
        else answerWatch(response, added('other', 7), listEnd(9));
      }),
    );
    reflector.start();
    await change('deleted n/a a-1');
    expect(errors).toMatchObject([{ kind }]);
    expect(isStreamingList(server.requests[2]!)).toBe(true);
    expect(server.requests[2]!.query['resourceVersion']).toBeUndefined();
  });

  test('a silent stream is given up and opened again', async () => {
    const { server, reflector, errors } = await setUp(
      afterList((_, response) => answerWatch(response)),
      { silenceMs: 50 },
    );
    reflector.start();
    expect((await server.nth(3)).query['resourceVersion']).toBe('5');
    expect(errors[0]).toMatchObject({ kind: 'timeout', message: expect.stringContaining('silent') });
  });

  test('a quiet stream that sends bookmarks is kept, and what they say is where the next watch begins', async () => {
    const { server, reflector, errors } = await setUp(
      afterList((_, response, number) => {
        if (number > 2) return answerWatch(response);
        answerWatch(response);
        for (let i = 1; i <= 5; i++) setTimeout(() => response.write(`${JSON.stringify(bookmark(10 * i))}\n`), i * 100);
        setTimeout(() => response.end(), 600);
      }),
      { silenceMs: 300 },
    );
    reflector.start();
    expect((await server.nth(3)).query['resourceVersion']).toBe('50');
    expect(errors).toEqual([]);
  });

  test('deleted and re-created during a gap is a delete and an add', async () => {
    const { reflector, changes, change } = await setUp(
      afterList((_, response, number) => {
        if (number === 2) answerStatus(response, 410, 'Expired');
        else answerWatch(response, added('a', 8, 'a-2'), listEnd(9));
      }),
    );
    reflector.start();
    await change('added n/a a-2');
    expect(changes).toEqual(['added n/a a-1', 'deleted n/a a-1', 'added n/a a-2']);
  });

  test('a throwing listener is reported, and the watch goes on', async () => {
    const { reflector, store, errors, change } = await setUp(
      afterList((_, response) => answerWatch(response), added('b', 6), deleted('b', 7)),
    );
    store.subscribe((event) => {
      if (event.key === 'n/b') throw new Error('handler');
    });
    reflector.start();
    await change('deleted n/b b-1');
    expect(errors.slice(0, 2)).toEqual([new Error('handler'), new Error('handler')]);
  });

  test('one object that cannot be projected does not keep the others out', async () => {
    const { reflector, store, errors, change } = await setUp((_, response) =>
      answerWatch(response, added('poison', 1), added('a', 2), listEnd(5), added('poison', 6), added('b', 7)),
    );
    reflector.start();
    await change('added n/b b-1');
    expect([...store.list()]).toEqual(['a-1', 'b-1']);
    expect(errors).toEqual([new Error('no projection for this'), new Error('no projection for this')]);
  });

  test('a reporter that throws changes nothing', async () => {
    const { reflector, change } = await setUp(
      afterList((_, response, number) => {
        if (number === 2) answerStatus(response, 500, 'InternalError');
        else answerWatch(response, added('late', 6));
      }),
      {
        onError: () => {
          throw new Error('reporter');
        },
      },
    );
    reflector.start();
    await change('added n/late late-1');
  });
});

describe('stop', () => {
  test('while the list is in flight opens no watch', async () => {
    const held = Promise.withResolvers<Parameters<Script>[1]>();
    const { server, reflector, store } = await setUp((request, response) => {
      if (isStreamingList(request)) answerStatus(response, 422, 'Invalid');
      else held.resolve(response);
    });
    reflector.start();
    const response = await held.promise;
    const stopped = reflector.stop();
    answerJson(response, 200, { metadata: { resourceVersion: '5' }, items: [job('a', 1)] });
    await stopped;
    await expect(reflector.synced).rejects.toThrow('the reflector stops');
    expect(server.requests).toHaveLength(2);
    expect(store.size).toBe(0);
  });

  test('while waiting to try again ends the wait', async () => {
    const { server, reflector } = await setUp((_, response) =>
      answerStatus(response, 429, 'TooManyRequests', { headers: { 'retry-after': '3600' } }),
    );
    reflector.start();
    await server.nth(1);
    await reflector.stop();
    expect(server.requests).toHaveLength(1);
  });

  test('in the middle of a watch writes nothing more', async () => {
    const { reflector, store, changes } = await setUp((_, response) =>
      answerWatch(response, added('a', 1), listEnd(5)),
    );
    reflector.start();
    await reflector.synced;
    await reflector.stop();
    await reflector.stop();
    expect([changes.length, store.size]).toEqual([1, 1]);
  });
});

test('errors reach the reporter as KubeErrors', async () => {
  const { server, reflector, errors } = await setUp((_, response) => answerStatus(response, 500, 'InternalError'));
  reflector.start();
  await server.nth(2);
  expect(errors.every((error) => isKubeError(error))).toBe(true);
});
