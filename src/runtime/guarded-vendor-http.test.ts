import type { LookupAddress } from 'node:dns';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import type { ProviderEvent, ProviderEventInput } from '../telemetry/provider-event.ts';
import { ProviderEvents } from '../telemetry/provider-events.ts';
import { mayCarryCredentials } from './credential-scope.ts';
import { RuntimeError } from './errors.ts';
import { aVendorHttp, type Wishes } from './testing/a-vendor-http.ts';
import { answer, isWhole, RawServer, type OnBytes } from './testing/raw-server.ts';
import type { Operation } from './vendor-http.ts';

const clean: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const done of clean.splice(0).toReversed()) await done();
});

async function serve(handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(handler);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  clean.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function raw(onBytes: OnBytes): Promise<RawServer> {
  const server = await RawServer.listen(onBytes);
  clean.push(() => server.close());
  return server;
}

function vendor(wishes?: Wishes) {
  const made = aVendorHttp(wishes);
  clean.push(() => made.connections.destroy());
  return made;
}

const poll: Operation = { class: 'polling', name: 'prediction get' };
const download: Operation = { class: 'download', name: 'output download' };
const request: Operation = { class: 'request', name: 'file create' };
const rejected = (promise: Promise<unknown>): Promise<RuntimeError> =>
  promise.then(
    () => expect.unreachable('it should have been rejected'),
    (error: unknown) => {
      expect(error).toBeInstanceOf(RuntimeError);
      return error as RuntimeError;
    },
  );
const read = async (request: IncomingMessage): Promise<Buffer> => Buffer.concat(await request.toArray());

describe('a call', () => {
  it('is a fetch like any other, and leaves one event', async () => {
    const origin = await serve((incoming, response) =>
      response.writeHead(200, { 'content-type': 'application/json', 'x-a': incoming.headers['x-a'] }).end('{"a":[1]}'),
    );
    const { http, events } = vendor();
    const response = await http.fetch({ ...poll, capability: 'generate', runId: 'run-1' })(
      new URL(`${origin}/v1/predictions/p1?token=hidden`),
      { headers: { 'X-A': 'b' } },
    );
    expect([response.ok, response.url, response.headers.get('x-a')]).toEqual([
      true,
      `${origin}/v1/predictions/p1?token=hidden`,
      'b',
    ]);
    expect(await response.json()).toEqual({ a: [1] });
    expect(events).toMatchObject([
      {
        provider: 'replicate',
        profile: 'gpu',
        operation: 'prediction get',
        capability: 'generate',
        runId: 'run-1',
        phase: 'success',
        attempt: 1,
        maxAttempts: 3,
        method: 'GET',
        target: `${origin}/v1/predictions/p1`,
        statusCode: 200,
        durationMs: expect.any(Number) as number,
        message: '',
        metadata: {},
      },
    ]);
  });

  it('goes on after a 503, a reset, a half answer and silence', async () => {
    const misfortunes: Record<string, (response: ServerResponse, request: IncomingMessage) => void> = {
      'a 503': (response) => response.writeHead(503).end('busy'),
      'a reset before the headers': (_, { socket }) => socket.resetAndDestroy(),
      'half an answer': (response, { socket }) => {
        response.writeHead(200, { 'content-length': 100 });
        response.write('half', () => socket.destroy());
      },
      silence: () => undefined,
      'a body that stalls': (response) => response.writeHead(200, { 'content-length': 100 }).write('half'),
    };
    for (const [name, misfortune] of Object.entries(misfortunes)) {
      let calls = 0;
      const origin = await serve((incoming, response) => {
        calls += 1;
        if (calls < 3) misfortune(response, incoming);
        else response.end('whole');
      });
      const { http, events, slept } = vendor({ policy: { polling: { timeoutSeconds: 0.2 } } });
      expect([name, await (await http.fetch(poll)(origin)).text()]).toEqual([name, 'whole']);
      expect([calls, slept]).toEqual([3, [250, 500]]);
      expect(events.map(({ phase, attempt, metadata }) => [phase, attempt, metadata?.['next_delay_seconds']])).toEqual([
        ['retry', 1, 0.25],
        ['retry', 2, 0.5],
        ['success', 3, undefined],
      ]);
    }
  });

  it('gives the last answer, and rejects with the last error', async () => {
    const busy = vendor();
    const response = await busy.http.fetch(poll)(await serve((_, r) => r.writeHead(503).end('busy')));
    expect([response.status, await response.text()]).toEqual([503, 'busy']);
    expect(busy.events.map(({ phase, statusCode }) => [phase, statusCode])).toEqual([
      ['retry', 503],
      ['retry', 503],
      ['failure', 503],
    ]);

    const lost = vendor();
    const error = await rejected(lost.http.fetch(poll)(await serve((incoming) => incoming.socket.destroy())));
    expect(error.kind).toBe('retryable');
    expect(lost.events.at(-1)).toMatchObject({ phase: 'failure', metadata: { fault: 'retryable' } });
    expect(lost.events.at(-1)).not.toHaveProperty('statusCode');
  });

  it('waits as long as it is asked to', async () => {
    let calls = 0;
    const origin = await serve((_, response) => {
      calls += 1;
      response.writeHead(calls === 1 ? 429 : 200, { 'retry-after': '7' }).end();
    });
    const { http, slept } = vendor();
    expect((await http.fetch(poll)(origin)).status).toBe(200);
    expect(slept).toEqual([7000]);
  });

  it('ends with its budget, however long ago it began', async () => {
    let calls = 0;
    const origin = await serve((_, response) => {
      calls += 1;
      response.writeHead(503).end();
    });
    const policy = { polling: { backoffSeconds: 2, maxElapsedSeconds: 1 } };
    const one = vendor({ policy });
    const error = await rejected(one.http.fetch(poll)(origin));
    expect(error.kind).toBe('budget');
    expect(error.message).toMatch(/^Provider 'replicate' prediction get exceeded budget 1\.000s after \d+\.\d{3}s\.$/);
    expect(one.events).toMatchObject([{ phase: 'budget_exceeded', metadata: { max_elapsed_seconds: 1 } }]);
    expect([calls, one.slept]).toEqual([1, []]);

    const later = vendor({ policy });
    const again = await rejected(later.http.fetch({ ...poll, startedAt: later.now() - 1500 })(origin));
    expect([again.kind, calls, later.events.length]).toEqual(['budget', 1, 1]);
  });

  it('ends when the caller stops, and says nothing of the provider then', async () => {
    const stop = new AbortController();
    const origin = await serve(() => stop.abort());
    for (const init of [{ signal: stop.signal }, { signal: AbortSignal.abort() }]) {
      const { http, events } = vendor();
      expect((await rejected(http.fetch(poll)(origin, init))).kind).toBe('aborted');
      expect(events).toEqual([]);
    }
  });

  it('ends in a pause when the caller stops', async () => {
    const stop = new AbortController();
    const phases: string[] = [];
    const emit = ({ phase }: ProviderEventInput) => {
      phases.push(phase);
      stop.abort();
    };
    const { http } = vendor({ emit, signal: stop.signal });
    const origin = await serve((_, response) => response.writeHead(503).end());
    expect((await rejected(http.fetch(poll)(origin))).kind).toBe('aborted');
    expect(phases).toEqual(['retry']);
  });

  it('leaves events that are stored as WorldForge writes them', async () => {
    const stored: ProviderEvent[] = [];
    const lost: unknown[] = [];
    const recorder = new ProviderEvents({
      sinks: [{ name: 'test', accept: (event) => stored.push(event) }],
      onLost: (sink, error) => lost.push(sink, error),
    });
    let calls = 0;
    const origin = await serve((_, response) => {
      calls += 1;
      response.writeHead(calls === 1 ? 503 : 200).end('abc');
    });
    const emit = recorder.emit.bind(recorder);
    const { http } = vendor({ emit, policy: { polling: { maxElapsedSeconds: 60 } } });
    await (await http.fetch({ ...download, capability: 'generate' })(`${origin}/out.mp4?sig=1`)).text();
    await rejected(http.fetch({ ...poll, startedAt: 0 })(origin));
    expect(lost).toEqual([]);
    const target = `${origin}/out.mp4`;
    expect(stored).toMatchObject([
      { operation: 'output download', phase: 'retry', attempt: 1, max_attempts: 3, status_code: 503, target },
      { operation: 'output download', phase: 'success', attempt: 2, max_attempts: 3, status_code: 200, target },
      { operation: 'prediction get', phase: 'budget_exceeded', attempt: 1, max_attempts: 3, status_code: null },
    ]);
    expect(stored.map(({ metadata }) => metadata)).toEqual([
      { next_delay_seconds: 0.25, capability: 'generate' },
      { bytes: 3, capability: 'generate' },
      { max_elapsed_seconds: 60, capability: 'unknown' },
    ]);
  });

  it('is not harmed by whoever listens to its events', async () => {
    const { http } = vendor({
      emit: () => {
        throw new Error('telemetry is down');
      },
    });
    expect((await http.fetch(poll)(await serve((_, response) => response.end()))).status).toBe(200);
  });

  it('refuses what is no request, without quoting it', async () => {
    for (const url of ['no url', 'https://user:hunter2@h.example/', 'ftp://h.example/hunter2']) {
      const error = await rejected(vendor().http.fetch(poll)(url));
      expect([error.kind, error.message.includes('hunter2')]).toEqual(['refused', false]);
    }
  });

  it('names method and host in its words, and no path, query or header', async () => {
    const origin = await serve((incoming) => incoming.socket.destroy());
    const error = await rejected(
      vendor().http.fetch(poll)(`${origin}/hunter2?sig=hunter2`, { headers: { 'x-h': 'hunter2' } }),
    );
    expect(error.message).toMatch(/^replicate prediction get: GET 127\.0\.0\.1:\d+: \w+$/);
  });

  it('refuses an answer that is longer than allowed, announced or not, and asks no second time', async () => {
    for (const headers of [{ 'content-length': 2000 }, {}]) {
      let calls = 0;
      const origin = await serve((_, response) => {
        calls += 1;
        response.writeHead(200, headers).end(Buffer.alloc(2000));
      });
      const error = await rejected(vendor().http.fetch({ ...poll, maxAnswerBytes: 1000 })(origin));
      expect([error.kind, calls]).toEqual(['terminal', 1]);
    }
  });

  it('reads what a store keeps compressed, and counts it unpacked', async () => {
    const origin = await serve((_, response) =>
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(5000, 'a'))),
    );
    const { http } = vendor();
    expect(await (await http.fetch(poll)(origin)).text()).toBe('a'.repeat(5000));
    expect((await rejected(http.fetch({ ...poll, maxAnswerBytes: 4999 })(origin))).kind).toBe('terminal');
    const broken = await serve((_, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end('no gzip'));
    expect((await rejected(http.fetch(poll)(broken))).kind).toBe('retryable');
  });
});

