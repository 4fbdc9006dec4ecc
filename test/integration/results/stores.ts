import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileStore } from '../../../src/results/store/files.ts';
import { S3Store } from '../../../src/results/store/s3.ts';
import { startS3 } from '../../fakes/s3/server.ts';
import type { StoreUnderTest } from './store-conformance.ts';

export async function fileStore(): Promise<StoreUnderTest & { folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'worldflux-store-'));
  const open = (): Promise<FileStore> => FileStore.open({ folder, installationId: 'test' });
  return {
    folder,
    store: await open(),
    datesUploads: true,
    reopen: open,
    stop: () => rm(folder, { recursive: true, force: true }),
  };
}

export async function s3Store(): Promise<StoreUnderTest> {
  const server = await startS3();
  const bucket = `runs-${randomUUID()}`;
  const { endpoint, credentials } = server;
  const client = new S3Client({ endpoint, credentials, region: 'us-east-1', forcePathStyle: true });
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  client.destroy();
  const open = (): S3Store =>
    new S3Store({ bucket, endpoint, credentials, installationId: 'test', region: 'us-east-1', forcePathStyle: true });
  return { store: open(), datesUploads: false, reopen: async () => open(), stop: server.stop };
}
