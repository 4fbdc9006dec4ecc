import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { request } from 'undici';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { Admission } from '../../../src/controller/admission/admission.ts';
import { SpendBook } from '../../../src/controller/admission/spend.ts';
import { parseUSD } from '../../../src/controller/money.ts';
import { NotLeaderError } from '../../../src/kube/lease.ts';
import { S3Store } from '../../../src/results/store/s3.ts';
import { startS3, type S3Server } from '../../fakes/s3/server.ts';

/** What a namespace has spent today, in a bucket: written by operators that come and go, over a line that loses answers. */

const GRANTED = { granted: true };
const NO_ROOM = { granted: false, message: expect.stringContaining('no room') as string };
const NO_STORE = { granted: false, message: expect.stringContaining('could not be read or written') as string };
/** Tries of one call to the bucket. */
const TRIES = 4;

let s3: S3Server;
let line: Line;
let bucket: string;
beforeAll(async () => {
  s3 = await startS3();
  line = await Line.open(s3.endpoint);
});
afterAll(async () => {
  line.close();
  await s3.stop();
});
beforeEach(async () => {
  bucket = `accounts-${randomUUID()}`;
  const client = new S3Client({ ...s3, region: 'us-east-1', forcePathStyle: true });
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  client.destroy();
});

/** Stands before the bucket. */
class Line {
  /** How many answers to requests of a method get lost from now on, after their effect. */
  readonly loses = new Map<string, number>();
  readonly #server;

  private constructor(target: string) {
    this.#server = createServer(async (incoming, response) => {
      const { method = '', url, headers } = incoming;
      const { connection: _, ...kept } = headers;
      const body = Buffer.concat(await incoming.toArray());
      const answer = await request(`${target}${url}`, { method: method as 'GET', headers: kept, body });
      const bytes = Buffer.from(await answer.body.arrayBuffer());
      const left = this.loses.get(method) ?? 0;
      this.loses.set(method, left - 1);
      if (left > 0) response.destroy();
      else response.writeHead(answer.statusCode, answer.headers).end(bytes);
    });
  }

  static async open(target: string): Promise<Line> {
    const line = new Line(target);
    await once(line.#server.listen(0, '127.0.0.1'), 'listening');
    return line;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

/** One process of the operator, at noon of one day, with a profile that lets a namespace spend $10. */
function anOperator() {
  const { endpoint } = line;
  const { credentials } = s3;
  const store = new S3Store({
    bucket,
    endpoint,
    credentials,
    installationId: 'test',
    region: 'us-east-1',
    forcePathStyle: true,
  });
  const now = () => Date.parse('2026-03-01T12:00:00Z');
  const errors: unknown[] = [];
  let leads = true;
  const assertLeader = () => {
    if (!leads) throw new NotLeaderError('another one leads');
  };
  const onError = (_: string, error: unknown) => errors.push(error);
  const admission = new Admission({ spend: new SpendBook(store, now, assertLeader), wake: () => {}, onError, now });
  admission.begin();
  return {
    errors,
    admit: (uid: string, usd: string) =>
      admission.request(
        { uid, namespace: 'team', profile: 'paid', createdAt: 0, ceiling: parseUSD(usd) },
        {
          maxConcurrentRuns: undefined,
          maxConcurrentRunsPerNamespace: undefined,
          maxCostUSDPerNamespacePerDay: parseUSD('10'),
        },
      ),
    release: (uid: string, usd: string) => admission.release(uid, parseUSD(usd)),
    isDeposed: () => (leads = false),
    /** Entries as the bucket has them: `<run>.<millionths of a dollar>`. */
    async charges(): Promise<string[]> {
      const keys: string[] = [];
      for await (const { key } of store.list('spend/')) keys.push(key.slice(key.lastIndexOf('/') + 1));
      return keys;
    },
  };
}

test('what was charged outlives the process, and what was given back is free to the next one', async () => {
  const first = anOperator();
  expect(await first.admit('a', '6')).toEqual(GRANTED);
  const second = anOperator();
  expect(await second.admit('b', '5')).toMatchObject(NO_ROOM);
  second.release('a', '1.5');
  await expect.poll(() => second.charges()).toEqual(['a.1500000']);
  expect(await anOperator().admit('b', '5')).toEqual(GRANTED);
});

test('an answer that is lost once is made up for, and charges nothing twice', async () => {
  const operator = anOperator();
  line.loses.set('PUT', 1);
  expect(await operator.admit('a', '6')).toEqual(GRANTED);
  expect(await operator.charges()).toEqual(['a.6000000']);
  line.loses.set('DELETE', 1);
  operator.release('a', '2');
  await expect.poll(() => operator.charges()).toEqual(['a.2000000']);
});

test('a run whose charge may or may not stand waits, and is charged once when it is admitted', async () => {
  const operator = anOperator();
  line.loses.set('PUT', TRIES);
  expect(await operator.admit('a', '6')).toMatchObject(NO_STORE);
  expect(operator.errors).toHaveLength(1);
  // The bucket has it. Whoever leads next counts it, though nothing was created.
  expect(await anOperator().admit('b', '5')).toMatchObject(NO_ROOM);
  expect(await operator.admit('a', '6')).toEqual(GRANTED);
  expect(await operator.charges()).toEqual(['a.6000000']);
});

test('two that take themselves for leaders leave at least what each has granted', async () => {
  const [old, next] = [anOperator(), anOperator()];
  const both = await Promise.all([old.admit('a', '4'), next.admit('a', '6')]);
  expect(both).toEqual([GRANTED, GRANTED]);
  expect(await next.admit('b', '4')).toEqual(GRANTED);
  expect(await anOperator().admit('c', '0.01')).toMatchObject(NO_ROOM);
});

test('a leader that slept takes nothing back that its successor counts on', async () => {
  const old = anOperator();
  expect(await old.admit('a', '6')).toEqual(GRANTED);
  // It was about to give back what the suspended run had not spent. Meanwhile another one leads and resumes the run.
  old.isDeposed();
  const next = anOperator();
  expect(await next.admit('a', '6')).toEqual(GRANTED);
  old.release('a', '1');
  await expect.poll(() => old.errors).toHaveLength(1);
  expect(old.errors[0]).toBeInstanceOf(NotLeaderError);
  expect(await anOperator().admit('b', '5')).toMatchObject(NO_ROOM);
});