describe('what is sent', () => {
  it('may be a form with files, whole on every attempt', async () => {
    const seen: unknown[] = [];
    const origin = await serve(async (incoming, response) => {
      const body = await read(incoming);
      const form = await new Response(body, { headers: incoming.headers as Record<string, string> }).formData();
      const file = form.get('content') as File;
      seen.push([Number(incoming.headers['content-length']) === body.length, file.name, await file.text()]);
      response.writeHead(seen.length < 2 ? 503 : 201).end();
    });
    const form = new FormData();
    form.set('content', new File(['bytes'], 'a.bin', { type: 'application/octet-stream' }));
    const { http } = vendor({ policy: { request: { maxAttempts: 2 } } });
    expect((await http.fetch(request)(origin, { method: 'POST', body: form })).status).toBe(201);
    expect(seen).toEqual([
      [true, 'a.bin', 'bytes'],
      [true, 'a.bin', 'bytes'],
    ]);
  });

  it('may be a stream, which is sent at most once', async () => {
    const seen: string[] = [];
    const origin = await serve(async (incoming, response) => {
      seen.push(String(await read(incoming)));
      response.writeHead(503).end();
    });
    const body = ReadableStream.from([Buffer.from('one '), Buffer.from('two')]);
    const { http, events } = vendor({ policy: { request: { maxAttempts: 3 } } });
    const response = await http.fetch(request)(origin, { method: 'POST', body: body as never });
    expect([response.status, seen]).toEqual([503, ['one two']]);
    expect(events).toMatchObject([{ phase: 'failure', maxAttempts: 1 }]);
  });

  it('fails as it may be tried again when its bytes cannot be read', async () => {
    const origin = await serve(() => undefined);
    const broken = () =>
      new Request(origin, {
        method: 'POST',
        body: ReadableStream.from(
          (async function* () {
            yield Buffer.from('x');
            throw new Error('the store is away');
          })(),
        ) as never,
        duplex: 'half',
      } as RequestInit);
    const { http } = vendor();
    expect((await rejected(http.fetch(request)(broken()))).kind).toBe('retryable');
    expect((await rejected(http.fetch(request)(origin, { method: 'POST', body: broken().body }))).kind).toBe(
      'retryable',
    );
  });
});

