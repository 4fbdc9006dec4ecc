import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { SendOnce } from './contract.ts';
import { RuntimeError } from './errors.ts';
import { aVendorHttp, type Wishes } from './testing/a-vendor-http.ts';
import { answer, isWhole, RawServer, type OnBytes } from './testing/raw-server.ts';

/** One paid request: what leaves the process, byte by byte, and what is said of it afterwards. */

const clean: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const done of clean.splice(0).toReversed()) await done();
});

async function listen(
  onBytes: OnBytes = () => undefined,
  onConnection?: (socket: Socket, connection: number) => void,
): Promise<RawServer> {
  const server = await RawServer.listen(onBytes, onConnection);
  clean.push(() => server.close());
  return server;
}

function vendor(wishes?: Wishes) {
  const made = aVendorHttp(wishes);
  clean.push(() => made.connections.destroy());
  return made;
}

const mayAlways: SendOnce = { notAfter: Number.MAX_SAFE_INTEGER, maySend: () => undefined };
const create = (once: SendOnce = mayAlways) => ({ class: 'request', name: 'prediction create', once }) as const;
const post = (body = '{"input":1}') => ({ method: 'POST', body, headers: { 'content-type': 'application/json' } });
const rejected = (promise: Promise<unknown>): Promise<RuntimeError> =>
  promise.then(
    () => expect.unreachable('it should have been rejected'),
    (error: unknown) => {
      expect(error).toBeInstanceOf(RuntimeError);
      return error as RuntimeError;
    },
  );

/** Answers a whole request. */
const answering =
  (reply: string): OnBytes =>
  (received, socket) => {
    if (isWhole(received)) socket.write(reply);
  };

