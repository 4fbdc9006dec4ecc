import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Where the file store of one test's installation keeps the object of a key. */
export function storedFile(storeDir: string, key: string): string {
  const installations = join(storeDir, 'v1');
  const [installation] = readdirSync(installations);
  return join(installations, installation!, 'objects', key);
}
