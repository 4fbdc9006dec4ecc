import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WORLD_RUNS } from '../../src/controller/run/view.ts';
import { PODS } from '../../src/kube/resource.ts';
import { startCluster } from '../cluster/index.ts';
import { OPERATOR_IMAGE, operatorImage } from '../cluster/operator-image.ts';
import { busyboxImage } from '../cluster/small-images.ts';
import { condition, Kit, SHELL_PROFILE } from '../e2e/kit.ts';
import { freePort, startOperator } from '../e2e/operator-process.ts';
import { startS3 } from '../fakes/s3/server.ts';
import { installCrds } from '../integration/install-crds.ts';
import { COLLECTOR, PeakMemory } from './accounting.ts';
import { SYSTEM } from './installation.ts';

/** One large artifact of a real Pod, from the end of the command until the run is finished with it. */
export interface ArtifactResult {
  store: 'files' | 's3';
  bytes: number;
  seconds: number;
  collectorRssBytes: number;
  operatorRssBytes: number;
}

const NAMESPACE = 'artifact';
const BUCKET = 'results';
const PROFILE = { ...SHELL_PROFILE, outputSizeLimit: '4Gi' };
const PATIENCE_SECONDS = 1500;

export async function measureArtifacts(bytes: number): Promise<ArtifactResult[]> {
  const dir = await mkdtemp(join(tmpdir(), 'worldflux-artifact-'));
  const cluster = await startCluster({ name: `artifact-${process.pid}`, kind: 'node' });
  try {
    await cluster.loadImage(await busyboxImage());
    await cluster.loadImage(await operatorImage());
    await installCrds(cluster);
    const kit = await Kit.open(cluster, NAMESPACE);
    await kit.ensureNamespace(SYSTEM);
    await kit.apply(kit.profile(NAMESPACE, PROFILE));
    const files = await measure(kit, dir, { store: 'files', bytes, args: [], env: {} });
    const s3 = await startS3(cluster.hostAddress);
    try {
      return [files, await measure(kit, dir, { store: 's3', bytes, ...(await bucketAt(s3)) })];
    } finally {
      await s3.stop();
      await kit.client.close();
    }
  } finally {
    await cluster.down();
    await rm(dir, { recursive: true, force: true });
  }
}

async function bucketAt({ endpoint, credentials }: Awaited<ReturnType<typeof startS3>>) {
  const client = new S3Client({ endpoint, credentials, region: 'us-east-1', forcePathStyle: true });
  await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
  client.destroy();
  const settings = { store: 's3', 's3-bucket': BUCKET, 's3-endpoint': endpoint, 's3-path-style': 'true' };
  return {
    args: Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
    env: { AWS_ACCESS_KEY_ID: credentials.accessKeyId, AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey },
  };
}

interface Wanted {
  store: ArtifactResult['store'];
  bytes: number;
  args: readonly string[];
  env: NodeJS.ProcessEnv;
}

async function measure(kit: Kit, dir: string, { store, bytes, args, env }: Wanted): Promise<ArtifactResult> {
  const { cluster, client } = kit;
  const place = { cluster, dir, gatewayPort: await freePort(), namespace: SYSTEM, image: OPERATOR_IMAGE };
  const operator = await startOperator({ ...place, args, env });
  const collector = new PeakMemory(COLLECTOR);
  const leader = new PeakMemory(operator.pid);
  try {
    const script = `dd if=/dev/zero of=/worldflux/output/large bs=1M count=${bytes / 2 ** 20} 2>/dev/null; sleep 2`;
    const more = { outputs: { artifacts: [{ name: 'large', path: 'large' }] }, timeouts: { uploadSeconds: 1800 } };
    await client.create(WORLD_RUNS, {
      ...(kit.shell(store, NAMESPACE, script, more) as object),
      metadata: { namespace: NAMESPACE, name: store },
    } as never);
    const endedAt = await commandEnd(kit, store);
    const run = await kit.until(store, (r) => condition(r, 'Finished')?.status === 'True', PATIENCE_SECONDS);
    const seconds = (performance.now() - endedAt) / 1000;
    const stored = run.status?.artifacts?.find(({ name }) => name === 'large');
    if (stored?.sizeBytes !== bytes) throw new Error(`the artifact did not arrive: ${JSON.stringify(run.status)}`);
    return { store, bytes, seconds, collectorRssBytes: collector.stop(), operatorRssBytes: leader.stop() };
  } finally {
    collector.stop();
    leader.stop();
    await operator.stop();
  }
}

/** When our watch brought the end of the user's container. */
async function commandEnd(kit: Kit, run: string): Promise<number> {
  const labelSelector = `worldflux.ai/run=${run}`;
  const watch = { namespace: NAMESPACE, labelSelector, sendInitialEvents: true, timeoutSeconds: PATIENCE_SECONDS };
  for await (const { object } of kit.client.watch(PODS, {
    ...watch,
    signal: AbortSignal.timeout(1e3 * PATIENCE_SECONDS),
  }))
    if (object.status?.containerStatuses?.[0]?.state?.terminated !== undefined) return performance.now();
  throw new Error('the watch ended before the command did');
}
