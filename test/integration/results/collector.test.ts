import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { CollectTask } from '../../../src/results/contract.ts';
import { Operator, Pod } from './harness.ts';
import type { StoreUnderTest } from './store-conformance.ts';
import { fileStore, s3Store } from './stores.ts';

const STORES: [string, () => Promise<StoreUnderTest>][] = [
  ['files', fileStore],
  ['S3', s3Store],
];

describe.each(STORES)('a collector and a gateway over %s', (_name, start) => {
  let under: StoreUnderTest;
  let operator: Operator;
  beforeAll(async () => {
    under = await start();
    operator = await Operator.start(under.store);
  });
  afterAll(async () => {
    await operator.goDown();
    await under.stop();
  });

  async function podOf(over: Partial<CollectTask> = {}): Promise<Pod> {
    const pod = await Pod.make(operator, operator.run(over));
    onTestFinished(() => pod.remove());
    return pod;
  }

  it('brings metrics and everything below the output folder', async () => {
    const pod = await podOf();
    await pod.write('metrics.json', '{"loss": 0.5, "steps": 10}');
    await pod.write('a/b.txt', 'hello');
    expect(await pod.live()).toBe(0);
    const result = operator.hub.get(pod.task).results.get(0);
    expect(result, pod.log.join('')).toMatchObject({
      metrics: { loss: 0.5, steps: 10 },
      metricsOmitted: 0,
      via: 'Gateway',
    });
    expect(result?.artifacts).toMatchObject([{ name: 'output', state: 'Stored', count: 1 }]);
  });
});