describe('a download', () => {
  const chunk = Buffer.alloc(64 * 1024, 'x');

  it('streams: the next piece is sent when the last one was read', async () => {
    const going: ServerResponse[] = [];
    const origin = await serve((_, response) => {
      response.writeHead(200, { 'content-type': 'video/mp4' }).write('first');
      going.push(response);
    });
    const { http, events } = vendor();
    const response = await http.fetch(download)(origin);
    expect(response.headers.get('content-type')).toBe('video/mp4');
    const got: [string, number][] = [];
    for await (const piece of response.body!) {
      got.push([Buffer.from(piece).toString(), events.length]);
      going[0]!.end('last');
    }
    // Nothing is said of it before its end.
    expect(got).toEqual([
      ['first', 0],
      ['last', 0],
    ]);
    expect(events).toMatchObject([{ phase: 'success', metadata: { bytes: 9 }, statusCode: 200 }]);
  });

  it('holds the sender back when nobody reads', async () => {
    let sent = 0;
    const origin = await serve(async (_, response) => {
      const gone = once(response, 'close');
      while (!response.destroyed && sent < 4096) {
        sent += 1;
        if (!response.write(chunk)) await Promise.race([once(response, 'drain'), gone]);
      }
    });
    const { http, events } = vendor({ maxDownloadBytes: 1024 ** 3 });
    const response = await http.fetch(download)(origin);
    const reader = response.body!.getReader();
    await reader.read();
    await expect.poll(() => sent, { interval: 50 }).toBeGreaterThan(1);
    await reader.cancel();
    // 4096 pieces are 256 MiB; what the sockets hold is a fraction.
    expect(sent).toBeLessThan(1024);
    await expect.poll(() => events).toMatchObject([{ phase: 'success', message: 'the reader wanted no more' }]);
  });

  it('that nobody begins to read frees its connection when it is cancelled', async () => {
    let gone = 0;
    const origin = await serve((_, response) => {
      response.once('close', () => (gone += 1));
      response.writeHead(200).write(chunk);
    });
    const { http, events } = vendor();
    // More than there are connections to one place.
    for (let i = 0; i < 20; i += 1) await (await http.fetch(download)(origin)).body!.cancel();
    await expect.poll(() => gone).toBe(20);
    expect(events.map(({ phase, metadata }) => [phase, metadata])).toEqual(
      Array.from({ length: 20 }, () => ['success', { bytes: 0 }]),
    );
  });

  it('that its caller ends says nothing of the provider', async () => {
    const stop = new AbortController();
    const origin = await serve((_, response) => response.writeHead(200).write('half'));
    const { http, events } = vendor();
    const response = await http.fetch(download)(origin, { signal: stop.signal });
    stop.abort();
    expect((await rejected(response.arrayBuffer())).kind).toBe('aborted');
    expect(events).toEqual([]);
  });

  it('is repeated before its first byte, and broken off with an error after it', async () => {
    let calls = 0;
    const origin = await serve((incoming, response) => {
      calls += 1;
      if (calls === 1) response.writeHead(503).end();
      else response.writeHead(200, { 'content-length': 100 }).write('half', () => incoming.socket.destroy());
    });
    const { http, events } = vendor();
    const response = await http.fetch(download)(origin);
    const error = await rejected(response.arrayBuffer());
    expect([error.kind, calls]).toEqual(['retryable', 2]);
    expect(events.map(({ phase, attempt }) => [phase, attempt])).toEqual([
      ['retry', 1],
      ['failure', 2],
    ]);
  });

  it('that stalls is broken off, one that is merely slow is not', async () => {
    const stalling = await serve((_, response) => response.writeHead(200).write('half'));
    const policy = { download: { timeoutSeconds: 0.2 } };
    const { http } = vendor({ policy });
    expect((await rejected((await http.fetch(download)(stalling)).arrayBuffer())).kind).toBe('retryable');

    const slow = await serve((_, response) => {
      let left = 8;
      const timer = setInterval(() => {
        response.write('x');
        left -= 1;
        if (left > 0) return;
        clearInterval(timer);
        response.end();
      }, 50);
    });
    expect(
      await (await vendor({ policy: { download: { timeoutSeconds: 0.3 } } }).http.fetch(download)(slow)).text(),
    ).toBe('x'.repeat(8));
  });

  it('longer than an artifact may be is terminal, announced or not', async () => {
    for (const headers of [{ 'content-length': 2000 }, {}]) {
      const origin = await serve((_, response) => response.writeHead(200, headers).end(Buffer.alloc(2000)));
      const { http } = vendor({ maxDownloadBytes: 1000 });
      expect((await rejected((await http.fetch(download)(origin)).arrayBuffer())).kind).toBe('terminal');
    }
  });

  it('is ended by the operation’s budget', async () => {
    const origin = await serve((_, response) => response.writeHead(200).end(chunk));
    const { http, now, events } = vendor({ policy: { download: { maxElapsedSeconds: 1 } } });
    const began = now() - 500;
    const response = await http.fetch({ ...download, startedAt: began })(origin);
    // The time until its bytes are read passes too.
    await expect.poll(() => now() - began, { timeout: 5000 }).toBeGreaterThan(1000);
    expect((await rejected(response.arrayBuffer())).kind).toBe('budget');
    expect(events).toMatchObject([{ phase: 'budget_exceeded' }]);
  });
});

