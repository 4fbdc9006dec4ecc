import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { RunStore } from '../../../src/results/contract.ts';
import { Operator, Pod } from './harness.ts';
import { fileStore, s3Store } from './stores.ts';

/** Large uploads that are cut in the middle. The faults are put between the gateway and a real store. */

const MIB = 2 ** 20;
const OUTPUTS = {
  metricsFile: 'm',
  seriesFile: 's',
  artifacts: [{ name: 'big', path: 'big.bin', commit: false }],
  ranks: 'Zero' as const,
};

/** The store with some methods of its own. */
function faulty(store: RunStore, own: Partial<RunStore>): RunStore {
  return new Proxy(store, {
    get(target, name) {
      const value = (own as Record<PropertyKey, unknown>)[name] ?? Reflect.get(target, name, target);
      return typeof value === 'function' ? (value as () => unknown).bind(name in own ? own : target) : value;
    },
  });
}

async function lifeOf(operator: Operator, body: Buffer): Promise<Pod> {
  const pod = await Pod.make(operator, operator.run({ outputs: OUTPUTS }));
  onTestFinished(() => pod.remove());
  await pod.write('big.bin', body);
  expect(await pod.live()).toBe(0);
  return pod;
}

async function expectStored(operator: Operator, pod: Pod, body: Buffer): Promise<void> {
  const [big] = (await operator.result(pod.task)).artifacts;
  expect(big).toMatchObject({ state: 'Stored', sizeBytes: body.length });
  const hash = createHash('sha256');
  const object = await operator.store.get(big?.path ?? '');
  for await (const chunk of await object!.open()) hash.update(chunk as Buffer);
  expect(`sha256:${hash.digest('hex')}`).toBe(big?.sha256);
}

describe('over the file store', () => {
  let under: Awaited<ReturnType<typeof fileStore>>;
  beforeAll(async () => {
    under = await fileStore();
  });
  afterAll(() => under.stop());

  it('an upload goes on behind the last whole part when the connection breaks', async () => {
    const body = randomBytes(200 * MIB);
    const received: number[] = [];
    const store = faulty(under.store, {
      async receive(request, chunks, signal) {
        received.push(request.part);
        if (request.part === 2 && received.filter((part) => part === 2).length === 1) {
          for await (const chunk of chunks) if (chunk.length > 0) break;
          throw new Error('the node went away');
        }
        await under.store.receive!(request, chunks, signal);
      },
    });
    const operator = await Operator.start(store);
    onTestFinished(() => operator.goDown());
    const pod = await lifeOf(operator, body);
    await expectStored(operator, pod, body);
    expect(received.filter((part) => part === 1)).toHaveLength(1);
    expect(received.filter((part) => part === 2)).toHaveLength(2);
  });

  it('an upload goes on after the operator was away', async () => {
    const body = randomBytes(200 * MIB);
    let away: Promise<void> | undefined;
    const store = faulty(under.store, {
      async receive(request, chunks, signal) {
        if (request.part === 2) away ??= operator.goDown().then(() => operator.comeBack());
        await under.store.receive!(request, chunks, signal);
      },
    });
    const operator = await Operator.start(store);
    onTestFinished(() => operator.goDown());
    const pod = await lifeOf(operator, body);
    await away;
    await expectStored(operator, pod, body);
  });

  it('a full store is said, and tried again until there is room', async () => {
    let refused = 0;
    const { StoreError } = await import('../../../src/results/store/errors.ts');
    const store = faulty(under.store, {
      async commit(request, uploadId, signal) {
        refused += 1;
        if (refused <= 2) throw new StoreError('full', 'no space left in the run store');
        await under.store.commit(request, uploadId, signal);
      },
    });
    const operator = await Operator.start(store);
    onTestFinished(() => operator.goDown());
    const body = randomBytes(MIB);
    await expectStored(operator, await lifeOf(operator, body), body);
    expect(refused).toBe(3);
    expect(operator.errors.join()).toMatch(/the run store is full/);
  });
});

describe('over S3', () => {
  let under: Awaited<ReturnType<typeof s3Store>>;
  beforeAll(async () => {
    under = await s3Store();
  });
  afterAll(() => under.stop());

  it.each([1, 150])('URLs that have expired are asked for again (%i MiB)', async (mib) => {
    const refusing = createServer((req, res) => {
      req.resume();
      res.writeHead(403).end('<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>');
    }).listen(0, '127.0.0.1');
    await once(refusing, 'listening');
    onTestFinished(() => void refusing.close());
    const expired = `http://127.0.0.1:${(refusing.address() as AddressInfo).port}/`;
    let asked = 0;
    const store = faulty(under.store, {
      async initiate(request, signal) {
        asked += 1;
        const target = await under.store.initiate(request, signal);
        return asked > 1 ? target : { ...target, parts: target.parts.map((part) => ({ ...part, url: expired })) };
      },
    });
    const operator = await Operator.start(store);
    onTestFinished(() => operator.goDown());
    const body = randomBytes(mib * MIB);
    await expectStored(operator, await lifeOf(operator, body), body);
    expect(asked).toBe(2);
  });
});