describe('a request that is sent once', () => {
  it('gives the answer of a request that went well, whatever its status', async () => {
    for (const status of [201, 402, 429, 503]) {
      const server = await listen(answering(answer(status, '{"id":"p1"}', ['retry-after: 7'])));
      const { http, events } = vendor();
      const response = await http.fetch(create())(`${server.origin}/v1/predictions`, post());
      expect([response.status, await response.json()]).toEqual([status, { id: 'p1' }]);
      expect(response.headers.get('retry-after')).toBe('7');
      expect(server.count('POST')).toBe(1);
      expect(events).toMatchObject([{ phase: status === 201 ? 'success' : 'failure', attempt: 1, maxAttempts: 1 }]);
    }
  });

  it('asks on a connection that stands, before the first byte, and writes nothing when it may not', async () => {
    const server = await listen(answering(answer(201)));
    const { http, events } = vendor();
    let asked = 0;
    const error = await rejected(
      http.fetch(
        create({
          notAfter: Number.MAX_SAFE_INTEGER,
          maySend: () => {
            asked += 1;
            expect(server.received.join('')).toBe('');
            throw new Error('no longer leading');
          },
        }),
      )(`${server.origin}/v1/predictions`, post()),
    );
    expect([error.kind, asked]).toEqual(['aborted', 1]);
    // The connection is closed, so no byte can follow.
    await expect.poll(() => server.open).toBe(0);
    expect(server.received).toEqual(['']);
    expect(events).toEqual([]);
  });

  it('hands the controller’s own refusal through', async () => {
    const server = await listen();
    const own = new RuntimeError({ kind: 'retryable' }, 'the lease is being renewed');
    const once = { ...mayAlways, maySend: () => expect.unreachable() };
    once.maySend = () => {
      throw own;
    };
    expect(await rejected(vendor().http.fetch(create(once))(server.origin, post()))).toBe(own);
  });

  it('is not sent after notAfter', async () => {
    const server = await listen();
    const { http, now } = vendor();
    const error = await rejected(http.fetch(create({ ...mayAlways, notAfter: now() - 1 }))(server.origin, post()));
    expect(error.kind).toBe('retryable');
    expect(server.received).toEqual([]);
  });

  it('is not sent when its time is over only once the connection stands', async () => {
    let late = 0;
    const server = await listen(undefined, () => (late = 60_000));
    const { http, now } = vendor({ lateness: () => late });
    const error = await rejected(http.fetch(create({ ...mayAlways, notAfter: now() + 30_000 }))(server.origin, post()));
    expect([error.kind, server.received]).toEqual(['retryable', ['']]);
  });

  it('is ended at notAfter when the answer does not come, and may have happened then', async () => {
    const server = await listen();
    const { http, now } = vendor();
    const error = await rejected(http.fetch(create({ ...mayAlways, notAfter: now() + 100 }))(server.origin, post()));
    expect(error.kind).toBe('unknownOutcome');
    expect(server.count('POST')).toBe(1);
  });

  it('is not sent when the process is stopping, and in doubt when it stops in between', async () => {
    const stopping = new AbortController();
    const server = await listen((received) => {
      if (isWhole(received)) stopping.abort();
    });
    const { http } = vendor({ signal: stopping.signal });
    expect((await rejected(http.fetch(create())(server.origin, post()))).kind).toBe('unknownOutcome');
    expect((await rejected(http.fetch(create())(server.origin, post()))).kind).toBe('aborted');
    expect(server.count('POST')).toBe(1);
  });

  it('is in doubt once its bytes may have left, however the answer is lost', async () => {
    const losses: Record<string, OnBytes> = {
      'reset before the headers end': (_, socket) => socket.resetAndDestroy(),
      'reset when the request is there': (received, socket) => {
        if (isWhole(received)) socket.resetAndDestroy();
      },
      'closed when the request is there': (received, socket) => {
        if (isWhole(received)) socket.end();
      },
      'half a status line': (received, socket) => {
        if (isWhole(received)) socket.end('HTTP/1.1 20');
      },
      'half an answer': (received, socket) => {
        if (isWhole(received)) socket.end('HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{"id":');
      },
      'no HTTP at all': (received, socket) => {
        if (isWhole(received)) socket.end('SSH-2.0-OpenSSH\r\n\r\n');
      },
      'a longer answer than allowed': (received, socket) => {
        if (isWhole(received)) socket.write(answer(201, 'x'.repeat(2000)));
      },
      'see other': (received, socket) => {
        if (isWhole(received)) socket.write(answer(303, '', ['location: /elsewhere']));
      },
    };
    for (const [loss, onBytes] of Object.entries(losses)) {
      const server = await listen(onBytes);
      const { http, events } = vendor();
      const error = await rejected(http.fetch({ ...create(), maxAnswerBytes: 1000 })(`${server.origin}/v1/x`, post()));
      expect([loss, error.kind, server.count('POST'), server.received.length]).toEqual([loss, 'unknownOutcome', 1, 1]);
      expect(events).toMatchObject([{ phase: 'failure', metadata: { fault: 'unknownOutcome' } }]);
    }
  });

  it('certainly did not happen when there was no connection, no name, no leave, or another place was named', async () => {
    const closed = createServer();
    await new Promise<void>((done) => closed.listen(0, '127.0.0.1', done));
    const nobody = `http://127.0.0.1:${(closed.address() as AddressInfo).port}`;
    await new Promise((done) => closed.close(done));
    const elsewhere = await listen(answering(answer(307, '', ['location: /moved'])));
    const plainText = await listen((_, socket) => socket.end('no TLS here'));
    const nameless = ((_: string, __: unknown, done: (e: Error) => void) =>
      done(Object.assign(new Error(), { code: 'ENOTFOUND' }))) as never;
    const kinds = await Promise.all(
      [
        vendor().http.fetch(create())(nobody, post()),
        vendor({ resolve: nameless }).http.fetch(create())('http://name.test/', post()),
        vendor().http.fetch(create())('http://169.254.169.254/', post()),
        vendor().http.fetch(create())(elsewhere.origin, post()),
        vendor().http.fetch(create())(plainText.origin.replace('http:', 'https:'), post()),
      ].map(async (promise) => (await rejected(promise)).kind),
    );
    expect(kinds).toEqual(['retryable', 'retryable', 'refused', 'refused', 'retryable']);
    expect(plainText.count('POST')).toBe(0);
  });

  it('certainly did not happen when the time was over before there was a connection', async () => {
    const silent = (() => undefined) as never;
    const { http } = vendor({ resolve: silent, policy: { request: { timeoutSeconds: 0.05 } } });
    expect((await rejected(http.fetch(create())('http://name.test/', post()))).kind).toBe('retryable');
  });

  it('goes on a connection of its own, so that one which the other side has just given up is no doubt', async () => {
    // Every kept connection is cut the moment something arrives on it for the second time.
    const server = await listen((received, socket, connection) => {
      const requests = received.split('\r\n\r\n').length - 1;
      if (requests > 1) return socket.resetAndDestroy();
      if (isWhole(received)) socket.write(answer(200, String(connection)));
      return undefined;
    });
    const { http } = vendor();
    const read = http.fetch({ class: 'polling', name: 'prediction get' });
    expect(await (await read(server.origin)).text()).toBe('0');
    // The pool takes the connection back in the next turn: from then on it could be taken for the create.
    await setImmediate();
    const created = await http.fetch(create())(server.origin, post());
    expect(await created.text()).toBe('1');
    expect(server.count('POST')).toBe(1);
    expect(server.received[1]).toContain('connection: close');
  });

  it('leaves once, however often a client library tries again', async () => {
    const server = await listen(answering(answer(429, 'slow down')));
    const fetch = vendor().http.fetch(create());
    const texts = await Promise.all([1, 2, 3].map(async () => (await fetch(server.origin, post())).text()));
    expect(texts).toEqual(['slow down', 'slow down', 'slow down']);
    expect(server.count('POST')).toBe(1);

    const cutting = await listen((_, socket) => socket.resetAndDestroy());
    const lost = vendor().http.fetch(create());
    for (let i = 0; i < 3; i += 1) expect((await rejected(lost(cutting.origin, post()))).kind).toBe('unknownOutcome');
    expect(cutting.count('POST')).toBe(1);
  });

  it('is one attempt, whatever the policy allows', async () => {
    const server = await listen(answering(answer(503)));
    const { http, slept } = vendor({ policy: { request: { maxAttempts: 5 } } });
    expect((await http.fetch(create())(server.origin, post())).status).toBe(503);
    expect([server.count('POST'), slept]).toEqual([1, []]);
  });
});