describe('a redirect', () => {
  const location = (url: string, status = 302) =>
    serve((_, response) => response.writeHead(status, { location: url }).end());

  it('of a read is followed, and the key stays behind', async () => {
    const seen: (string | undefined)[] = [];
    const other = await serve((incoming, response) => {
      seen.push(incoming.headers.authorization, incoming.headers['x-key'] as string | undefined);
      response.end('there');
    });
    const origin = await serve((incoming, response) => {
      seen.push(incoming.headers.authorization, incoming.headers['x-key'] as string | undefined);
      response.writeHead(302, { location: `${other}/x` }).end();
    });
    const { http } = vendor({ scope: { endpoint: origin, values: ['r8_secret-of-many'] } });
    const response = await http.fetch({ ...poll, credentials: true })(origin, {
      headers: { authorization: 'Bearer r8_secret-of-many', 'x-key': 'r8_secret-of-many' },
    });
    expect([await response.text(), response.redirected, response.url]).toEqual(['there', true, `${other}/x`]);
    expect(seen).toEqual(['Bearer r8_secret-of-many', 'r8_secret-of-many', undefined, undefined]);
  });

  it('is judged at every hop', async () => {
    const hops: Record<string, string> = {
      metadata: 'http://169.254.169.254/latest/meta-data/',
      'mapped into IPv6': 'http://[::ffff:169.254.169.254]/',
      'as a number': 'http://2852039166/',
      'with user info': 'http://u:p@127.0.0.1/',
      'another scheme': 'file:///etc/passwd',
    };
    for (const [name, url] of Object.entries(hops)) {
      const last = await location(url);
      const { http, events } = vendor();
      const error = await rejected(http.fetch(poll)(await location(last)));
      expect([name, error.kind]).toEqual([name, 'refused']);
      expect(events).toMatchObject([{ phase: 'failure', metadata: { fault: 'refused' } }]);
    }
  });

  it('without end is none', async () => {
    const origin = await serve((_, response) => response.writeHead(302, { location: '/' }).end());
    expect((await rejected(vendor().http.fetch(poll)(origin))).kind).toBe('terminal');
  });

  it('of a write keeps its body within the origin, and is refused elsewhere or without it', async () => {
    const bodies: string[] = [];
    const other = await serve(() => expect.unreachable());
    const origin = await serve(async (incoming, response) => {
      bodies.push(`${incoming.method} ${incoming.url} ${String(await read(incoming))}`);
      const target = { '/moved': '/here', '/away': other, '/done': '/here' }[incoming.url ?? ''];
      if (target === undefined) return response.end('ok');
      return response.writeHead(incoming.url === '/done' ? 303 : 307, { location: target }).end();
    });
    const post = (path: string) => vendor().http.fetch(request)(origin + path, { method: 'POST', body: 'b' });
    expect(await (await post('/moved')).text()).toBe('ok');
    expect((await rejected(post('/away'))).kind).toBe('refused');
    expect((await rejected(post('/done'))).kind).toBe('refused');
    expect(bodies).toEqual(['POST /moved b', 'POST /here b', 'POST /away b', 'POST /done b']);
  });

  it('is the caller’s where it says so', async () => {
    const { http } = vendor();
    const origin = await location('http://169.254.169.254/');
    expect((await http.fetch(poll)(origin, { redirect: 'manual' })).status).toBe(302);
    expect((await rejected(http.fetch(poll)(await location('/x'), { redirect: 'error' }))).kind).toBe('refused');
  });
});

