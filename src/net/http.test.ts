import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { LookupAddress } from 'node:dns';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import { GuardedHttp, HttpError } from './http.ts';
import { UrlGuard, UrlRefused, type UrlPolicy } from './url-guard.ts';

const open: UrlPolicy = { allowPlainHTTP: true, allowPrivateEndpoints: true };
const clean: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const done of clean.splice(0).toReversed()) await done();
});

async function serve(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<{ url: string; server: Server }> {
  const server = createServer(handler);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  clean.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

function client(policy: UrlPolicy = open, guard?: UrlGuard): GuardedHttp {
  const http = new GuardedHttp(policy, {}, guard);
  clean.push(() => http.close());
  return http;
}

const signal = new AbortController().signal;
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.unreachable('it should have failed'),
    (error: HttpError) => error,
  );

function resolving(answers: LookupAddress[][], policy: UrlPolicy) {
  const asked: string[] = [];
  const resolve = ((host: string, _options: unknown, done: (e: null, a: LookupAddress[]) => void) => {
    asked.push(host);
    done(null, answers[Math.min(asked.length, answers.length) - 1] ?? []);
  }) as never;
  return { asked, guard: new UrlGuard(policy, resolve) };
}

describe('UrlGuard', () => {
  it.each([
    ['ftp://example.com/x', 'Scheme'],
    ['http://example.com/x', 'Scheme'],
    ['https://user:pw@example.com/', 'UserInfo'],
    ['https://10.0.0.1/', 'AddressNotAllowed'],
    ['https://0x7f.1/', 'AddressNotAllowed'],
    ['https://2130706433/', 'AddressNotAllowed'],
    ['https://[::ffff:127.0.0.1]/', 'AddressNotAllowed'],
    ['https://[fd00:ec2::254]/', 'AddressNotAllowed'],
    ['nonsense', 'NotAURL'],
  ])('refuses %s: %s', (url, why) => {
    expect(() => new UrlGuard({}).check(url)).toThrow(expect.objectContaining({ why }));
  });

  it('never allows metadata and link-local addresses, even where private ones are allowed', () => {
    const guard = new UrlGuard(open);
    expect(guard.check('http://10.0.0.1/').hostname).toBe('10.0.0.1');
    expect(() => guard.check('http://169.254.169.254/latest')).toThrow(UrlRefused);
    expect(() => guard.check('http://169.254.7.7/')).toThrow(UrlRefused);
  });

  it('matches allowed hosts exactly or below a wildcard, and not beside it', () => {
    const guard = new UrlGuard({ allowedHosts: ['api.example.com', '*.storage.example'] });
    for (const good of ['https://api.example.com/', 'https://API.example.com./', 'https://a.b.storage.example/'])
      guard.check(good);
    for (const bad of [
      'https://example.com/',
      'https://storage.example/',
      'https://evilstorage.example/',
      'https://api.example.com.evil/',
    ]) {
      expect(() => guard.check(bad)).toThrow(expect.objectContaining({ why: 'HostNotAllowed' }));
    }
  });

  it('never quotes path, query or user info', () => {
    for (const url of ['https://u:hunter2@h.example/', 'http://h.example/p?sig=hunter2']) {
      expect(() => new UrlGuard({}).check(url)).toThrow(
        expect.not.objectContaining({ message: expect.stringContaining('hunter2') as string }),
      );
    }
  });
});

describe('GuardedHttp', () => {
  it('resolves a name once and connects to the address it judged', async () => {
    const { url } = await serve((_, response) => response.end('here'));
    const port = new URL(url).port;
    const { guard, asked } = resolving(
      [[{ address: '127.0.0.1', family: 4 }], [{ address: '169.254.169.254', family: 4 }]],
      open,
    );
    const answer = await client(open, guard).send({ method: 'GET', url: `http://name.test:${port}/`, signal });
    expect(answer.body.toString()).toBe('here');
    expect(asked).toEqual(['name.test']);
  });

  it('refuses a name of which one address is not allowed', async () => {
    const { guard } = resolving(
      [
        [
          { address: '8.8.8.8', family: 4 },
          { address: '10.0.0.1', family: 4 },
        ],
      ],
      {},
    );
    const error = await failure(client({}, guard).send({ method: 'GET', url: 'https://rebind.test/', signal }));
    expect(error).toMatchObject({ kind: 'refused', message: expect.stringContaining('private address') as string });
  });

  it('sends credentials to their origin alone, and follows no redirect with them elsewhere', async () => {
    const seen: (string | undefined)[] = [];
    const other = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.end();
    });
    const api = await serve((_, response) => response.writeHead(307, { location: `${other.url}/x` }).end());
    const credentials = { origin: api.url, header: 'authorization', value: 'Bearer k' };
    const error = await failure(
      client().send({ method: 'POST', url: `${api.url}/a`, body: Buffer.from('b'), credentials, signal }),
    );
    expect(error.kind).toBe('refused');
    await client().send({ method: 'GET', url: other.url, credentials, signal });
    await client().send({ method: 'PUT', url: `${api.url}/a`, body: Buffer.from('b'), signal });
    expect(seen).toEqual([undefined, undefined]);
  });

  it('follows a redirect within the origin, with the body again', async () => {
    const bodies: string[] = [];
    const { url } = await serve(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
      if (request.url === '/runs/') return response.writeHead(307, { location: '/runs' }).end();
      bodies.push(`${request.headers.authorization} ${Buffer.concat(chunks).toString()}`);
      return response.end('ok');
    });
    const body = { size: 5, open: () => Promise.resolve(Readable.from([Buffer.from('he'), Buffer.from('llo')])) };
    const credentials = { origin: url, header: 'authorization', value: 'Bearer k' };
    expect((await client().send({ method: 'PUT', url: `${url}/runs/`, body, credentials, signal })).status).toBe(200);
    expect(bodies).toEqual(['Bearer k hello']);
  });

  it('refuses to turn a write into a read, and a redirect into a private network', async () => {
    const { url } = await serve((request, response) =>
      response.writeHead(request.method === 'GET' ? 307 : 303, { location: 'http://169.254.169.254/' }).end(),
    );
    expect((await failure(client().send({ method: 'GET', url, signal }))).message).toContain('metadata');
    const here = await serve((_, response) => response.writeHead(302, { location: '/elsewhere' }).end());
    expect((await failure(client().send({ method: 'POST', url: here.url, body: Buffer.from('x'), signal }))).kind).toBe(
      'refused',
    );
  });

  it('says what became of a request: timeout, cut, abort, too long, too short a body', async () => {
    const { url } = await serve((request, response) => {
      if (request.url === '/cut') return request.socket.destroy();
      if (request.url === '/long') return response.end(Buffer.alloc(2000));
      if (request.url === '/silent') return undefined;
      request.resume();
      return request.on('end', () => response.end());
    });
    const http = client();
    const get = (path: string, more = {}) => failure(http.send({ method: 'GET', url: url + path, signal, ...more }));
    expect((await get('/cut')).kind).toBe('network');
    expect((await get('/long', { maxAnswerBytes: 1000 })).kind).toBe('answer');
    expect((await get('/silent', { timeoutMs: 20 })).kind).toBe('timeout');
    expect((await get('/silent', { signal: AbortSignal.abort() })).kind).toBe('aborted');
    const short = { size: 10, open: () => Promise.resolve(Readable.from([Buffer.from('abc')])) };
    expect((await failure(http.send({ method: 'PUT', url, body: short, signal }))).kind).toBe('body');
    const gone = { size: 10, open: () => Promise.reject(new Error('no such object')) };
    expect((await failure(http.send({ method: 'PUT', url, body: gone, signal }))).kind).toBe('body');
  });

  it('ends a body that never ends, and one that never stops, in its time and within its bounds', async () => {
    let sent = 0;
    const { url } = await serve((request, response) => {
      response.writeHead(200);
      if (request.url === '/never') return response.write('{');
      const more = () => {
        sent += 65_536;
        response.write(Buffer.alloc(65_536), () => (response.destroyed ? undefined : setImmediate(more)));
      };
      return more();
    });
    const http = client();
    expect((await failure(http.send({ method: 'GET', url: `${url}/never`, signal, timeoutMs: 50 }))).kind).toBe(
      'timeout',
    );
    expect((await failure(http.send({ method: 'GET', url: `${url}/endless`, signal }))).kind).toBe('answer');
    // What buffers of sockets hold comes on top of the megabyte.
    expect(sent).toBeLessThan(32 * 2 ** 20);
  });

  it('closes what it was to send, also when nobody is there to take it', async () => {
    const { url, server } = await serve(() => undefined);
    await new Promise((done) => server.close(done));
    const stream = Readable.from([Buffer.from('abc')]);
    const body = { size: 3, open: () => Promise.resolve(stream) };
    expect((await failure(client().send({ method: 'PUT', url, body, signal }))).kind).toBe('network');
    expect(stream.destroyed).toBe(true);
  });

  it('ends in time while it waits for a connection or a name, and is not sent afterwards', async () => {
    const hanging: ServerResponse[] = [];
    const seen: string[] = [];
    const { url } = await serve((request, response) => {
      seen.push(request.url ?? '');
      if (request.url === '/first') hanging.push(response);
      else response.end();
    });
    const http = new GuardedHttp(open, { connections: 1 });
    clean.push(() => http.close());
    const first = http.send({ method: 'GET', url: `${url}/first`, signal });
    await expect.poll(() => hanging.length).toBe(1);
    const queued = await failure(http.send({ method: 'POST', url: `${url}/queued`, signal, timeoutMs: 20 }));
    expect([queued.kind, queued.inDoubt]).toEqual(['timeout', false]);
    hanging[0]!.end();
    await first;
    await http.send({ method: 'GET', url: `${url}/last`, signal });
    expect(seen).toEqual(['/first', '/last']);

    const silent = client(open, new UrlGuard(open, (() => undefined) as never));
    const stop = new AbortController();
    const nameless = failure(silent.send({ method: 'GET', url: 'http://name.test/', signal: stop.signal }));
    stop.abort();
    expect((await nameless).kind).toBe('aborted');
  });
});
