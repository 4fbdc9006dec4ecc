import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

/**
 * A folder that goes when the tests of the file are done, after what their own hooks stop. To be called at the top of the file: a
 * hook cannot be asked for within another.
 */
export async function temporaryFolder(name: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), `worldflux-${name}-`));
  afterAll(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