describe('the key', () => {
  it('goes only where the profile’s endpoint is, and only with operations that carry it', async () => {
    const seen: string[] = [];
    const origin = await serve((incoming, response) => {
      const { authorization, cookie, 'x-vendor-key': own, accept } = incoming.headers;
      seen.push([authorization, cookie, own, accept].map((value) => value ?? '-').join(' '));
      response.end();
    });
    const headers = {
      authorization: 'Token r8_secret-of-many',
      cookie: 'a=b',
      'x-vendor-key': 'r8_secret-of-many',
      accept: 'a/b',
    };
    const endpoint = { endpoint: `${origin}/prefix`, values: ['r8_secret-of-many'] };
    await vendor({ scope: endpoint }).http.fetch({ ...poll, credentials: true })(origin, { headers });
    await vendor({ scope: endpoint }).http.fetch(poll)(origin, { headers });
    await vendor({ scope: { ...endpoint, endpoint: 'https://api.example.com' } }).http.fetch({
      ...poll,
      credentials: true,
    })(origin, { headers });
    expect(seen).toEqual(['Token r8_secret-of-many a=b r8_secret-of-many a/b', '- - - a/b', '- - - a/b']);
  });

  it('in a URL goes nowhere else', async () => {
    const origin = await serve(() => expect.unreachable());
    const { http } = vendor({ scope: { values: ['r8/secret-of-many'] } });
    for (const query of ['r8/secret-of-many', encodeURIComponent('r8/secret-of-many')]) {
      expect((await rejected(http.fetch({ ...poll, credentials: true })(`${origin}/?key=${query}`))).kind).toBe(
        'refused',
      );
    }
  });

  it('is no word that every URL may hold', async () => {
    const origin = await serve((_, response) => response.end());
    const { http } = vendor({ scope: { values: ['us-east-1', ''] } });
    expect((await http.fetch(poll)(`${origin}/us-east-1`)).status).toBe(200);
  });

  it('without an endpoint belongs to the runtime’s hosts, over TLS and at its own port', () => {
    const scope = { hosts: ['api.replicate.com', '*.replicate.delivery'], values: [] };
    const may = (url: string) => mayCarryCredentials(scope, new URL(url));
    expect(
      ['https://api.replicate.com/v1', 'https://API.replicate.com./', 'https://a.replicate.delivery/'].map(may),
    ).toEqual([true, true, true]);
    for (const url of [
      'http://api.replicate.com/',
      'https://api.replicate.com:8443/',
      'https://replicate.com/',
      'https://api.replicate.com.evil.example/',
      'https://replicate.delivery/',
      'https://evilreplicate.delivery/',
    ])
      expect([url, may(url)]).toEqual([url, false]);
  });

  it('with an endpoint belongs to its origin alone', () => {
    const scope = { endpoint: 'https://gateway.example/replicate', hosts: ['api.replicate.com'], values: [] };
    const may = (url: string) => mayCarryCredentials(scope, new URL(url));
    expect(
      ['https://gateway.example/x', 'https://gateway.example:444/', 'https://api.replicate.com/'].map(may),
    ).toEqual([true, false, false]);
  });
});

