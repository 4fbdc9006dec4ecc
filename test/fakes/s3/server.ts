import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { access, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { cacheRoot } from '../../cluster/paths.ts';

const run = promisify(execFile);
const REQUIREMENTS = join(import.meta.dirname, 'requirements.txt');

/** An S3 that is not ours: moto's server, installed once into the cache. */
export interface S3Server {
  /** `http://<host>:<port>` */
  endpoint: string;
  /** Anything works; moto checks no signatures. */
  credentials: { accessKeyId: string; secretAccessKey: string };
  stop(): Promise<void>;
}

/** `host`: the address to listen on, where Pods reach it; loopback by default. */
export async function startS3(host = '127.0.0.1'): Promise<S3Server> {
  const server = await moto();
  const child = spawn(server, ['-H', host, '-p', '0'], { stdio: ['ignore', 'ignore', 'pipe'] });
  const endpoint = await listening(child);
  return {
    endpoint,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    stop: async () => {
      if (child.exitCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

/** The first address it prints; its request log is read on, or the pipe would fill and stop it. */
async function listening(child: ChildProcess): Promise<string> {
  if (child.stderr === null) throw new Error('no stderr');
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stderr })) {
    lines.push(line);
    const address = /Running on (http:\/\/\S+:\d+)/.exec(line)?.[1];
    if (address === undefined) continue;
    child.stderr.resume();
    return address;
  }
  throw new Error(`moto_server ended: ${lines.join('\n')}`);
}

/** Path of `moto_server`; installed where it is missing. */
async function moto(): Promise<string> {
  const digest = createHash('sha256')
    .update(await readFile(REQUIREMENTS))
    .digest('hex')
    .slice(0, 12);
  const folder = join(cacheRoot(), `moto-${digest}`);
  const server = join(folder, 'bin', 'moto_server');
  const ready = await access(join(folder, 'ready')).then(
    () => true,
    () => false,
  );
  if (ready) return server;
  // A venv holds absolute paths, so it is made in place, and the marker says that it is whole.
  await mkdir(cacheRoot(), { recursive: true });
  await rm(folder, { recursive: true, force: true });
  await run('python3', ['-m', 'venv', folder]);
  await run(join(folder, 'bin', 'pip'), ['install', '--quiet', '--disable-pip-version-check', '-r', REQUIREMENTS], {
    timeout: 300_000,
  });

  await writeFile(join(folder, 'ready'), '');
  return server;
}
