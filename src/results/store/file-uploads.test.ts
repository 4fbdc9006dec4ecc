import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { FileUploads } from './file-uploads.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'uploads-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it('does not mind an upload whose bytes go while its run is removed', async () => {
  const request = { key: 'run/model', size: 3, sha256: 'f'.repeat(64), contentType: 'text/plain' };
  const { uploadId } = await new FileUploads(folder).initiate(request);
  // As a sweep leaves it between its two files.
  await rm(join(folder, uploadId, 'data'));
  await new FileUploads(folder).removeBelow('run/');
  expect((await new FileUploads(folder).initiate(request)).parts).toMatchObject([{ offset: 0, size: 3 }]);
});