describe('whatever happens at whatever byte', () => {
  it('leaves at most once, and is said not to have happened only if no byte of it arrived', async () => {
    const reply = answer(201, '{"id":"p1"}');
    const request = `POST / HTTP/1.1\r\n`.length;
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          closedOnAccept: fc.boolean(),
          /** The connection ends when this much has arrived, or this much was answered. */
          cutIn: fc.option(fc.integer({ min: 1, max: request + 300 }), { nil: undefined }),
          cutOut: fc.option(fc.integer({ min: 0, max: reply.length - 1 }), { nil: undefined }),
          reset: fc.boolean(),
          mayNot: fc.boolean(),
          stopAt: fc.constantFrom('never', 'connect', 'bytes', 'whole'),
          body: fc.string({ maxLength: 300 }),
        }),
        async ({ closedOnAccept, cutIn, cutOut, reset, mayNot, stopAt, body }) => {
          const stop = new AbortController();
          const end = (socket: Socket) => (reset ? socket.resetAndDestroy() : socket.destroy());
          const server = await RawServer.listen(
            (received, socket) => {
              if (stopAt === 'bytes') stop.abort();
              if (cutIn !== undefined && received.length >= cutIn) return void end(socket);
              if (!isWhole(received)) return undefined;
              if (stopAt === 'whole') stop.abort();
              if (cutOut === undefined) return void socket.write(reply);
              return void socket.write(reply.slice(0, cutOut), () => end(socket));
            },
            (socket) => {
              if (stopAt === 'connect') stop.abort();
              if (closedOnAccept) end(socket);
            },
          );
          const { http, connections } = aVendorHttp({ signal: stop.signal });
          const maySend = () => {
            if (mayNot) throw new Error('no longer leading');
          };
          const outcome = await http
            .fetch(create({ ...mayAlways, maySend }))(server.origin, post(body))
            .then(
              (response) => String(response.status),
              (error: RuntimeError) => error.kind,
            );
          const arrived = server.received.join('');
          await Promise.all([connections.destroy(), server.close()]);
          expect(server.count('POST')).toBeLessThanOrEqual(1);
          expect(server.received.length).toBeLessThanOrEqual(1);
          expect(mayNot && arrived !== '').toBe(false);
          expect(arrived === '' || ['201', 'unknownOutcome'].includes(outcome)).toBe(true);
          expect(outcome !== '201' || isWhole(arrived)).toBe(true);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('a POST on a kept connection', () => {
  it('is not repeated by the client library when the connection is cut under it', async () => {
    const server = await listen((received, socket) => {
      if (received.includes('POST')) return socket.resetAndDestroy();
      if (isWhole(received)) socket.write(answer(200));
      return undefined;
    });
    const { http } = vendor({ policy: { request: { maxAttempts: 1 } } });
    for (let i = 0; i < 5; i += 1) {
      await (await http.fetch({ class: 'polling', name: 'prediction get' })(server.origin)).text();
      await setImmediate();
      const error = await rejected(http.fetch({ class: 'request', name: 'prediction cancel' })(server.origin, post()));
      expect(error.kind).toBe('retryable');
      expect(server.count('POST')).toBe(i + 1);
    }
  });
});
