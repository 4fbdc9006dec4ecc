import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cached, digest } from '../../cluster/build.ts';
import { run } from '../../cluster/process.ts';

const SOURCE = join(import.meta.dirname, 'kstatus');

/** Path of a program that prints what kstatus makes of each JSON object on its standard input; built by Go on first use. */
export async function kstatusProgram(): Promise<string> {
  const files = await Promise.all(['main.go', 'go.mod', 'go.sum'].map((file) => readFile(join(SOURCE, file))));
  const directory = await cached(`kstatus-${digest(files)}`, async (into) => {
    const env = { ...process.env, CGO_ENABLED: '0' };
    await run(['go', 'build', '-trimpath', '-o', join(into, 'kstatus'), '.'], {
      cwd: SOURCE,
      env,
      timeoutMs: 30 * 60_000,
    });
  });
  return join(directory, 'kstatus');
}