describe('names', () => {
  function resolving(...answers: LookupAddress[][]) {
    const asked: string[] = [];
    const resolve = ((host: string, _options: unknown, done: (e: null, a: LookupAddress[]) => void) => {
      asked.push(host);
      done(null, answers[Math.min(asked.length, answers.length) - 1]!);
    }) as never;
    return { asked, resolve };
  }
  const v4 = (address: string): LookupAddress => ({ address, family: 4 });

  it('are resolved once for a connection, and that address is used', async () => {
    const port = new URL(await serve((_, response) => response.end('here'))).port;
    const { asked, resolve } = resolving([v4('127.0.0.1')], [v4('169.254.169.254')]);
    const { http } = vendor({ resolve });
    expect(await (await http.fetch(poll)(`http://rebind.test:${port}/`)).text()).toBe('here');
    expect(asked).toEqual(['rebind.test']);
  });

  it.each([
    ['private', [v4('10.0.0.1')]],
    ['private beside a public one', [v4('93.184.216.34'), v4('10.0.0.1')]],
    ['loopback', [v4('127.0.0.1')]],
    ['metadata', [v4('169.254.169.254')]],
    ['metadata mapped into IPv6', [{ address: '::ffff:169.254.169.254', family: 6 }]],
    ['unique local', [{ address: 'fd00::1', family: 6 }]],
  ])('that stand for a %s address are refused, once and for all attempts', async (_, addresses) => {
    const { asked, resolve } = resolving(addresses);
    const { http, slept } = vendor({ network: {}, resolve });
    const error = await rejected(http.fetch(poll)('https://vendor.test/'));
    expect([error.kind, asked, slept]).toEqual(['refused', ['vendor.test'], []]);
  });
});

describe('a kept connection', () => {
  const cutting =
    (whichRequest: number): OnBytes =>
    (received, socket, connection) => {
      const requests = received.split('\r\n\r\n').length - 1;
      if (connection === 0 && requests === whichRequest) return socket.resetAndDestroy();
      if (isWhole(received)) socket.write(answer(200, `on ${connection}`));
      return undefined;
    };

  const call = async ({ http }: ReturnType<typeof vendor>, origin: string): Promise<string> => {
    const text = await (await http.fetch(poll)(origin)).text();
    // The pool takes a connection back in the turn after its answer has ended.
    await setImmediate();
    return text;
  };

  it('serves the calls that follow', async () => {
    const { origin } = await raw(cutting(Infinity));
    const made = vendor();
    for (let i = 0; i < 3; i += 1) expect(await call(made, origin)).toBe('on 0');
  });

  it('that is cut under a read is no failure', async () => {
    const { origin } = await raw(cutting(2));
    const made = vendor();
    expect(await call(made, origin)).toBe('on 0');
    expect(await call(made, origin)).toBe('on 1');
    expect(made.slept).toEqual([250]);
  });
});
