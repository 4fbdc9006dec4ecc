import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { condition, Kit, SHELL_PROFILE } from '../e2e/kit.ts';
import { freePort, startOperator } from '../e2e/operator-process.ts';
import { WORLD_RUNS } from '../../src/controller/run/view.ts';
import { PODS } from '../../src/kube/resource.ts';
import { startCluster } from '../cluster/index.ts';
import { OPERATOR_IMAGE, operatorImage } from '../cluster/operator-image.ts';
import { busyboxImage } from '../cluster/small-images.ts';
import { installCrds } from '../integration/install-crds.ts';
import { COLLECTOR, PeakMemory } from './accounting.ts';
import { spread, type Spread } from './load.ts';

/** The whole product, on real Pods: what a user waits for after the command has ended. */
export interface ProductResult {
  runs: number;
  artifactBytes: number;
  /** From the driver's watch bringing the end of the user's container until it brought the finished run. */
  endToTerminalMs: Spread;
  /** From the collector's start until the user's container started, by the kubelet's clock (whole seconds). */
  collectorFirstSeconds: Spread;
  /** Of the largest of them; not in what was measured earlier. */
  collectorRssBytes?: number;
  stored: number;
}

const NAMESPACE = 'product';
const MIB = 1024 * 1024;

/** Runs one after the other, two a second, each with a log, metrics and an artifact of 1 MiB. */
export async function measureProduct(runs: number): Promise<ProductResult> {
  const dir = await mkdtemp(join(tmpdir(), 'worldflux-product-'));
  const cluster = await startCluster({ name: `product-${process.pid}`, kind: 'node' });
  try {
    await cluster.loadImage(await busyboxImage());
    await cluster.loadImage(await operatorImage());
    await installCrds(cluster);
    const kit = await Kit.open(cluster, NAMESPACE);
    await kit.ensureNamespace('worldflux-system');
    const operator = await startOperator({
      cluster,
      dir,
      gatewayPort: await freePort(),
      namespace: 'worldflux-system',
      image: OPERATOR_IMAGE,
    });
    try {
      await kit.apply(kit.profile('product', SHELL_PROFILE));
      return await drive(kit, runs);
    } finally {
      await operator.stop();
      await kit.client.close();
    }
  } finally {
    await cluster.down();
    await rm(dir, { recursive: true, force: true });
  }
}

async function drive(kit: Kit, runs: number): Promise<ProductResult> {
  const ended = new Map<string, number>();
  const terminal = new Map<string, number>();
  const ahead: number[] = [];
  let stored = 0;
  const done = Promise.withResolvers<void>();
  const collector = new PeakMemory(COLLECTOR);
  const stop = new AbortController();
  const follow = async (): Promise<void> => {
    for await (const { type, object } of kit.client.watch(PODS, {
      namespace: NAMESPACE,
      sendInitialEvents: true,
      timeoutSeconds: 600,
      signal: stop.signal,
    })) {
      const run = object.metadata?.labels?.['worldflux.ai/run'];
      const end = object.status?.containerStatuses?.[0]?.state?.terminated;
      if (type === 'BOOKMARK' || run === undefined || end === undefined || ended.has(run)) continue;
      ended.set(run, performance.now());
      const collector = object.status?.initContainerStatuses?.[0]?.state;
      const first = collector?.running?.startedAt ?? collector?.terminated?.startedAt;
      if (first !== undefined && end.startedAt !== undefined)
        ahead.push((Date.parse(end.startedAt) - Date.parse(first)) / 1000);
    }
  };
  const finish = async (): Promise<void> => {
    for await (const { type, object } of kit.client.watch(WORLD_RUNS, {
      namespace: NAMESPACE,
      sendInitialEvents: true,
      timeoutSeconds: 600,
      signal: stop.signal,
    })) {
      const name = object.metadata?.name ?? '';
      if (type === 'BOOKMARK' || condition(object, 'Finished')?.status !== 'True' || terminal.has(name)) continue;
      terminal.set(name, performance.now());
      stored += Number(condition(object, 'ResultsStored')?.status === 'True');
      if (terminal.size === runs) done.resolve();
    }
  };
  const watches = [follow(), finish()].map((watch) =>
    watch.catch((error: unknown) => void (stop.signal.aborted || done.reject(error))),
  );
  const script = `echo '{"x": 1}' > /worldflux/output/metrics.json; dd if=/dev/urandom of=/worldflux/output/blob bs=1M count=1 2>/dev/null; echo done; sleep 1`;
  for (let i = 0; i < runs; i += 1) {
    await kit.client.create(WORLD_RUNS, {
      ...(kit.shell(`run-${i}`, 'product', script) as object),
      metadata: { namespace: NAMESPACE, name: `run-${i}` },
    } as never);
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
  await done.promise;
  stop.abort();
  await Promise.all(watches);
  const waits = [...terminal].flatMap(([name, at]) => (ended.has(name) ? [Math.max(0, at - ended.get(name)!)] : []));
  return {
    runs,
    artifactBytes: MIB,
    endToTerminalMs: spread(waits),
    collectorFirstSeconds: spread(ahead),
    collectorRssBytes: collector.stop(),
    stored,
  };
}
